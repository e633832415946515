// Scores and losses of the rotated boxes of each row.
//
// Macros: LX_T, those of gaussians.cuh; LX_REDUCTION for a loss, and LX_GRADIENT where the gradient
// is written too. Launch: a thread a row in blocks of ROTATED_THREADS, or one block where there is a
// reduction.
#pragma once

#include "gaussians.cuh"
#include "reduce.cuh"

namespace lossexport {
constexpr int ROTATED_THREADS = 128;
}  // namespace lossexport

#ifdef LX_DEVICE
#if defined(LX_REDUCTION)
LX_KERNEL void rotated_boxes(const LX_T *pred, const LX_T *target, int count, LX_T *loss
#ifdef LX_GRADIENT
                             ,
                             LX_T *grad
#endif
) {
  using namespace lossexport;
  constexpr Measure M = static_cast<Measure>(LX_MEASURE);
  spread<ROTATED_THREADS>(count, loss, [=](unsigned i, float scale) {
    const RotatedLoss here = rotated_loss<M, GRADIENT>(
        load_rotated(pred + 5 * i), load_rotated(target + 5 * i), given(), scale);
#ifdef LX_GRADIENT
    const float slopes[] = {here.x, here.y, here.w, here.h, here.angle};
    for (int k = 0; k < 5; ++k) store(grad + 5 * i + k, slopes[k]);
#endif
    return here.loss;
  });
}
#else
LX_KERNEL void rotated_boxes(const LX_T *pred, const LX_T *target, int count, LX_T *score) {
  using namespace lossexport;
  constexpr Measure M = static_cast<Measure>(LX_MEASURE);
  // Unsigned: the last block may go beyond the largest int.
  const unsigned i = blockIdx.x * ROTATED_THREADS + threadIdx.x;
  if (i >= static_cast<unsigned>(count)) return;
  store(score + i,
        rotated_score<M>(load_rotated(pred + 5 * i), load_rotated(target + 5 * i), given()));
}
#endif
#endif

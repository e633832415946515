// One number for each row of two tensors [N,4]: the metric of a prediction and its target, or the
// confidence of a box and its log variances.
//
// Macros: LX_T, and LX_METRIC, LX_EPS (the constant of NWD) for the metric. Launch: a thread a row in blocks of
// ALIGNED_THREADS.
#pragma once

#include "boxes.cuh"

namespace lossexport {
constexpr int ALIGNED_THREADS = 256;
}

#ifdef LX_DEVICE
LX_KERNEL void aligned(const LX_T *first, const LX_T *second, int count, LX_T *out) {
  using namespace lossexport;
  // Unsigned: the last block may go beyond the largest int.
  const unsigned i = blockIdx.x * ALIGNED_THREADS + threadIdx.x;
  if (i >= static_cast<unsigned>(count)) return;
  const LX_T *a = first + 4 * i, *b = second + 4 * i;
#ifdef LX_METRIC
  constexpr Metric M = static_cast<Metric>(LX_METRIC);
  store(out + i, score<M>(load_box<M>(a), load_box<M>(b), LX_EPS));
#else
  store(out + i,
        localization_confidence(load_box<IOU>(a), load(b[0]), load(b[1]), load(b[2]), load(b[3])));
#endif
}
#endif

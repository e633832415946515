// Elementwise losses of regression: the arithmetic of lossexport/families/regression/functions.py.
// Smooth L1: Girshick (arXiv 1504.08083), eq. 3.
//
// Macros: LX_T, LX_REDUCTION, LX_BETA, and LX_GRADIENT where the gradient is written too. Launch: a
// thread an element in blocks of REGRESSION_THREADS, or one block where there is a reduction.
#pragma once

#include "reduce.cuh"

namespace lossexport {

constexpr int REGRESSION_THREADS = 256;
constexpr float LEAST_BETA = 1e-5f;  // below it the loss is |d|

// A loss and its derivative.
struct Slope {
  float loss, slope;
};

LX_INLINE Slope smooth_l1(float difference, float beta) {
  const float d = difference + difference * 0.0f, size = magnitude(d);
  if (beta < LEAST_BETA) return {size, d > 0 ? 1.0f : (d < 0 ? -1.0f : d)};
  const float near = at_most(size, beta), slope = near / beta;
  return {slope * (size - 0.5f * near), d < 0 ? -slope : slope};
}

}  // namespace lossexport

#ifdef LX_DEVICE
#if defined(LX_SMOOTH_L1)
LX_KERNEL void smooth_l1_loss(const LX_T *pred, const LX_T *target, int count, LX_T *loss
#ifdef LX_GRADIENT
                              ,
                              LX_T *grad
#endif
) {
  using namespace lossexport;
  spread<REGRESSION_THREADS>(count, loss, [=](unsigned i, float scale) {
    const Slope here = smooth_l1(load(pred[i]) - load(target[i]), LX_BETA);
#ifdef LX_GRADIENT
    store(grad + i, here.slope * scale);
#endif
    return here.loss;
  });
}
#endif
#endif

// Elementwise losses of regression: the arithmetic of lossexport/families/regression/functions.py.
// Smooth L1: Girshick (arXiv 1504.08083), eq. 3; KL loss: He et al. (arXiv 1809.08545), eq. 9 and 10.
//
// Macros: LX_T, LX_REDUCTION, LX_BETA, and LX_GRADIENT where the gradient is written too. Launch: a
// thread an element in blocks of REGRESSION_THREADS, or one block where there is a reduction.
#pragma once

#include "reduce.cuh"

namespace lossexport {

constexpr int REGRESSION_THREADS = 256;
constexpr float LEAST_BETA = 1e-5f;  // below it the loss is |d|

// For a beta of at least LEAST_BETA.
LX_INLINE Slope bent(float d, float beta) {
  const float size = magnitude(d);
  const float near = at_most(size, beta), slope = near / beta;
  return {slope * (size - 0.5f * near), d < 0 ? -slope : slope};
}

LX_INLINE Slope smooth_l1(float difference, float beta) {
  const float d = difference + difference * 0.0f;
  if (beta < LEAST_BETA) return {magnitude(d), d > 0 ? 1.0f : (d < 0 ? -1.0f : d)};
  return bent(d, beta);
}

// The KL loss and its derivatives by the prediction and by the log variance.
struct Divergence {
  float loss, slope, variance_slope;
};

LX_INLINE Divergence divergence(float difference, float log_variance) {
  const float variance = log_variance + log_variance * 0.0f;
  const float sharpness = exponential(-variance);
  const Slope distance = smooth_l1(difference, 1.0f);
  const float weighted = sharpness * distance.loss;
  return {weighted + 0.5f * variance, sharpness * distance.slope, 0.5f - weighted};
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
#elif defined(LX_KL)
LX_KERNEL void kl_loss(const LX_T *pred, const LX_T *log_variance, const LX_T *target, int count,
                       LX_T *loss
#ifdef LX_GRADIENT
                       ,
                       LX_T *grad_pred, LX_T *grad_variance
#endif
) {
  using namespace lossexport;
  spread<REGRESSION_THREADS>(count, loss, [=](unsigned i, float scale) {
    const Divergence here = divergence(load(pred[i]) - load(target[i]), load(log_variance[i]));
#ifdef LX_GRADIENT
    store(grad_pred + i, here.slope * scale);
    store(grad_variance + i, here.variance_slope * scale);
#endif
    return here.loss;
  });
}
#endif
#endif

// Elementwise losses of regression.
#pragma once

#include "loops_tensors.h"
#include "../kernels/regression.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

void smooth_l1_loss(const Call &call) {
  const Floats pred(call.inputs[0]), target(call.inputs[1]);
  const float beta = static_cast<float>(call.attributes[0]);
  const Reduction reduction = reduction_of(call, 1);
  const float scale = gradient_scale(reduction, pred.size());
  const Gradient grad(call, 1);
  losses(call, reduction, pred.size(), 10, [&](int64_t first, int64_t size, float *loss) {
    float scratch[TILE], *slope = grad.place(first, scratch);
    const float *p = pred.data() + first, *t = target.data() + first;
    LX_SIMD for (int64_t i = 0; i < size; ++i) {
      const Slope here = smooth_l1(p[i] - t[i], beta);
      loss[i] = here.loss;
      slope[i] = here.slope * scale;
    }
    grad.flush(first, size, slope);
  });
}

void kl_loss(const Call &call) {
  const Floats pred(call.inputs[0]), log_variance(call.inputs[1]), target(call.inputs[2]);
  const Reduction reduction = reduction_of(call, 0);
  const float scale = gradient_scale(reduction, pred.size());
  const Gradient grad_pred(call, 1), grad_variance(call, 2);
  losses(call, reduction, pred.size(), 20, [&](int64_t first, int64_t size, float *loss) {
    float scratch[2 * TILE];
    float *of_pred = grad_pred.place(first, scratch);
    float *of_variance = grad_variance.place(first, scratch + TILE);
    const float *p = pred.data() + first, *v = log_variance.data() + first;
    const float *t = target.data() + first, s = scale;
    LX_SIMD for (int64_t i = 0; i < size; ++i) {
      const Divergence here = divergence(p[i] - t[i], v[i]);
      loss[i] = here.loss;
      of_pred[i] = here.slope * s;
      of_variance[i] = here.variance_slope * s;
    }
    grad_pred.flush(first, size, of_pred);
    grad_variance.flush(first, size, of_variance);
  });
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

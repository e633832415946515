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
  const auto reduction = static_cast<Reduction>(static_cast<int>(call.attributes[1]));
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

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

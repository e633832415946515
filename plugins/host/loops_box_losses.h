// Losses of aligned boxes.
#pragma once

#include "lanes.h"
#include "loops_tensors.h"
#include "../kernels/box_losses.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

template <Metric M, bool GRADIENT>
void box_losses(const Call &call, const Gradient &grad) {
  const Floats pred(call.inputs[0]), target(call.inputs[1]);
  const float eps = static_cast<float>(call.attributes[0]);
  const auto reduction = static_cast<Reduction>(static_cast<int>(call.attributes[1]));
  const int64_t count = pred.size() / 4;
  const float scale = gradient_scale(reduction, count);
  losses(call, reduction, count, 60, [&](int64_t first, int64_t size, float *loss) {
    float scratch[4 * TILE], *slope = grad.place(4 * first, scratch);
    const float *p = pred.data() + 4 * first, *t = target.data() + 4 * first;
    LX_SIMD for (int64_t i = 0; i < size; ++i) {
      const BoxLoss here =
          box_loss<M, GRADIENT>(load_box<M>(p + 4 * i), load_box<M>(t + 4 * i), eps, scale);
      loss[i] = here.loss;
      if (!GRADIENT) continue;
      slope[4 * i] = here.x1, slope[4 * i + 1] = here.y1;
      slope[4 * i + 2] = here.x2, slope[4 * i + 3] = here.y2;
    }
    grad.flush(4 * first, 4 * size, slope);
  });
}

template <Metric M>
void box_loss(const Call &call) {
  const Gradient grad(call, 1);
  return grad.wanted() ? box_losses<M, true>(call, grad) : box_losses<M, false>(call, grad);
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

// Focal losses.
#pragma once

#include "loops_rows.h"
#include "../kernels/focal.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

template <Exponent E>
void sigmoid_focal(const Call &call) {
  const Floats logits(call.inputs[0]), target(call.inputs[1]);
  const float alpha = static_cast<float>(call.attributes[0]);
  const float gamma = static_cast<float>(call.attributes[1]);
  const Reduction reduction = reduction_of(call, 2);
  const float scale = gradient_scale(reduction, logits.size());
  const Gradient grad(call, 1);
  losses(call, reduction, logits.size(), 40, [&](int64_t first, int64_t size, float *loss) {
    float scratch[TILE], *slope = grad.place(first, scratch);
    const float *x = logits.data() + first, *t = target.data() + first;
    const float a = alpha, g = gamma, s = scale;
    LX_SIMD for (int64_t i = 0; i < size; ++i) {
      const Slope here = lossexport::sigmoid_focal<E>(x[i], t[i], a, g);
      loss[i] = here.loss;
      slope[i] = here.slope * s;
    }
    grad.flush(first, size, slope);
  });
}

template <Exponent E>
void softmax_focal(const Call &call) {
  const double alpha = call.attributes[0], *weights = call.attributes[0].list;
  const float gamma = static_cast<float>(call.attributes[1]);
  rows_of_classes(
      call, reduction_of(call, 2), 30, [&](const Row &row, float scale, float *slope, float *) {
        const Rivals rivals(row, slope);
        const int64_t own = row.known() ? row.own : 0;
        const double weight = weights ? weights[own] : (own == 0 ? alpha : 1.0 - alpha);
        const Slope here =
            lossexport::softmax_focal<E>(rivals.margin(), static_cast<float>(weight), gamma);
        const float own_slope = here.slope * scale, factor = -own_slope / rivals.total;
        LX_SIMD for (int64_t k = 0; k < row.classes; ++k) slope[k] *= factor;
        slope[own] = own_slope;
        return here.loss;
      });
}

void sigmoid_focal_loss(const Call &call) {
  switch (exponent_of(static_cast<float>(call.attributes[1]))) {
    case ZEROTH:
      return sigmoid_focal<ZEROTH>(call);
    case FIRST:
      return sigmoid_focal<FIRST>(call);
    case SECOND:
      return sigmoid_focal<SECOND>(call);
    case BELOW_ONE:
      return sigmoid_focal<BELOW_ONE>(call);
    case ANY:
      return sigmoid_focal<ANY>(call);
  }
}

void softmax_focal_loss(const Call &call) {
  switch (exponent_of(static_cast<float>(call.attributes[1]))) {
    case ZEROTH:
      return softmax_focal<ZEROTH>(call);
    case FIRST:
      return softmax_focal<FIRST>(call);
    case SECOND:
      return softmax_focal<SECOND>(call);
    case BELOW_ONE:
      return softmax_focal<BELOW_ONE>(call);
    case ANY:
      return softmax_focal<ANY>(call);
  }
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

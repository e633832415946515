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

// The rows of a few at a time: what is one number for each is computed for all of them at once.
constexpr int64_t FOCAL_ROWS = 32;

template <Exponent E>
void softmax_focal(const Call &call) {
  const Floats logits(call.inputs[0]);
  const int64_t *label = labels(call.inputs[1]);
  const int64_t rows = call.inputs[0].shape[0], classes = call.inputs[0].shape[1];
  const double alpha = call.attributes[0], *weights = call.attributes[0].list;
  const Reduction reduction = reduction_of(call, 2);
  const float gamma = static_cast<float>(call.attributes[1]);
  const float scale = gradient_scale(reduction, rows);
  const Gradient grad(call, 1);
  losses(call, reduction, rows, 30.0 * classes, [&](int64_t start, int64_t all, float *losses) {
    Buffer<float> scratch(FOCAL_ROWS * classes);
    float peak[FOCAL_ROWS], total[FOCAL_ROWS], weight[FOCAL_ROWS], slope[FOCAL_ROWS],
        factor[FOCAL_ROWS];
    int64_t own[FOCAL_ROWS];
    for (int64_t done = 0; done < all; done += FOCAL_ROWS) {
      const int64_t size = smaller(FOCAL_ROWS, all - done), first = start + done;
      float *shares = grad.place(first * classes, scratch.data()), *loss = losses + done;
      for (int64_t i = 0; i < size; ++i) {
        const Row row(logits.data() + (first + i) * classes, classes, label[first + i]);
        const Rivals rivals(row, shares + i * classes);
        own[i] = row.known() ? row.own : 0;
        peak[i] = rivals.peak, total[i] = rivals.total;
        weight[i] =
            static_cast<float>(weights ? weights[own[i]] : (own[i] == 0 ? alpha : 1.0 - alpha));
      }
      const float g = gamma, s = scale;
      LX_SIMD for (int64_t i = 0; i < size; ++i) {
        const Slope here = lossexport::softmax_focal<E>(margin_of(peak[i], total[i]), weight[i], g);
        loss[i] = here.loss;
        slope[i] = here.slope * s;
        factor[i] = -slope[i] / total[i];
      }
      if (!grad.wanted()) continue;
      for (int64_t i = 0; i < size; ++i) {
        float *share = shares + i * classes;
        const float f = factor[i];
        LX_SIMD for (int64_t k = 0; k < classes; ++k) share[k] *= f;
        share[own[i]] = slope[i];
      }
      grad.flush(first * classes, size * classes, shares);
    }
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

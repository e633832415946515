// The costs by which predictions are assigned.
#pragma once

#include "loops_boxes.h"
#include "loops_rows.h"
#include "../kernels/detr_cost.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// The costs of every class for one query: `logits` to `cost`, which also has room for NaN at the
// place of labels that are no class.
using ClassCosts = void(const float *logits, int64_t classes, const Call &call, float *cost);

template <Exponent E>
void focal_costs(const float *logits, int64_t classes, const Call &call, float *cost) {
  const float alpha = static_cast<float>(call.attributes[4]);
  const float gamma = static_cast<float>(call.attributes[5]);
  const float eps = static_cast<float>(call.attributes[6]);
  LX_SIMD for (int64_t k = 0; k < classes; ++k) cost[k] =
      focal_cost<E>(logits[k], alpha, gamma, eps);
}

void softmax_costs(const float *logits, int64_t classes, const Call &, float *cost) {
  float peak = -LARGEST;
#pragma omp simd reduction(max : peak)
  for (int64_t k = 0; k < classes; ++k) peak = logits[k] > peak ? logits[k] : peak;
  LX_SIMD for (int64_t k = 0; k < classes; ++k) cost[k] = exponential(logits[k] - peak);
  const float total = summed(cost, classes);
  LX_SIMD for (int64_t k = 0; k < classes; ++k) cost[k] = -(cost[k] / total);
}

ClassCosts *class_costs_of(const Call &call) {
  if (call.attributes[0] != 0) return softmax_costs;
  switch (exponent_of(static_cast<float>(call.attributes[5]))) {
    case ZEROTH:
      return focal_costs<ZEROTH>;
    case FIRST:
      return focal_costs<FIRST>;
    case SECOND:
      return focal_costs<SECOND>;
    case BELOW_ONE:
      return focal_costs<BELOW_ONE>;
    default:
      return focal_costs<ANY>;
  }
}

void detr_cost(const Call &call) {
  const Floats logits(call.inputs[0]), boxes(call.inputs[1]), targets(call.inputs[3]);
  const int64_t *label = labels(call.inputs[2]);
  const int64_t rows = call.inputs[0].shape[0], classes = call.inputs[0].shape[1];
  const int64_t columns = call.inputs[2].shape[0];
  const float class_weight = static_cast<float>(call.attributes[1]);
  const float box_weight = static_cast<float>(call.attributes[2]);
  const float giou_weight = static_cast<float>(call.attributes[3]);
  ClassCosts *const class_costs = class_costs_of(call);
  const Sink out(call.outputs[0]);

  Planes corners(columns);
  Buffer<float> given(4 * columns);
  Buffer<int32_t> known(columns);
  for (int64_t j = 0; j < columns; ++j) {
    const float *t = targets.data() + 4 * j;
    corners.set(j, box_around(t[0], t[1], t[2], t[3]));
    for (int c = 0; c < 4; ++c) given[c * columns + j] = t[c];
    known[j] = static_cast<int32_t>(label[j] >= 0 && label[j] < classes ? label[j] : classes);
  }
  const double steps = 40.0 * static_cast<double>(classes) + 4.0 * static_cast<double>(columns);
  each((rows + ROWS - 1) / ROWS, steps * static_cast<double>(rows), call.threads,
       [&](int64_t block) {
         Buffer<float> cost(classes + 1);
         float giou[TILE], scratch[TILE];
         for (int64_t i = block * ROWS; i < smaller((block + 1) * ROWS, rows); ++i) {
           const float *row = logits.data() + i * classes, *b = boxes.data() + 4 * i;
           class_costs(row, classes, call, cost.data());
           float poison = 0;
           LX_ADD(poison) for (int64_t k = 0; k < classes; ++k) poison += row[k] * 0.0f;
           cost[classes] = from_bits(0x7fc00000u);
           const Box box = box_around(b[0], b[1], b[2], b[3]);
           for (int64_t first = 0; first < columns; first += TILE) {
             const int64_t width = smaller(TILE, columns - first), place = i * columns + first;
             score_row<GIOU>(box, corners, first, width, 0.0f, giou);
             const float *t = given.data() + first, *own = cost.data();
             const int32_t *which = known.data() + first;
             float *to = out.place(place, scratch);
             LX_SIMD for (int64_t j = 0; j < width; ++j) {
               const float other[] = {t[j], t[columns + j], t[2 * columns + j], t[3 * columns + j]};
               to[j] = class_weight * (own[which[j]] + poison) +
                       (box_weight * distance_of(b, other) - giou_weight * giou[j]);
             }
             out.flush(place, width, to);
           }
         }
       });
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

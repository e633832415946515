// Losses whose target is the quality of a box.
#pragma once

#include "loops_rows.h"
#include "../kernels/bins.cuh"
#include "../kernels/quality.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// The attributes of a loss, of which some lack some.
struct QualityAttributes {
  float exponent, alpha;
  bool iou_weighted;
  Reduction reduction;
};

template <Quality L>
QualityAttributes quality_attributes(const Call &call) {
  const auto number = [&](int place) { return static_cast<float>(call.attributes[place]); };
  if (L == VARIFOCAL) return {number(1), number(0), number(2) != 0, reduction_of(call, 3)};
  if (L == MATCHED_VARIFOCAL) return {number(1), number(0), false, reduction_of(call, 2)};
  if (L == MATCHABILITY_AWARE) return {number(0), number(1), false, reduction_of(call, 2)};
  return {number(0), 0.0f, false, reduction_of(call, 1)};
}

template <Quality L, Exponent E>
void quality_losses(const Call &call, const QualityAttributes &given) {
  const Floats logits(call.inputs[0]), quality(call.inputs[1]);
  const uint8_t *matched = has_matches(L) ? truths(call.inputs[2]) : nullptr;
  const float scale = gradient_scale(given.reduction, logits.size());
  const Gradient grad(call, 1);
  losses(call, given.reduction, logits.size(), 40, [&](int64_t first, int64_t size, float *loss) {
    float scratch[TILE], *slope = grad.place(first, scratch);
    const float *x = logits.data() + first, *t = quality.data() + first;
    const uint8_t *m = has_matches(L) ? matched + first : nullptr;
    const float exponent = given.exponent, alpha = given.alpha, s = scale;
    const bool weighted = given.iou_weighted;
    LX_SIMD for (int64_t i = 0; i < size; ++i) {
      const bool found = has_matches(L) ? m[i] != 0 : false;
      const Slope here = quality_loss<L, E>(x[i], t[i], found, exponent, alpha, weighted);
      loss[i] = here.loss;
      slope[i] = here.slope * s;
    }
    grad.flush(first, size, slope);
  });
}

template <Quality L>
void quality_loss_of(const Call &call) {
  const QualityAttributes given = quality_attributes<L>(call);
  switch (exponent_of(given.exponent)) {
    case ZEROTH:
      return quality_losses<L, ZEROTH>(call, given);
    case FIRST:
      return quality_losses<L, FIRST>(call, given);
    case SECOND:
      return quality_losses<L, SECOND>(call, given);
    case BELOW_ONE:
      return quality_losses<L, BELOW_ONE>(call, given);
    case ANY:
      return quality_losses<L, ANY>(call, given);
  }
}

void distribution_focal_loss(const Call &call) {
  const Floats logits(call.inputs[0]), target(call.inputs[1]);
  const int64_t rows = call.inputs[0].shape[0], bins = call.inputs[0].shape[1];
  const float margin = static_cast<float>(call.attributes[0]);
  const Reduction reduction = reduction_of(call, 1);
  const float scale = gradient_scale(reduction, rows);
  const Gradient grad(call, 1);
  losses(call, reduction, rows, 30.0 * bins, [&](int64_t first, int64_t size, float *loss) {
    Buffer<float> unread(bins);
    for (int64_t i = 0; i < size; ++i) {
      const int64_t place = (first + i) * bins;
      float *slope = grad.place(place, unread.data());
      const float distance = target[first + i];
      const Beside beside(distance, static_cast<int>(bins), margin);
      Row row(logits.data() + place, bins, beside.nearest);
      row.poison += distance * 0.0f;
      const Rivals rivals(row, slope);
      const bool exists = beside.other >= 0 && beside.other < bins;
      const float lead = exists ? row[beside.other] - row[beside.nearest] : 0.0f;
      float q;
      const Slope here = distribution_focal(rivals.margin(), beside.share, lead, &q);
      loss[i] = here.loss;
      if (!grad.wanted()) continue;
      const float whole = rivals.total, s = scale;
      LX_SIMD for (int64_t k = 0; k < bins; ++k) slope[k] = s * (q * (slope[k] / whole));
      if (exists) slope[beside.other] -= s * beside.share;
      slope[beside.nearest] = s * here.slope;
      grad.flush(place, bins, slope);
    }
  });
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

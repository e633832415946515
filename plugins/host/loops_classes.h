// Losses that reshape cross entropy.
#pragma once

#include <cmath>

#include "loops_rows.h"
#include "../kernels/classes.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

template <Exponent E, bool POSITIVE>
void anchor(const Call &call) {
  const float gamma = static_cast<float>(call.attributes[0]);
  const float slack = static_cast<float>(call.attributes[1]);
  rows_of_classes(call, reduction_of(call, 3), 60,
                  [&](const Row &row, float scale, float *slope, float *scratch) {
                    const int64_t count = row.classes, own = row.known() ? row.own : 0;
                    const Logistic mine = logistic(row[own]);
                    float far = mine.q;
                    if (POSITIVE) {
                      far = 0;
                      for (int64_t k = 0; k < count; ++k) slope[k] = logistic(row[k]).p;
                      slope[own] = 0;
#pragma omp simd reduction(max : far)
                      for (int64_t k = 0; k < count; ++k) far = slope[k] > far ? slope[k] : far;
                      far += row.poison;
                    }
                    const float g = gamma, apart = slack, from = far;
                    LX_SIMD for (int64_t k = 0; k < count; ++k) {
                      const Logistic x = logistic(row[k]);
                      const Slope here =
                          POSITIVE ? Slope{x.miss, x.p} : anchor_term<E, false>(x, from, apart, g);
                      scratch[k] = k == own ? 0.0f : here.loss;
                      slope[k] = here.slope * scale;
                    }
                    const Slope here = POSITIVE ? anchor_term<E, true>(mine, from, apart, g)
                                                : Slope{mine.hit, -mine.q};
                    slope[own] = here.slope * scale;
                    return summed(scratch, count) + here.loss;
                  });
}

template <bool POSITIVE>
void anchor_by(const Call &call) {
  switch (exponent_of(static_cast<float>(call.attributes[0]))) {
    case ZEROTH:
      return anchor<ZEROTH, POSITIVE>(call);
    case FIRST:
      return anchor<FIRST, POSITIVE>(call);
    case SECOND:
      return anchor<SECOND, POSITIVE>(call);
    case BELOW_ONE:
      return anchor<BELOW_ONE, POSITIVE>(call);
    case ANY:
      return anchor<ANY, POSITIVE>(call);
  }
}

void anchor_loss(const Call &call) {
  call.attributes[2] == 0 ? anchor_by<false>(call) : anchor_by<true>(call);
}

void sce_loss(const Call &call) {
  const float alpha = static_cast<float>(call.attributes[0]);
  const float floor = static_cast<float>(call.attributes[2]);
  const float reverse = static_cast<float>(-call.attributes[1] * std::log(call.attributes[3]));
  rows_of_classes(call, reduction_of(call, 4), 40,
                  [&](const Row &row, float scale, float *slope, float *scratch) {
                    const Rivals rivals(row, slope);
                    const int64_t count = row.classes, own = row.known() ? row.own : 0;
                    const Logistic z = logistic(rivals.margin());
                    const float share = z.q, whole = rivals.total;
                    LX_SIMD for (int64_t k = 0; k < count; ++k) slope[k] =
                        share * (slope[k] / whole);
                    slope[own] = 0;
                    LX_SIMD for (int64_t k = 0; k < count; ++k) scratch[k] =
                        k == own ? 0.0f : at_least(slope[k], floor);
                    const float total = summed(scratch, count);
                    LX_SIMD for (int64_t k = 0; k < count; ++k) scratch[k] =
                        slope[k] >= floor ? slope[k] : 0.0f;
                    const float moving = summed(scratch, count);
                    LX_SIMD for (int64_t k = 0; k < count; ++k) scratch[k] =
                        slope[k] >= floor ? 0.0f : slope[k];
                    const float fixed = summed(scratch, count);
                    const Reverse sums = {total, moving, fixed};
                    LX_SIMD for (int64_t k = 0; k < count; ++k) slope[k] =
                        scale * symmetric_slope(z, sums, slope[k], k == own, alpha, reverse, floor);
                    return alpha * z.hit + reverse * total;
                  });
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

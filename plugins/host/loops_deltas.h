// Boxes from and to what detectors regress.
#pragma once

#include "loops_tensors.h"
#include "../kernels/deltas.cuh"
#include "../kernels/distances.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// Calls `fill(first, size, rows)`, which takes `steps` elementary steps a row, for every tile of
// the rows of the first output [N,4].
template <typename Fill>
void fill_rows(const Call &call, double steps, const Fill &fill) {
  const Sink out(call.outputs[0]);
  const int64_t count = elements(call.outputs[0]) / 4;
  each((count + TILE - 1) / TILE, steps * count, call.threads, [&](int64_t tile) {
    float scratch[4 * TILE];
    const int64_t first = tile * TILE, size = smaller(TILE, count - first);
    float *rows = out.place(4 * first, scratch);
    fill(first, size, rows);
    out.flush(4 * first, 4 * size, rows);
  });
}

Deltas weights_of(const Value &given) {
  float each[4];
  for (int k = 0; k < 4; ++k)
    each[k] = static_cast<float>(given.list ? given.list[k] : given.number);
  return load_deltas(each);
}

void encode_boxes(const Call &call) {
  const Floats boxes(call.inputs[0]), anchors(call.inputs[1]);
  const Deltas weights = weights_of(call.attributes[0]);
  fill_rows(call, 40, [&](int64_t first, int64_t size, float *rows) {
    const float *b = boxes.data() + 4 * first, *a = anchors.data() + 4 * first;
    LX_SIMD for (int64_t i = 0; i < size; ++i)
        store_row(rows + 4 * i, encode(load_corners(b + 4 * i), load_corners(a + 4 * i), weights));
  });
}

void decode_boxes(const Call &call) {
  const Floats deltas(call.inputs[0]), anchors(call.inputs[1]);
  const Deltas weights = weights_of(call.attributes[0]);
  const float clip = static_cast<float>(call.attributes[1]);
  const Gradient grad(call, 1);
  fill_rows(call, 40, [&](int64_t first, int64_t size, float *rows) {
    const float *d = deltas.data() + 4 * first, *a = anchors.data() + 4 * first;
    LX_SIMD for (int64_t i = 0; i < size; ++i) store_row(
        rows + 4 * i, decode(load_deltas(d + 4 * i), load_corners(a + 4 * i), weights, clip));
    if (!grad.wanted()) return;
    float scratch[4 * TILE], *slope = grad.place(4 * first, scratch);
    LX_SIMD for (int64_t i = 0; i < size; ++i)
        store_row(slope + 4 * i,
                  decode_slope(load_deltas(d + 4 * i), load_corners(a + 4 * i), weights, clip));
    grad.flush(4 * first, 4 * size, slope);
  });
}

constexpr int64_t SIDES = 16;
constexpr int64_t MOST_STEPS = 64;

// The mean steps of `count` distributions, at most SIDES, NaN where a logit is NaN or infinite.
void mean_steps(const float *logits, int64_t count, int64_t bins, float *mean) {
  // A row for each bin: a sum along a distribution would leave most of a vector idle.
  float across[MOST_STEPS][SIDES];
  for (int64_t side = 0; side < SIDES; ++side) {
    const float *own = logits + smaller(side, count - 1) * bins;
    for (int64_t bin = 0; bin < bins; ++bin) across[bin][side] = own[bin];
  }
  float highest[SIDES], poison[SIDES] = {}, sum[SIDES] = {}, steps[SIDES] = {};
  LX_SIMD for (int64_t side = 0; side < SIDES; ++side) highest[side] = across[0][side];
  for (int64_t bin = 0; bin < bins; ++bin) {
    LX_SIMD for (int64_t side = 0; side < SIDES; ++side) {
      highest[side] = at_least(across[bin][side], highest[side]);
      poison[side] += across[bin][side] * 0.0f;
    }
  }
  for (int64_t bin = 0; bin < bins; ++bin) {
    LX_SIMD for (int64_t side = 0; side < SIDES; ++side) {
      const float share = exponential(across[bin][side] - highest[side]);
      sum[side] += share, steps[side] += share * static_cast<float>(bin);
    }
  }
  for (int64_t side = 0; side < count; ++side) mean[side] = steps[side] / sum[side] + poison[side];
}

void decode_distances(const Call &call) {
  const Floats distribution(call.inputs[0]), points(call.inputs[1]), stride(call.inputs[2]);
  const auto bins = static_cast<int64_t>(call.attributes[0]);
  fill_rows(call, 20.0 * bins, [&](int64_t first, int64_t size, float *rows) {
    const float *logits = distribution.data() + 4 * first * bins;
    for (int64_t side = 0; side < 4 * size; side += SIDES)
      mean_steps(logits + side * bins, smaller(SIDES, 4 * size - side), bins, rows + side);
    const float *p = points.data() + 2 * first, *s = stride.data() + first;
    LX_SIMD for (int64_t i = 0; i < size; ++i) store_row(
        rows + 4 * i, box_around(p[2 * i], p[2 * i + 1], load_corners(rows + 4 * i), s[i]));
  });
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

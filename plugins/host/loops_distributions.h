// DR loss.
#pragma once

#include "loops_rows.h"
#include "../kernels/distributions.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// Probabilities of a stretch of elements of rows with labels, and which of them are negatives (1, or
// 0). Positives, of which a row has one at most, are given to `found` by their place.
struct Members {
  float p[TILE], q[TILE], negative[TILE];

  template <typename Found>
  void fill(const float *logits, const int64_t *label, int64_t classes, int64_t first, int64_t size,
            const Found &found) {
    LX_SIMD for (int64_t i = 0; i < size; ++i) {
      const Logistic x = logistic(logits[first + i]);
      p[i] = x.p, q[i] = x.q;
    }
    for (int64_t i = 0; i < size;) {
      const int64_t row = (first + i) / classes, start = row * classes - first;
      const int64_t end = smaller(start + classes, size);
      const float member = label[row] >= 0 ? 1.0f : 0.0f;
      const int64_t from = i;
      for (; i < end; ++i) negative[i] = member;
      if (label[row] < 1 || label[row] > classes) continue;
      const int64_t own = start + label[row] - 1;
      if (own < from || own >= end) continue;
      negative[own] = 0.0f;
      found(own);
    }
  }
};

void dr_loss(const Call &call) {
  const Floats logits(call.inputs[0]);
  const int64_t *label = labels(call.inputs[1]);
  const int64_t rows = call.inputs[0].shape[0], classes = call.inputs[0].shape[1];
  const float falling = -1.0f / static_cast<float>(call.attributes[0]);
  const float rising = 1.0f / static_cast<float>(call.attributes[1]);
  const int64_t count = logits.size(), tiles = (count + TILE - 1) / TILE;
  float poison = 0;
  for (int64_t i = 0; i < rows; ++i)
    if (label[i] < -1 || label[i] > classes) poison = from_bits(0x7fc00000u);
  // Added in the order of the tiles, so that the number of threads changes no bit.
  Buffer<Moments> negatives(tiles), positives(tiles);
  Buffer<float> spoilt(tiles);
  each(tiles, 50.0 * count, call.threads, [&](int64_t tile) {
    Members members;
    float weight[TILE], of_p[TILE], of_q[TILE], sum = 0;
    const int64_t first = tile * TILE, size = smaller(TILE, count - first);
    const float *x = logits.data() + first;
    positives[tile] = negatives[tile] = Moments();
    members.fill(logits.data(), label, classes, first, size, [&](int64_t i) {
      const double w = weight_at(members.p[i], members.q[i], falling);
      positives[tile].add(w, w * members.p[i], w * members.q[i]);
    });
    LX_ADD(sum) for (int64_t i = 0; i < size; ++i) sum += x[i] * 0.0f;
    LX_SIMD for (int64_t i = 0; i < size; ++i) {
      const float here = weight_at(members.p[i], members.q[i], rising);
      weight[i] = members.negative[i] > 0 ? here : 0.0f;
      of_p[i] = weight[i] * members.p[i], of_q[i] = weight[i] * members.q[i];
    }
    spoilt[tile] = sum;
    negatives[tile].add(summed(weight, size), summed(of_p, size), summed(of_q, size));
  });
  Moments away, own;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    away.add(negatives[tile].weight, negatives[tile].p, negatives[tile].q);
    own.add(positives[tile].weight, positives[tile].p, positives[tile].q);
    poison += spoilt[tile];
  }
  const Expectation hardest(away, rising, 0.0f, poison), easiest(own, falling, 1.0f, poison);
  const Slope here =
      ranked_apart(hardest, easiest, static_cast<float>(call.attributes[2]),
                   static_cast<float>(call.attributes[3]), static_cast<float>(call.attributes[4]));
  Sink(call.outputs[0]).write(0, here.loss);
  if (call.output_count < 2) return;
  const Sink grad(call.outputs[1]);
  each(tiles, 50.0 * count, call.threads, [&](int64_t tile) {
    Members members;
    float scratch[TILE];
    int64_t owned[TILE], most = 0;
    const int64_t first = tile * TILE, size = smaller(TILE, count - first);
    float *row = grad.place(first, scratch);
    members.fill(logits.data(), label, classes, first, size, [&](int64_t i) { owned[most++] = i; });
    const auto moved = [&](int64_t i, float slope) {
      return here.slope * slope * (members.p[i] * members.q[i]);
    };
    LX_SIMD for (int64_t i = 0; i < size; ++i) {
      const float slope = moved(i, hardest.slope(members.p[i], members.q[i]));
      row[i] = (members.negative[i] > 0 ? slope : 0.0f) + poison;
    }
    for (int64_t k = 0; k < most; ++k) {
      const int64_t i = owned[k];
      row[i] = moved(i, -easiest.slope(members.p[i], members.q[i])) + poison;
    }
    grad.flush(first, size, scratch);
  });
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

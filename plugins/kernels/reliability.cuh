// How far the boxes of an image can be relied on: the arithmetic of
// lossexport/families/reliability/functions.py. Yoo et al. (arXiv 2508.12082); Park et al. (arXiv
// 2412.01782).
//
// Macros: LX_T, LX_SCORE_THRESHOLD, and LX_IOU_THRESHOLD and LX_CENTER or LX_WEIGHT. Launch of
// suppression_reliability: one block of PICKERS threads, for at most MASK_BOXES boxes; of
// contrastive_confidence: a block of CONFIDENCE_THREADS threads for each image.
#pragma once

#include "logistic.cuh"
#include "reduce.cuh"
#include "suppression.cuh"

namespace lossexport {

constexpr int CONFIDENCE_THREADS = 128;

// What a removed box counts, from 0.1 to 1.
LX_INLINE float removed_weight(float score, float center) {
  return 0.1f + 0.9f * logistic(20.0f * (score - center)).p;
}

// The boxes that one kept box removes: the sum of their weights, and the box around them.
struct Removed {
  double mass;  // 0 without a box
  float x1, y1, x2, y2;

  static LX_INLINE Removed none() { return {0.0, LARGEST, LARGEST, -LARGEST, -LARGEST}; }
  LX_INLINE Removed with(const Removed &other) const {
    return {mass + other.mass, at_most(x1, other.x1), at_most(y1, other.y1), at_least(x2, other.x2),
            at_least(y2, other.y2)};
  }
  LX_INLINE Box hull() const {
    const float w = x2 - x1, h = y2 - y1;
    return {x1, y1, x2, y2, w, h, w * h, 0.0f};
  }
};

// The mean of the IoU with the hull and of 1 - the distance of the centres in quarters of the
// diagonal of the box; 0 if nothing was removed.
LX_INLINE float agreement(const Box &box, const Removed &group) {
  if (group.mass == 0) return 0.0f;
  const Box hull = group.hull();
  const float x = (box.x1 - hull.x1) + (box.x2 - hull.x2);
  const float y = (box.y1 - hull.y1) + (box.y2 - hull.y2);
  const float apart = square_root(ratio(x * x + y * y, box.w * box.w + box.h * box.h));
  return 0.5f * rivalry<IOU>(box, hull, 1.0f) + 0.5f * (1.0f - 2.0f * apart);
}

// Sums over the kept boxes.
struct Reliability {
  double sure = 0, agreeing = 0, kept = 0;

  LX_INLINE void add(const Box &box, float score, float center, const Removed &group) {
    kept += 1;
    if (score > center) sure += group.mass;
    agreeing += agreement(box, group) * logistic(10.0f * (center - score)).p;
  }
  // Of the weight of all removed boxes.
  LX_INLINE float reliability(double removed) const {
    return static_cast<float>(removed > 0 ? sure / removed : 0.0);
  }
  LX_INLINE float consistency() const {
    return static_cast<float>(agreeing / (kept > 0 ? kept : 1.0));
  }
};

// The mean of the high scores less `weight` times that of the low ones.
LX_INLINE float confidence(double high, double highs, double low, double lows, float weight) {
  return static_cast<float>(high / (highs > 0 ? highs : 1.0) -
                            weight * (low / (lows > 0 ? lows : 1.0)));
}

}  // namespace lossexport

#ifdef LX_DEVICE
#if defined(LX_CENTER)
namespace lossexport {

// The place of a kept box, or NOWHERE.
__device__ inline int kept_place(const LX_T *boxes, const LX_T *scores, long long index, int n) {
  if (index < 0 || index >= n) return NOWHERE;
  const int place = static_cast<int>(index);
  return usable(boxes, scores, place, LX_SCORE_THRESHOLD) &&
                 load(scores[place]) > LX_SCORE_THRESHOLD
             ? place
             : NOWHERE;
}

}  // namespace lossexport

LX_KERNEL void LX_BOUNDS(lossexport::PICKERS)
    suppression_reliability(const LX_T *boxes, const LX_T *scores, const long long *indices, int n,
                            int k, LX_T *reliability, LX_T *consistency) {
  using namespace lossexport;
  LX_SHARED Removed table[PICKERS];
  const int thread = static_cast<int>(threadIdx.x);
  const auto all_of = [&](const Removed &mine) {
    return joined<PICKERS>(mine, table, [](Removed a, Removed b) { return a.with(b); });
  };
  unsigned live = 0, removed = 0;  // a bit for each box
  for (int bit = 0, place = thread; place < n; ++bit, place += PICKERS)
    if (kept_place(boxes, scores, place, n) != NOWHERE) live |= 1u << bit;
  for (int i = 0; i < k; ++i) {
    const long long index = indices[i];
    if (index >= 0 && index < n && index % PICKERS == thread) live &= ~(1u << (index / PICKERS));
  }
  Reliability sums;
  for (int i = 0; i < k; ++i) {
    const int kept = kept_place(boxes, scores, indices[i], n);
    if (kept == NOWHERE) continue;
    const Box box = load_box<IOU>(boxes + 4 * kept);
    Removed group = Removed::none();
    for (int bit = 0, place = thread; place < n; ++bit, place += PICKERS) {
      if (!(live >> bit & 1u)) continue;
      const Box other = load_box<IOU>(boxes + 4 * place);
      if (!(rivalry<IOU>(box, other, 1.0f) > LX_IOU_THRESHOLD)) continue;
      removed |= 1u << bit;
      group = group.with(
          {removed_weight(load(scores[place]), LX_CENTER), other.x1, other.y1, other.x2, other.y2});
    }
    sums.add(box, load(scores[kept]), LX_CENTER, all_of(group));
  }
  Removed all = Removed::none();
  for (int bit = 0, place = thread; place < n; ++bit, place += PICKERS)
    if (removed >> bit & 1u) all.mass += removed_weight(load(scores[place]), LX_CENTER);
  all = all_of(all);
  if (thread != 0) return;
  store(reliability, sums.reliability(all.mass));
  store(consistency, sums.consistency());
}
#elif defined(LX_WEIGHT)
LX_KERNEL void contrastive_confidence(const LX_T *scores, int columns, LX_T *found) {
  using namespace lossexport;
  LX_SHARED double table[CONFIDENCE_THREADS];
  const LX_T *row = scores + static_cast<long long>(blockIdx.x) * columns;
  double high = 0, highs = 0, low = 0, lows = 0;
  float poison = 0.0f;
  for (int k = static_cast<int>(threadIdx.x); k < columns; k += CONFIDENCE_THREADS) {
    const float score = load(row[k]);
    poison += score * 0.0f;
    if (score > LX_SCORE_THRESHOLD)
      high += score, highs += 1;
    else if (score > 0)
      low += score, lows += 1;
  }
  const auto all = [&](double mine) { return total_of<CONFIDENCE_THREADS>(mine, table); };
  high = all(high), highs = all(highs), low = all(low), lows = all(lows);
  poison = static_cast<float>(all(poison));
  if (threadIdx.x == 0)
    store(found + blockIdx.x, confidence(high, highs, low, lows, LX_WEIGHT) + poison);
}
#endif
#endif

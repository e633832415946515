// The task-aligned assignment.
#pragma once

#include "loops_boxes.h"
#include "../kernels/logistic.cuh"
#include "../kernels/task_align.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// What the loops for all targets share: points of an image with scores, or logits of them, of their
// classes, a point and a class these steps apart.
struct Points {
  const float *scores, *boxes, *points, *targets;
  const int64_t *label;
  const uint8_t *valid;
  int64_t count, classes, point_step, class_step;
  bool logits;
  float alpha, beta, small_side;

  Wanted target(int64_t t) const {
    return Wanted(targets + 4 * t, label[t], classes, valid[t], small_side);
  }
  // Of a point inside of the target.
  Fit fit(const Wanted &target, int64_t point) const {
    const float score = scores[point * point_step + target.label * class_step];
    return fit_of(target, boxes + 4 * point, logits ? logistic(score).p : score, alpha, beta);
  }
  bool inside(const Wanted &target, int64_t point) const {
    return target.takes_part && target.holds(points[2 * point], points[2 * point + 1]);
  }
  Fit any_fit(const Wanted &target, int64_t point) const {
    return inside(target, point) ? fit(target, point) : Fit{};
  }
};

// Which points a target chooses: their places to `chosen`, which has room for `most`.
int64_t choose(const Points &all, int64_t t, int64_t most, int32_t *chosen) {
  const Wanted target = all.target(t);
  if (!target.takes_part) return 0;
  Buffer<Rival> rivals(all.count);
  Buffer<uint8_t> worthless(smaller(most, all.count));  // candidates among the first points
  int64_t found = 0;
  const float *point = all.points;
  for (int64_t first = 0; first < all.count; first += TILE) {
    const int64_t size = smaller(TILE, all.count - first);
    int32_t inside[TILE];
    LX_SIMD for (int64_t i = 0; i < size; ++i) inside[i] =
        target.x.holds(point[2 * (first + i)]) & target.y.holds(point[2 * (first + i) + 1]);
    for (int64_t i = 0; i < size; ++i) {
      const int64_t place = first + i;
      const Fit fit = inside[i] ? all.fit(target, place) : Fit{};
      rivals[found] = as_rival(fit.metric, place);
      found += fit.metric > 0;
      if (place < worthless.size()) worthless[place] = fit.metric > 0 ? 2 : fit.candidate;
    }
  }
  const int64_t taken = smaller(found, most);
  sort_rivals(rivals.data(), rivals.data() + found, taken);
  for (int64_t i = 0; i < taken; ++i) chosen[i] = static_cast<int32_t>(place_of(rivals[i]));
  // Points of metric 0 come last, by their places, also those outside.
  int64_t count = taken;
  for (int64_t i = 0, room = most - taken; i < worthless.size() && room > 0; ++i) {
    if (worthless[i] == 2) continue;
    --room;
    if (worthless[i]) chosen[count++] = static_cast<int32_t>(i);
  }
  return count;
}

// Which target every point is given, or -1, and the score that it should have. A target chooses
// `topk` points at most.
void align(const Points &all, int64_t targets, double topk, int threads, int64_t *assigned,
           float *score) {
  const int64_t most = topk < static_cast<double>(all.count)
                           ? (topk > 0 ? static_cast<int64_t>(topk) : 0)
                           : all.count;
  Buffer<int32_t> chosen(targets * most), claims(all.count);
  Buffer<int64_t> counts(targets);
  each(targets, 8.0 * static_cast<double>(targets) * static_cast<double>(all.count), threads,
       [&](int64_t t) { counts[t] = choose(all, t, most, chosen.data() + t * most); });
  for (int64_t i = 0; i < all.count; ++i) assigned[i] = -1, claims[i] = 0;
  for (int64_t t = 0; t < targets; ++t)
    for (int64_t k = 0; k < counts[t]; ++k) {
      const int32_t place = chosen[t * most + k];
      assigned[place] = t;
      ++claims[place];
    }
  // A point that several want is that of the largest overlap.
  for (int64_t i = 0; i < all.count; ++i) {
    if (claims[i] < 2) continue;
    float largest = OUT;
    for (int64_t t = 0; t < targets; ++t) {
      const float overlap = all.valid[t] ? all.any_fit(all.target(t), i).overlap : OUT;
      if (overlap > largest) largest = overlap, assigned[i] = t;
    }
  }

  Buffer<float> best(targets), overlap(targets);
  for (int64_t t = 0; t < targets; ++t) best[t] = overlap[t] = 0;
  for (int64_t i = 0; i < all.count; ++i) {
    const int64_t t = assigned[i];
    score[i] = 0;
    if (t < 0) continue;
    const Fit fit = all.any_fit(all.target(t), i);
    score[i] = fit.metric;
    best[t] = at_least(best[t], fit.metric);
    overlap[t] = at_least(overlap[t], fit.overlap);
  }
  for (int64_t i = 0; i < all.count; ++i)
    if (assigned[i] >= 0) score[i] *= overlap[assigned[i]] / (best[assigned[i]] + NORM_EPS);
}

void task_aligned_assign(const Call &call) {
  const Floats given(call.inputs[0]), boxes(call.inputs[1]), points(call.inputs[2]);
  const Floats targets(call.inputs[4]);
  const int64_t count = call.inputs[0].shape[0], classes = call.inputs[0].shape[1];
  const Points all = {given.data(),
                      boxes.data(),
                      points.data(),
                      targets.data(),
                      labels(call.inputs[3]),
                      truths(call.inputs[5]),
                      count,
                      classes,
                      classes,
                      1,
                      false,
                      static_cast<float>(call.attributes[0]),
                      static_cast<float>(call.attributes[1]),
                      static_cast<float>(call.attributes[3])};
  int64_t *assigned = whole(call.outputs[0]);
  const Sink scores(call.outputs[1]);
  Buffer<float> score(count);
  align(all, call.inputs[3].shape[0], call.attributes[2], call.threads, assigned, score.data());
  each((count + TILE - 1) / TILE, static_cast<double>(given.size()), call.threads,
       [&](int64_t tile) {
         Buffer<float> scratch(classes);
         for (int64_t i = tile * TILE; i < smaller((tile + 1) * TILE, count); ++i) {
           const float *row = all.scores + i * classes;
           float poison = poison_in(all.points + 2 * i, 2) + poison_in(all.boxes + 4 * i, 4);
           LX_ADD(poison) for (int64_t k = 0; k < classes; ++k) poison += row[k] * 0.0f;
           float *to = scores.place(i * classes, scratch.data());
           for (int64_t k = 0; k < classes; ++k) to[k] = poison;
           const int64_t t = assigned[i], label = t < 0 ? -1 : all.label[t];
           if (label >= 0 && label < classes) to[label] += score[i];
           scores.flush(i * classes, classes, to);
         }
       });
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

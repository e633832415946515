// The points that train on each target: the arithmetic of
// lossexport/families/assignment/functions.py. Feng et al. (arXiv 2108.07755), section 3.2.
//
// Macros: LX_T, LX_ALPHA, LX_BETA, LX_TOPK, LX_SMALL_SIDE. Launch: one block of PICKERS threads, for
// at most ALIGNED_TARGETS targets.
#pragma once

#include "reduce.cuh"
#include "suppression.cuh"

namespace lossexport {

constexpr int ALIGNED_TARGETS = 1024;
constexpr float YOLO_EPS = 1e-7f;
constexpr float INSIDE = 1e-9f;    // a point is farther than this from all sides of its target
constexpr float NORM_EPS = 1e-9f;  // added to the largest metric of a target

// A box whose area and aspect have an eps on the height.
template <typename T>
LX_INLINE Box load_yolo_box(const T *corners) {
  Box box = load_box<IOU>(corners);
  const float tall = box.h + YOLO_EPS;
  box.area = box.w * tall + poison_in(corners, 4);
  box.angle = aspect_angle(box.w, tall) * 0.636619772f;
  return box;
}

// CIoU with an eps in every denominator.
LX_INLINE float yolo_ciou(const Box &a, const Box &b) {
  const Meeting<float> m = meet(a, b);
  const float iou = m.intersection / (m.together + YOLO_EPS);
  const float turn = b.angle - a.angle, v = turn * turn;
  return iou - distance_term(a, b, m, YOLO_EPS) * 0.25f - v / (((1.0f - iou) + v) + YOLO_EPS) * v;
}

// x^y for x of at least 0; of an exponent of 0 it is 1.
LX_INLINE float raised(float x, float y) {
  return y == 0.0f ? 1.0f : y == 1.0f ? x : y == 2.0f ? x * x : power(x, y);
}

// The interval of an axis in which points are of a target, whose side is lengthened if it is small.
struct Interval {
  float low, high;

  LX_INLINE Interval(float from, float to, float small_side) : low(from), high(to) {
    if (!(to - from < small_side)) return;
    const float centre = (from + to) * 0.5f, half = small_side * 0.5f;
    low = centre - half, high = centre + half;
  }
  LX_INLINE bool holds(float x) const { return at_most(x - low, high - x) > INSIDE; }
};

// A target with its class; NaN or infinity, or a class that there is not, leave it without points.
struct Wanted {
  Box box;
  Interval x, y;
  long long label;
  bool takes_part;

  template <typename T>
  LX_INLINE Wanted(const T *corners, long long label, long long classes, bool valid,
                   float small_side)
      : box(load_yolo_box(corners)),
        x(box.x1, box.x2, small_side),
        y(box.y1, box.y2, small_side),
        label(label),
        takes_part(valid && box.area == box.area && label >= 0 && label < classes) {}
  LX_INLINE bool holds(float px, float py) const { return x.holds(px) && y.holds(py); }
};

// How well a point fits a target: both 0 unless it is a candidate.
struct Fit {
  float overlap, metric;
  bool candidate;
};

// Of a point inside of a target.
template <typename T>
LX_INLINE Fit fit_of(const Wanted &target, const T *corners, float chance, float alpha,
                     float beta) {
  const Box box = load_yolo_box(corners);
  if (box.area != box.area || !is_finite(chance)) return {0.0f, 0.0f, false};
  const float overlap = at_least(yolo_ciou(box, target.box), 0.0f);
  return {overlap, raised(chance, alpha) * raised(overlap, beta), true};
}

}  // namespace lossexport

#if defined(LX_DEVICE) && defined(LX_TOPK)
namespace lossexport {

// What the threads of a block share while they align points with targets.
template <int THREADS>
struct Aligning {
  Candidate table[THREADS];
  Candidate last[ALIGNED_TARGETS];  // of the points that a target has chosen
  float numbers[THREADS];
  float norm[ALIGNED_TARGETS];  // what the metric of a target's point is multiplied by
};

// Aligns `all` points with `count` targets. `scene` has `target(t)`, `fit(target, point)` and
// `counts(t)`, whether a target may be the nearest; `own(point)` is the place for the target of a point, or -1. A thread asks for every
// THREADS-th point alone.
template <int THREADS, typename Scene, typename Own>
__device__ inline void align(const Scene &scene, int all, int count, Aligning<THREADS> &shared,
                             const Own &own) {
  const int thread = static_cast<int>(threadIdx.x);
  LX_SYNC();
  for (int t = 0; t < count; ++t) {
    const Wanted target = scene.target(t);
    Candidate pick = {LARGEST, -1};
    for (int k = 0; k < LX_TOPK && pick.place != NOWHERE; ++k) {
      Candidate best = {OUT, NOWHERE};
      for (int a = thread; a < all; a += THREADS) {
        const Candidate here = {scene.fit(target, a).metric, a};
        if (before(pick, here) && before(here, best)) best = here;
      }
      pick = first_of<THREADS>(best, shared.table);
    }
    if (thread == 0) shared.last[t] = pick;
  }
  LX_SYNC();
  for (int a = thread; a < all; a += THREADS) {
    int chosen = -1, claims = 0, nearest = -1;
    float most = OUT;
    for (int t = 0; t < count; ++t) {
      const Fit fit = scene.fit(scene.target(t), a);
      if (fit.candidate && !before(shared.last[t], {fit.metric, a})) chosen = t, ++claims;
      if (scene.counts(t) && fit.overlap > most) most = fit.overlap, nearest = t;
    }
    own(a) = claims > 1 ? nearest : chosen;
  }
  LX_SYNC();
  for (int t = 0; t < count; ++t) {
    const Wanted target = scene.target(t);
    float metric = 0.0f, overlap = 0.0f;
    for (int a = thread; a < all; a += THREADS) {
      if (own(a) != t) continue;
      const Fit fit = scene.fit(target, a);
      metric = at_least(metric, fit.metric), overlap = at_least(overlap, fit.overlap);
    }
    metric = largest_of<THREADS>(metric, shared.numbers);
    overlap = largest_of<THREADS>(overlap, shared.numbers);
    if (thread == 0) shared.norm[t] = overlap / (metric + NORM_EPS);
  }
  LX_SYNC();
}

}  // namespace lossexport
#endif

#if defined(LX_DEVICE) && defined(LX_TASK_ALIGN)
namespace lossexport {

// The points of an image and its targets.
struct Scene {
  const LX_T *scores, *boxes, *points;
  const long long *labels;
  const LX_T *targets;
  const bool *valid;
  long long classes;

  __device__ bool counts(int t) const { return valid[t]; }
  __device__ Wanted target(int t) const {
    return Wanted(targets + 4 * t, labels[t], classes, valid[t], LX_SMALL_SIDE);
  }
  __device__ Fit fit(const Wanted &target, int point) const {
    const float x = load(points[2 * point]), y = load(points[2 * point + 1]);
    if (!target.takes_part || !target.holds(x, y)) return {0.0f, 0.0f, false};
    return fit_of(target, boxes + 4 * point, load(scores[point * classes + target.label]), LX_ALPHA,
                  LX_BETA);
  }
};

}  // namespace lossexport

LX_KERNEL void LX_BOUNDS(lossexport::PICKERS)
    task_aligned_assign(const LX_T *scores, const LX_T *boxes, const LX_T *points,
                        const long long *labels, const LX_T *targets, const bool *valid, int all,
                        int count, int classes, long long *assigned, LX_T *target_scores) {
  using namespace lossexport;
  LX_SHARED Aligning<PICKERS> shared;
  const Scene scene = {scores, boxes, points, labels, targets, valid, classes};
  const int thread = static_cast<int>(threadIdx.x);
  align<PICKERS>(scene, all, count, shared, [=](int a) -> long long & { return assigned[a]; });
  for (int a = thread; a < all; a += PICKERS) {
    const long long first = static_cast<long long>(a) * classes;
    const float poison = poison_in(points + 2 * a, 2) + poison_in(boxes + 4 * a, 4) +
                         poison_in(scores + first, classes);
    for (int k = 0; k < classes; ++k) store(target_scores + first + k, poison);
    if (assigned[a] < 0) continue;
    const int t = static_cast<int>(assigned[a]);
    const Wanted target = scene.target(t);
    if (target.label >= 0 && target.label < classes)
      store(target_scores + first + target.label,
            scene.fit(target, a).metric * shared.norm[t] + poison);
  }
}
#endif

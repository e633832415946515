// The loss of RetinaNet, with the gradient: the arithmetic of
// lossexport/families/detection/anchors.py. Lin et al. (arXiv 1708.02002).
//
// Macros: LX_T, LX_FG_IOU, LX_BG_IOU, LX_RESCUE (0 or 1), LX_ALPHA, LX_GAMMA, LX_BETA, LX_CLASS_GAIN,
// LX_BOX_GAIN, and LX_GRADIENT where the gradient is written too. Launch: one block of
// DETECTION_THREADS, for at most ANCHORED_TARGETS targets of an image.
#pragma once

#include "deltas.cuh"
#include "detection.cuh"
#include "regression.cuh"

namespace lossexport {

constexpr int ANCHORED_TARGETS = 1024;
enum Anchored { BACKGROUND = -1, NEITHER = -2 };

// How far the deltas of an anchor are from those of its target, and the slopes.
struct Placed {
  float loss, slopes[4];
};

LX_INLINE Placed placed_apart(Deltas given, Corners target, Corners anchor, float beta) {
  const Deltas wanted = encode(target, anchor, {1.0f, 1.0f, 1.0f, 1.0f});
  const float apart[] = {given.x - wanted.x, given.y - wanted.y, given.w - wanted.w,
                         given.h - wanted.h};
  Placed found = {0.0f, {}};
  for (int i = 0; i < 4; ++i) {
    const Slope here = beta < LEAST_BETA ? smooth_l1(apart[i], beta) : bent(apart[i], beta);
    found.loss += here.loss, found.slopes[i] = here.slope;
  }
  return found;
}

}  // namespace lossexport

#if defined(LX_DEVICE) && defined(LX_FG_IOU)
namespace lossexport {

// The anchors and the targets of one image.
struct Anchors {
  const LX_T *anchors;
  const long long *labels;
  const LX_T *targets;
  const bool *valid;
  int count, classes;
  const float *most;  // the largest IoU of each target, 0 where it rescues none

  __device__ bool usable(int t) const {
    return valid[t] && sound(targets + 4 * t, labels[t], classes);
  }
  __device__ float overlap(const Box &anchor, int t) const {
    return score<IOU>(load_box<IOU>(targets + 4 * t), anchor, 0.0f);
  }
  // The target of an anchor, or why it has none.
  __device__ int target(long long anchor) const {
    const Box box = load_box<IOU>(anchors + 4 * anchor);
    float best = -1.0f;
    int place = 0;
    bool rescued = false;
    for (int t = 0; t < count; ++t) {
      if (!usable(t)) continue;
      const float here = overlap(box, t);
      if (here > best) best = here, place = t;
      rescued |= most[t] > 0 && here == most[t];
    }
    return best >= LX_FG_IOU || rescued ? place : (best >= LX_BG_IOU ? NEITHER : BACKGROUND);
  }
};

}  // namespace lossexport

LX_KERNEL void LX_BOUNDS(lossexport::DETECTION_THREADS)
    retinanet_loss(const LX_T *logits, const LX_T *deltas, const LX_T *anchors,
                   const long long *labels, const LX_T *targets, const bool *valid, int images,
                   int all, int classes, int count, LX_T *loss, LX_T *parts
#ifdef LX_GRADIENT
                   ,
                   LX_T *grad_logits, LX_T *grad_deltas
#endif
    ) {
  using namespace lossexport;
  constexpr Exponent E = exponent_of(LX_GAMMA);
  LX_SHARED double table[DETECTION_THREADS];
  LX_SHARED float numbers[DETECTION_THREADS], most[ANCHORED_TARGETS];
  LX_SHARED long long own[DETECTION_THREADS];  // class of the target of an anchor, or Anchored
  const int thread = static_cast<int>(threadIdx.x);
  const auto sum_of = [&](double mine) { return total_of<DETECTION_THREADS>(mine, table); };

  float poison = 0.0f;
  for (long long a = thread; a < all; a += DETECTION_THREADS)
    poison += poison_in(anchors + 4 * a, 4);
  const bool sound_anchors = sum_of(poison) == 0;
  double sums[2] = {};
  for (int image = 0; image < images; ++image) {
    const long long start = static_cast<long long>(image) * count;
    const Anchors told = {
        anchors, labels + start, targets + 4 * start, valid + start, count, classes, most};
    for (int t = 0; t < count; ++t) {
      const bool usable = told.usable(t);
      if (valid[start + t] && !usable) poison = from_bits(0x7fc00000u);
      float best = 0.0f;
      for (long long a = thread; LX_RESCUE && usable && sound_anchors && a < all;
           a += DETECTION_THREADS)
        best = at_least(best, told.overlap(load_box<IOU>(anchors + 4 * a), t));
      best = largest_of<DETECTION_THREADS>(best, numbers);
      if (thread == 0) most[t] = best;
    }
    LX_SYNC();
    double taken = 0;
    for (long long a = thread; a < all; a += DETECTION_THREADS) taken += told.target(a) >= 0;
    taken = sum_of(taken);
    const float norm = static_cast<float>(taken > 1 ? taken : 1) * static_cast<float>(images);

    double named = 0, placed = 0;
    for (int first = 0; first < all; first += DETECTION_THREADS) {
      const long long anchor = static_cast<long long>(first) + thread;
      const long long row = static_cast<long long>(image) * all + anchor;
      LX_SYNC();
      if (anchor < all) {
        const int t = told.target(anchor);
        own[thread] = t >= 0 ? told.labels[t] : t;
        const Deltas given = load_deltas(deltas + 4 * row);
        poison += poison_of(given.x, given.y, given.w, given.h);
        Placed here = {0.0f, {}};
        if (t >= 0)
          here = placed_apart(given, load_corners(told.targets + 4 * t),
                              load_corners(anchors + 4 * anchor), LX_BETA);
        placed += here.loss;
#ifdef LX_GRADIENT
        for (int i = 0; i < 4; ++i)
          store(grad_deltas + 4 * row + i, here.slopes[i] * (LX_BOX_GAIN / norm));
#endif
      }
      LX_SYNC();
      const long long here = all - first < DETECTION_THREADS ? all - first : DETECTION_THREADS;
      const long long from = (static_cast<long long>(image) * all + first) * classes;
      for (long long i = thread; i < here * classes; i += DETECTION_THREADS) {
        const long long label = own[i / classes];
        const float logit = load(logits[from + i]);
        const Slope found =
            sigmoid_focal<E>(logit, label == i % classes ? 1.0f : 0.0f, LX_ALPHA, LX_GAMMA);
        poison += logit * 0.0f;
        if (label != NEITHER) named += found.loss;
#ifdef LX_GRADIENT
        store(grad_logits + from + i,
              found.slope * (label == NEITHER ? 0.0f : LX_CLASS_GAIN / norm));
#endif
      }
    }
    sums[0] += named / norm, sums[1] += placed / norm;
    LX_SYNC();
  }
  const float stray = static_cast<float>(sum_of(poison));
  write_parts<2>(sums, {LX_CLASS_GAIN, LX_BOX_GAIN}, stray, 1.0f, table, loss, parts);
}
#endif

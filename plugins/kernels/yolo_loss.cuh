// The loss of YOLOv8, 11 and 26, with the gradient: the arithmetic of
// lossexport/families/detection/yolo.py.
//
// Macros: LX_T, LX_BOX_GAIN, LX_CLASS_GAIN, LX_DFL_GAIN, LX_ALPHA, LX_BETA, LX_TOPK, LX_SMALL_SIDE,
// and LX_GRADIENT where the gradient is written too. Launch: one block of DETECTION_THREADS, for at
// most ALIGNED_TARGETS targets of an image and YOLO_POINTS points.
#pragma once

#include "detection.cuh"
#include "task_align.cuh"

namespace lossexport {

constexpr int YOLO_POINTS = 65536;
constexpr float BELOW_LAST = 0.01f;  // how far targets stay below the last bin

// The logits of one side of a point, `step` apart: one for each bin, or the distance itself.
template <typename T>
struct Bins {
  const T *logits;
  long long step;
  int count;
  float most, total, distance;

  LX_INLINE Bins(const T *logits, long long step, int count)
      : logits(logits), step(step), count(count), most(0.0f), total(1.0f), distance(at(0)) {
    if (count == 1) return;
    most = at(0);
    for (int k = 1; k < count; ++k) most = at(k) > most || at(k) != at(k) ? at(k) : most;
    total = distance = 0.0f;
    for (int k = 0; k < count; ++k) total += exponential(at(k) - most);
    for (int k = 0; k < count; ++k) distance += share(k) * static_cast<float>(k);
  }
  LX_INLINE float at(int k) const { return load(logits[k * step]); }
  LX_INLINE float share(int k) const { return exponential(at(k) - most) / total; }
};

// Writes the slopes by the logits of a side, to `grad(k, slope)`, and gives the loss of its distance
// from `reach`; `by_box` is the slope of the box by the distance, `scale` what the loss counts, and
// `extent` that of the image in cells.
template <bool GRADIENT, typename T, typename Grad>
LX_INLINE float side_loss(const Bins<T> &side, float reach, float extent, float by_box, float scale,
                          const Grad &grad) {
  if (side.count == 1) {
    const float apart = (side.distance - reach) / extent;
    const float slope = scale / extent;
    if (GRADIENT) grad(0, by_box + (apart > 0 ? slope : (apart < 0 ? -slope : apart * slope)));
    return magnitude(apart);
  }
  const float last = static_cast<float>(side.count - 1) - BELOW_LAST;
  const float within = at_most(at_least(reach, 0.0f), last), log = logarithm(side.total);
  float loss = 0.0f;
  for (int k = 0; k < side.count; ++k) {
    const float bin = static_cast<float>(k);
    const float weight = at_least(1.0f - magnitude(bin - within), 0.0f);
    loss -= weight * ((side.at(k) - side.most) - log);
    if (!GRADIENT) continue;
    const float share = side.share(k);
    grad(k, by_box * (share * (bin - side.distance)) + scale * (share - weight));
  }
  return loss;
}

// 1 - CIoU of a point's box with its target, in cells, and the mean loss of the sides.
struct Sided {
  float apart, sides;
};

// `bins[i]` are the sides; `grad(side, k, slope)` gets the slopes by their logits. Box and sides
// count `box_scale` and `side_scale` in the gradient.
template <bool GRADIENT, typename T, typename Grad>
LX_INLINE Sided sided_loss(const Bins<T> *bins, float x, float y, float stride, const float *target,
                           const float *extent, float box_scale, float side_scale,
                           const Grad &grad) {
  const float own[] = {x - bins[0].distance, y - bins[1].distance, x + bins[2].distance,
                       y + bins[3].distance};
  float wanted[4];
  for (int i = 0; i < 4; ++i) wanted[i] = target[i] / stride;
  const Box box = load_yolo_box(own), other = load_yolo_box(wanted);
  const BoxLoss ciou = box_loss<CIOU, GRADIENT>(box, other, YOLO_EPS, box_scale, YOLO_EPS);
  const float reach[] = {x - wanted[0], y - wanted[1], wanted[2] - x, wanted[3] - y};
  const float by_box[] = {-ciou.x1, -ciou.y1, ciou.x2, ciou.y2};
  float sides = 0.0f;
  for (int i = 0; i < 4; ++i)
    sides +=
        side_loss<GRADIENT>(bins[i], reach[i], extent[i % 2] / stride, by_box[i],
                            side_scale * 0.25f, [&](int k, float slope) { grad(i, k, slope); });
  return {ciou.loss, sides * 0.25f};
}

// The extent of an image, by the cells of the finest level.
struct Extent {
  float least, x, y;

  static LX_INLINE Extent none() { return {LARGEST, 0.0f, 0.0f}; }
  LX_INLINE Extent with(const Extent &other) const {
    if (other.least != least) return other.least < least ? other : *this;
    return {least, at_least(x, other.x), at_least(y, other.y)};
  }
  static LX_INLINE Extent of(float x, float y, float stride) {
    return {stride, (x + 0.5f) * stride, (y + 0.5f) * stride};
  }
};

LX_INLINE Slope yolo_class(float logit, float target) {
  const Logistic x = logistic(logit);
  const float other = 1.0f - target;
  return {target * x.hit + other * x.miss, other * x.p - target * x.q};
}

}  // namespace lossexport

#if defined(LX_DEVICE) && defined(LX_DFL_GAIN)
namespace lossexport {

constexpr int OWN_POINTS = YOLO_POINTS / DETECTION_THREADS;

// An image; `boxes` are those of the thread's own points, in cells.
struct Heads {
  const LX_T *sides, *logits, *points, *stride;
  const long long *labels;
  const LX_T *targets;
  const bool *valid;
  int all, classes, bins;
  const float *boxes;

  __device__ bool counts(int t) const {
    return valid[t] && sound(targets + 4 * t, labels[t], classes);
  }
  __device__ Wanted target(int t) const {
    return Wanted(targets + 4 * t, labels[t], classes, valid[t], LX_SMALL_SIDE);
  }
  __device__ Bins<LX_T> side(int point, int i) const {
    return Bins<LX_T>(sides + static_cast<long long>(i) * bins * all + point, all, bins);
  }
  __device__ Fit fit(const Wanted &target, int point) const {
    const float step = load(stride[point]);
    if (!target.takes_part ||
        !target.holds(load(points[2 * point]) * step, load(points[2 * point + 1]) * step))
      return {0.0f, 0.0f, false};
    float corners[4];
    for (int i = 0; i < 4; ++i) corners[i] = boxes[4 * (point / DETECTION_THREADS) + i] * step;
    const float chance = logistic(load(logits[target.label * all + point])).p;
    return fit_of(target, corners, chance, LX_ALPHA, LX_BETA);
  }
};

}  // namespace lossexport

LX_KERNEL void LX_BOUNDS(lossexport::DETECTION_THREADS)
    yolo_detection_loss(const LX_T *sides, const LX_T *logits, const LX_T *points,
                        const LX_T *stride, const long long *labels, const LX_T *targets,
                        const bool *valid, int images, int rows, int all, int classes, int count,
                        LX_T *loss, LX_T *parts
#ifdef LX_GRADIENT
                        ,
                        LX_T *grad_sides, LX_T *grad_logits
#endif
    ) {
  using namespace lossexport;
  LX_SHARED double table[DETECTION_THREADS];
  LX_SHARED Extent extents[DETECTION_THREADS];
  LX_SHARED Aligning<DETECTION_THREADS> shared;
  const int thread = static_cast<int>(threadIdx.x);
  const auto sum_of = [&](double mine) { return total_of<DETECTION_THREADS>(mine, table); };
  float boxes[4 * OWN_POINTS];
  int own[OWN_POINTS];  // the targets of the thread's own points

  float poison = 0.0f;
  Extent extent = Extent::none();
  for (int a = thread; a < all; a += DETECTION_THREADS) {
    const float x = load(points[2 * a]), y = load(points[2 * a + 1]), step = load(stride[a]);
    poison += ((x + y) + step) * 0.0f;
    extent = extent.with(Extent::of(x, y, step));
  }
  extent = joined<DETECTION_THREADS>(extent, extents,
                                     [](const Extent &a, const Extent &b) { return a.with(b); });
  const float far[] = {extent.x, extent.y};
  const float times = static_cast<float>(images);
  double weights = 0, sums[3] = {};
  float norm = 1.0f;
  // The weights of all images are known before any loss.
  for (int step = 0; step < 2 * images; ++step) {
    const int image = step % images;
    const long long start = static_cast<long long>(image) * count;
    const Heads heads = {sides + static_cast<long long>(image) * rows * all,
                         logits + static_cast<long long>(image) * classes * all,
                         points,
                         stride,
                         labels + start,
                         targets + 4 * start,
                         valid + start,
                         all,
                         classes,
                         rows / 4,
                         boxes};
    if (step < images || images > 1) {
      for (int a = thread; a < all; a += DETECTION_THREADS) {
        const float x = load(points[2 * a]), y = load(points[2 * a + 1]);
        float *box = boxes + 4 * (a / DETECTION_THREADS);
        box[0] = x - heads.side(a, 0).distance, box[1] = y - heads.side(a, 1).distance;
        box[2] = x + heads.side(a, 2).distance, box[3] = y + heads.side(a, 3).distance;
      }
      align<DETECTION_THREADS>(heads, all, count, shared,
                               [&](int a) -> int & { return own[a / DETECTION_THREADS]; });
    }
    const auto weight_of = [&](int a, int t) {
      return t < 0 ? 0.0f : heads.fit(heads.target(t), a).metric * shared.norm[t];
    };
    if (step < images) {
      for (int t = thread; t < count; t += DETECTION_THREADS)
        if (heads.valid[t] && !heads.counts(t)) poison = from_bits(0x7fc00000u);
      for (int a = thread; a < all; a += DETECTION_THREADS)
        weights += weight_of(a, own[a / DETECTION_THREADS]);
      if (step + 1 < images) continue;
      weights = sum_of(weights);
      norm = static_cast<float>(weights > 1 ? weights : 1);
      continue;
    }
    for (int a = thread; a < all; a += DETECTION_THREADS) {
      const int t = own[a / DETECTION_THREADS];
      const float weight = weight_of(a, t), scale = times * weight / norm;
      const float x = load(points[2 * a]), y = load(points[2 * a + 1]);
      const auto by_sides = [&](int side, int k, float slope) {
#ifdef LX_GRADIENT
        const long long row = static_cast<long long>(image) * rows + side * (rows / 4) + k;
        store(grad_sides + row * all + a, slope);
#endif
      };
      if (t >= 0) {
        const Bins<LX_T> bins[] = {heads.side(a, 0), heads.side(a, 1), heads.side(a, 2),
                                   heads.side(a, 3)};
        float wanted[4];
        for (int i = 0; i < 4; ++i) wanted[i] = load(heads.targets[4 * t + i]);
        const Sided here = sided_loss<GRADIENT>(bins, x, y, load(stride[a]), wanted, far,
                                                LX_BOX_GAIN * scale, LX_DFL_GAIN * scale, by_sides);
        sums[0] += here.apart * weight, sums[2] += here.sides * weight;
      } else {
        const float spoilt =
            poison_in(boxes + 4 * (a / DETECTION_THREADS), 4) + load(stride[a]) * 0.0f;
        for (int k = 0; k < rows; ++k) by_sides(0, k, spoilt);
      }
      for (int k = 0; k < rows; ++k)
        poison += load(heads.sides[static_cast<long long>(k) * all + a]) * 0.0f;
      for (int k = 0; k < classes; ++k) {
        const long long place = static_cast<long long>(k) * all + a;
        const float logit = load(heads.logits[place]);
        const Slope found = yolo_class(logit, t >= 0 && heads.labels[t] == k ? weight : 0.0f);
        poison += logit * 0.0f;
        sums[1] += found.loss;
#ifdef LX_GRADIENT
        store(grad_logits + static_cast<long long>(image) * classes * all + place,
              found.slope * (LX_CLASS_GAIN * times / norm));
#endif
      }
    }
  }
  for (double &sum : sums) sum /= norm;
  const float stray = static_cast<float>(sum_of(poison));
  write_parts<3>(sums, {LX_BOX_GAIN, LX_CLASS_GAIN, LX_DFL_GAIN}, stray, times, table, loss, parts);
}
#endif

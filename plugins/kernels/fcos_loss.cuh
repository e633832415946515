// The loss of FCOS, with the gradient: the arithmetic of lossexport/families/detection/anchors.py.
// Tian et al. (arXiv 1904.01355).
//
// Macros: LX_T, LX_RADIUS, LX_ALPHA, LX_GAMMA, LX_EPS, LX_CLASS_GAIN, LX_BOX_GAIN, LX_CENTRE_GAIN,
// and LX_GRADIENT where the gradient is written too. Launch: one block of DETECTION_THREADS.
#pragma once

#include "detection.cuh"

namespace lossexport {

// The least and the largest stride; NaN if one is.
struct Strides {
  float least, most;

  static LX_INLINE Strides none() { return {LARGEST, -LARGEST}; }
  LX_INLINE Strides with(const Strides &other) const {
    return {other.least == other.least ? at_most(least, other.least) : other.least,
            other.most == other.most ? at_least(most, other.most) : other.most};
  }
};

// How far the sides of its targets are from a point at most, and how far away their centres are.
struct Range {
  float near, far, centre;

  LX_INLINE Range(float stride, const Strides &all, float radius)
      : near(stride == all.least ? 0.0f : stride * 4.0f),
        far(stride == all.most ? from_bits(0x7f800000u) : stride * 8.0f),
        centre(radius * stride) {}
  // Whether a point answers for a target.
  template <typename T>
  LX_INLINE bool holds(float x, float y, const T *target) const {
    const float x1 = load(target[0]), y1 = load(target[1]);
    const float x2 = load(target[2]), y2 = load(target[3]);
    const float off_x = magnitude((x1 + x2) * 0.5f - x), off_y = magnitude((y1 + y2) * 0.5f - y);
    const float left = x - x1, top = y - y1, right = x2 - x, bottom = y2 - y;
    const float reach = at_least(at_least(left, top), at_least(right, bottom));
    const float least = at_most(at_most(left, top), at_most(right, bottom));
    return (at_least(off_x, off_y) < centre) & (least > 0) & (reach > near) & (reach < far);
  }
};

template <typename T>
LX_INLINE float area_of(const T *target) {
  return (load(target[2]) - load(target[0])) * (load(target[3]) - load(target[1]));
}

// 1 - GIoU of a point's box with its target, the loss of its centre-ness, and the slopes.
struct Centred {
  float apart, off, slopes[4], off_slope;
};

// `box_scale` and `centre_scale` are what they count in the gradient.
template <bool GRADIENT>
LX_INLINE Centred centred_loss(float x, float y, float stride, const float *distances,
                               const float *target, float centre_logit, float eps, float box_scale,
                               float centre_scale) {
  const Box box = make_box<GIOU>(x - distances[0] * stride, y - distances[1] * stride,
                                 x + distances[2] * stride, y + distances[3] * stride);
  const BoxLoss giou = box_loss<GIOU, GRADIENT>(box, load_box<GIOU>(target), eps, box_scale);
  const float left = x - target[0], top = y - target[1];
  const float right = target[2] - x, bottom = target[3] - y;
  const float across = at_most(left, right) / at_least(left, right);
  const float along = at_most(top, bottom) / at_least(top, bottom);
  const float centre = square_root(across * along), other = 1.0f - centre;
  const Logistic z = logistic(centre_logit);
  return {giou.loss,
          centre * z.hit + other * z.miss,
          {-giou.x1 * stride, -giou.y1 * stride, giou.x2 * stride, giou.y2 * stride},
          (other * z.p - centre * z.q) * centre_scale};
}

// The same of a point without a target: slopes of 0, or NaN where an input is not finite.
LX_INLINE Centred without_target(float x, float y, float stride, const float *distances,
                                 float centre_logit) {
  const float spoilt = poison_in(distances, 4) + ((x + y) + stride) * 0.0f;
  return {0.0f, 0.0f, {spoilt, spoilt, spoilt, spoilt}, 0.0f * logistic(centre_logit).p};
}

}  // namespace lossexport

#if defined(LX_DEVICE) && defined(LX_RADIUS)
namespace lossexport {

// The points and the targets of one image.
struct Levels {
  const LX_T *points, *stride;
  const long long *labels;
  const LX_T *targets;
  const bool *valid;
  int count, classes;
  Strides strides;

  __device__ bool usable(int t) const {
    return valid[t] && sound(targets + 4 * t, labels[t], classes);
  }
  // The smallest target that a point answers for, or -1.
  __device__ int target(long long point) const {
    const Range range(load(stride[point]), strides, LX_RADIUS);
    float least = from_bits(0x7f800000u);
    int place = -1;
    for (int t = 0; t < count; ++t) {
      if (!usable(t)) continue;
      const float area = area_of(targets + 4 * t);
      if ((place >= 0 && !(area < least)) ||
          !range.holds(load(points[2 * point]), load(points[2 * point + 1]), targets + 4 * t))
        continue;
      least = area, place = t;
    }
    return place;
  }
};

}  // namespace lossexport

LX_KERNEL void LX_BOUNDS(lossexport::DETECTION_THREADS)
    fcos_loss(const LX_T *logits, const LX_T *distances, const LX_T *centre_logits,
              const LX_T *points, const LX_T *stride, const long long *labels, const LX_T *targets,
              const bool *valid, int images, int all, int classes, int count, LX_T *loss,
              LX_T *parts
#ifdef LX_GRADIENT
              ,
              LX_T *grad_logits, LX_T *grad_distances, LX_T *grad_centres
#endif
    ) {
  using namespace lossexport;
  constexpr Exponent E = exponent_of(LX_GAMMA);
  LX_SHARED double table[DETECTION_THREADS];
  LX_SHARED Strides levels[DETECTION_THREADS];
  LX_SHARED long long own[DETECTION_THREADS];  // class of the target of a point, or -1
  const int thread = static_cast<int>(threadIdx.x);
  const auto sum_of = [&](double mine) { return total_of<DETECTION_THREADS>(mine, table); };

  float poison = 0.0f;
  Strides strides = Strides::none();
  for (long long a = thread; a < all; a += DETECTION_THREADS) {
    const float here = load(stride[a]);
    poison += here * 0.0f + poison_in(points + 2 * a, 2);
    strides = strides.with({here, here});
  }
  strides = joined<DETECTION_THREADS>(strides, levels,
                                      [](const Strides &a, const Strides &b) { return a.with(b); });
  const auto told = [&](int image) {
    const long long start = static_cast<long long>(image) * count;
    return Levels{points,        stride, labels + start, targets + 4 * start,
                  valid + start, count,  classes,        strides};
  };
  double taken = 0, sums[3] = {};
  for (int image = 0; image < images; ++image) {
    const Levels scene = told(image);
    for (int t = thread; t < count; t += DETECTION_THREADS)
      if (scene.valid[t] && !scene.usable(t)) poison = from_bits(0x7fc00000u);
    for (long long a = thread; a < all; a += DETECTION_THREADS) taken += scene.target(a) >= 0;
  }
  taken = sum_of(taken);
  const float norm = static_cast<float>(taken > 1 ? taken : 1);
  for (int image = 0; image < images; ++image) {
    const Levels scene = told(image);
    for (int first = 0; first < all; first += DETECTION_THREADS) {
      const long long point = static_cast<long long>(first) + thread;
      const long long row = static_cast<long long>(image) * all + point;
      LX_SYNC();
      if (point < all) {
        const int t = scene.target(point);
        own[thread] = t >= 0 ? scene.labels[t] : -1;
        const float x = load(points[2 * point]), y = load(points[2 * point + 1]);
        const float step = load(stride[point]), centre = load(centre_logits[row]);
        float given[4], wanted[4];
        for (int i = 0; i < 4; ++i) given[i] = load(distances[4 * row + i]);
        for (int i = 0; i < 4; ++i) wanted[i] = t < 0 ? 0.0f : load(scene.targets[4 * t + i]);
        poison += poison_in(given, 4) + centre * 0.0f;
        const Centred here =
            t < 0 ? without_target(x, y, step, given, centre)
                  : centred_loss<GRADIENT>(x, y, step, given, wanted, centre, LX_EPS,
                                           LX_BOX_GAIN / norm, LX_CENTRE_GAIN / norm);
        sums[1] += here.apart, sums[2] += here.off;
#ifdef LX_GRADIENT
        for (int i = 0; i < 4; ++i) store(grad_distances + 4 * row + i, here.slopes[i]);
        store(grad_centres + row, here.off_slope);
#endif
      }
      LX_SYNC();
      const long long here = all - first < DETECTION_THREADS ? all - first : DETECTION_THREADS;
      const long long from = (static_cast<long long>(image) * all + first) * classes;
      for (long long i = thread; i < here * classes; i += DETECTION_THREADS) {
        const float logit = load(logits[from + i]);
        const Slope found = sigmoid_focal<E>(logit, own[i / classes] == i % classes ? 1.0f : 0.0f,
                                             LX_ALPHA, LX_GAMMA);
        poison += logit * 0.0f;
        sums[0] += found.loss;
#ifdef LX_GRADIENT
        store(grad_logits + from + i, found.slope * (LX_CLASS_GAIN / norm));
#endif
      }
    }
  }
  for (double &sum : sums) sum /= norm;
  const float stray = static_cast<float>(sum_of(poison));
  write_parts<3>(sums, {LX_CLASS_GAIN, LX_BOX_GAIN, LX_CENTRE_GAIN}, stray, 1.0f, table, loss,
                 parts);
}
#endif

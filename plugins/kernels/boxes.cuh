// IoU and its extensions, and NWD, of two boxes x1, y1, x2, y2: the arithmetic of
// lossexport/families/iou/functions.py and lossexport/families/suppression/functions.py, operation
// by operation.
//
// Sources: GIoU, Rezatofighi et al. (arXiv 1902.09630); DIoU and CIoU, Zheng et al. (arXiv
// 1911.08287), eq. 7 and 8 to 11; EIoU, Zhang et al. (arXiv 2101.08158); SIoU, Gevorgyan (arXiv
// 2205.12740); NWD, Wang et al. (arXiv 2110.13389).
#pragma once

#include "portable.cuh"

namespace lossexport {

enum Metric { IOU = 0, GIOU = 1, DIOU = 2, CIOU = 3, EIOU = 4, SIOU = 5, NWD = 6 };

// Whether a metric takes exponentials, which vectors of a CPU do not have.
LX_INLINE constexpr bool has_exponentials(Metric metric) { return metric == SIOU || metric == NWD; }

// A box and all that depends on it alone; F is float, or a vector of a CPU for as many boxes.
template <typename F>
struct BoxOf {
  F x1, y1, x2, y2;
  F w, h;
  F area;   // NaN where a coordinate is NaN or infinite, so that every metric is
  F angle;  // of the diagonal, in units of pi/2; CIoU only
};
using Box = BoxOf<float>;

template <Metric M>
LX_INLINE Box make_box(float x1, float y1, float x2, float y2, float offset = 0.0f) {
  Box box;
  box.x1 = x1, box.y1 = y1, box.x2 = x2, box.y2 = y2;
  box.w = x2 - x1, box.h = y2 - y1;
  box.area = (box.w + offset) * (box.h + offset) + (((x1 + y1) + x2) + y2) * 0.0f;
  box.angle = M == CIOU ? aspect_angle(box.w, box.h) * 0.636619772f : 0.0f;
  return box;
}

template <Metric M, typename T>
LX_INLINE Box load_box(const T *corners, float offset = 0.0f) {
  return make_box<M>(load(corners[0]), load(corners[1]), load(corners[2]), load(corners[3]),
                     offset);
}

// A quotient that is 0 if both are 0: only a 0 under a 0 is replaced by the clamp.
template <typename F>
LX_INLINE F ratio(F numerator, F denominator) {
  return numerator / at_least(denominator, TINY);
}

// The same of areas, exact also where they are below TINY: sides may be 1e-19.
template <typename F>
LX_INLINE F share(F numerator, F denominator) {
  return numerator / not_zero(denominator);
}

// Sides of the overlap (negative where the boxes are apart), areas of overlap and union.
template <typename F>
struct Meeting {
  F w, h, intersection, together;
};

// With `WHOLE` pixels every side is `offset` longer than the difference of its corners.
template <bool WHOLE = false, typename F>
LX_INLINE Meeting<F> meet(const BoxOf<F> &a, const BoxOf<F> &b, float offset = 0.0f) {
  Meeting<F> m;
  m.w = at_most(a.x2, b.x2) - at_least(a.x1, b.x1);
  m.h = at_most(a.y2, b.y2) - at_least(a.y1, b.y1);
  const F w = WHOLE ? m.w + offset : m.w, h = WHOLE ? m.h + offset : m.h;
  m.intersection = at_least(w, 0.0f) * at_least(h, 0.0f);
  m.together = (a.area + b.area) - m.intersection;
  return m;
}

// Four times the squared distance of the centres over the squared diagonal of the enclosing box. An
// eps of 0 becomes TINY: a 0 over a 0 is 0, and a diagonal of 1e-15 does not change.
template <typename F>
LX_INLINE F distance_term(const BoxOf<F> &a, const BoxOf<F> &b, const Meeting<F> &m, float eps) {
  const F w = plus(a.w, b.w) - m.w, h = plus(a.h, b.h) - m.h;
  const F x = plus(a.x1, -b.x1) + plus(a.x2, -b.x2), y = plus(a.y1, -b.y1) + plus(a.y2, -b.y2);
  return plus(x * x, y * y) / (plus(w * w, h * h) + at_least(eps, TINY));
}

// The squared distance of two sides, in that of the enclosing box.
template <typename F>
LX_INLINE F side_term(F apart, F enclosing, float eps) {
  return apart * apart / (enclosing * enclosing + at_least(eps, TINY));
}

// Twice the distance of the centres.
struct Shift {
  float x, y;

  LX_INLINE Shift(const Box &a, const Box &b)
      : x((a.x1 - b.x1) + (a.x2 - b.x2)), y((a.y1 - b.y1) + (a.y2 - b.y2)) {}
};

// SIoU's costs. The distance cost of an axis is 1 - exp(rate * far^2).
struct Apart {
  float x, y, square, angle, wide, high, far_x, far_y, rate, left_x, left_y;

  LX_INLINE Apart(const Shift &shift, float w, float h, float eps) {
    const float least = eps > 0 ? eps : TINY;
    x = eps - 0.5f * shift.x, y = eps - 0.5f * shift.y;
    square = x * x + y * y;
    angle = ratio(2.0f * (magnitude(x) * magnitude(y)), square);
    wide = at_least(w, least), high = at_least(h, least);
    far_x = x / wide, far_y = y / high;
    rate = angle - 2.0f;
    left_x = exponential(rate * (far_x * far_x)), left_y = exponential(rate * (far_y * far_y));
  }
  LX_INLINE float cost() const { return 2.0f - left_x - left_y; }
};

// The cost of a pair of sides: the fourth power of `apart`.
struct Unlike {
  float most, off, left, apart;

  LX_INLINE Unlike(float side, float other) {
    most = at_least(side, other);
    off = ratio(magnitude(side - other), most);
    left = exponential(-off);
    apart = 1.0f - left;
  }
  LX_INLINE float cost() const { return apart * apart * (apart * apart); }
};

LX_INLINE float siou(float iou, float distance, const Unlike &w, const Unlike &h) {
  return at_least(iou - 0.5f * (distance + (w.cost() + h.cost())), -1.0f);
}

// NWD, and the Wasserstein distance that it falls with.
struct Wasserstein {
  float distance, score;

  LX_INLINE Wasserstein(const Box &a, const Box &b, const Shift &shift, float constant, float eps) {
    const float w = a.w - b.w, h = a.h - b.h;
    const float squares = (shift.x * shift.x + shift.y * shift.y) + (w * w + h * h);
    distance = square_root(0.25f * squares + ((poison(a) + poison(b)) + eps));
    score = exponential(distance / -constant);
  }
  static LX_INLINE float poison(const Box &box) {
    return (((box.x1 + box.y1) + box.x2) + box.y2) * 0.0f;
  }
};

constexpr float NWD_SCORE_EPS = 1e-6f, NWD_LOSS_EPS = 1e-7f;

// The metrics with exponentials.
template <Metric M>
LX_INLINE float smooth_score(const Box &a, const Box &b, float number) {
  const Shift shift(a, b);
  if (M == NWD) return Wasserstein(a, b, shift, number, NWD_SCORE_EPS).score;
  const Meeting<float> m = meet(a, b);
  // Equal boxes have a score of 1 at every scale, also where eps is no small shift.
  const float far = Apart(shift, (a.w + b.w) - m.w, (a.h + b.h) - m.h, number).cost();
  const float distance = shift.x == 0 && shift.y == 0 ? 0.0f : far;
  return siou(share(m.intersection, m.together), distance, Unlike(a.w, b.w),
              Unlike(a.h + number, b.h + number));
}

// `eps` is the constant of NWD.
template <Metric M, typename F>
LX_INLINE F score(const BoxOf<F> &a, const BoxOf<F> &b, float eps) {
  if constexpr (has_exponentials(M)) return smooth_score<M>(a, b, eps);
  const Meeting<F> m = meet(a, b);
  const F iou = share(m.intersection, m.together);
  if (M == IOU) return iou;
  if (M == GIOU) {
    const F enclosing = plus(plus(a.w, b.w), -m.w) * plus(plus(a.h, b.h), -m.h);
    return plus(iou, share(plus(enclosing, -m.together), enclosing), -1.0f);
  }
  const F diou = plus(iou, distance_term(a, b, m, eps), -0.25f);
  if (M == DIOU) return diou;
  if (M == EIOU)
    return (diou - side_term(a.w - b.w, plus(plus(a.w, b.w), -m.w), eps)) -
           side_term(a.h - b.h, plus(plus(a.h, b.h), -m.h), eps);
  const F turn = b.angle - a.angle;
  const F v = turn * turn;
  return diou - v / (((1.0f - iou) + v) + at_least(eps, TINY)) * v;
}

// What NMS compares with its threshold: IoU, or IoU less the distance term to the power `beta`.
template <Metric M>
LX_INLINE float rivalry(const Box &a, const Box &b, float beta) {
  const Meeting<float> m = meet(a, b);
  const float iou = ratio(m.intersection, m.together);
  if (M == IOU) return iou;
  const float term = distance_term(a, b, m, 0.0f) * 0.25f;
  return iou - (beta == 1.0f ? term : power(term, beta));
}

// Estimated IoU of a box with the true one, from the log variances of its corners:
// lossexport/families/localization/functions.py.
LX_INLINE float localization_confidence(const Box &box, float left, float top, float right,
                                        float bottom) {
  // Roots of sigma: a sigma may leave the range where its ratio to a side does not.
  const float l = exponential(left * 0.25f), r = exponential(right * 0.25f);
  const float t = exponential(top * 0.25f), b = exponential(bottom * 0.25f);
  const float w = at_least(box.w, TINY), h = at_least(box.h, TINY);
  const float off = (l / w * l + r / w * r) + (t / h * t + b / h * b);
  const float quality = 1.0f / (1.0f + off * 0.797884561f);  // sqrt(2 / pi)
  const float poison = box.area * 0.0f + (((left + top) + right) + bottom) * 0.0f;
  return (at_most(box.w, box.h) > 0 ? quality : 0.0f) + poison;
}

}  // namespace lossexport

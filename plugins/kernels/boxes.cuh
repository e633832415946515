// IoU, GIoU, DIoU and CIoU of two boxes x1, y1, x2, y2: the arithmetic of
// lossexport/families/iou/functions.py and lossexport/families/suppression/functions.py, operation
// by operation.
//
// Sources: GIoU, Rezatofighi et al. (arXiv 1902.09630); DIoU and CIoU, Zheng et al. (arXiv
// 1911.08287), eq. 7 and 8 to 11.
#pragma once

#include "portable.cuh"

namespace lossexport {

enum Metric { IOU = 0, GIOU = 1, DIOU = 2, CIOU = 3 };

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

template <Metric M, typename F>
LX_INLINE F score(const BoxOf<F> &a, const BoxOf<F> &b, float eps) {
  const Meeting<F> m = meet(a, b);
  const F iou = ratio(m.intersection, m.together);
  if (M == IOU) return iou;
  if (M == GIOU) {
    const F enclosing = plus(plus(a.w, b.w), -m.w) * plus(plus(a.h, b.h), -m.h);
    return plus(iou, ratio(plus(enclosing, -m.together), enclosing), -1.0f);
  }
  const F diou = plus(iou, distance_term(a, b, m, eps), -0.25f);
  if (M == DIOU) return diou;
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

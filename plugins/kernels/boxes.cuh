// IoU, GIoU, DIoU and CIoU of two boxes x1, y1, x2, y2: the arithmetic of lossexport/ops/iou.py and
// lossexport/ops/suppression.py, operation by operation.
//
// Sources: GIoU, Rezatofighi et al. (arXiv 1902.09630); DIoU and CIoU, Zheng et al. (arXiv
// 1911.08287), eq. 7 and 8 to 11.
#pragma once

#include "portable.cuh"

namespace lossexport {

enum Metric { IOU = 0, GIOU = 1, DIOU = 2, CIOU = 3 };

// A box and all that depends on it alone.
struct Box {
  float x1, y1, x2, y2;
  float w, h;
  float area;   // NaN where a coordinate is NaN or infinite, so that every metric is
  float angle;  // of the diagonal, in units of pi/2; CIoU only
};

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

// A quotient that is 0 where both are: the clamp replaces a 0 under a 0 only.
LX_INLINE float ratio(float numerator, float denominator) {
  return numerator / at_least(denominator, TINY);
}

// Sides of the overlap (negative where the boxes are apart), areas of overlap and union.
struct Meeting {
  float w, h, intersection, together;
};

// With `WHOLE` pixels every side is `offset` longer than the difference of its corners.
template <bool WHOLE = false>
LX_INLINE Meeting meet(const Box &a, const Box &b, float offset = 0.0f) {
  Meeting m;
  m.w = at_most(a.x2, b.x2) - at_least(a.x1, b.x1);
  m.h = at_most(a.y2, b.y2) - at_least(a.y1, b.y1);
  const float w = WHOLE ? m.w + offset : m.w, h = WHOLE ? m.h + offset : m.h;
  m.intersection = at_least(w, 0.0f) * at_least(h, 0.0f);
  m.together = (a.area + b.area) - m.intersection;
  return m;
}

// Squared distance of the centres over the squared diagonal of the enclosing box.
LX_INLINE float distance_term(const Box &a, const Box &b, const Meeting &m, float eps) {
  const float w = (a.w + b.w) - m.w, h = (a.h + b.h) - m.h;
  const float x = (a.x1 - b.x1) + (a.x2 - b.x2), y = (a.y1 - b.y1) + (a.y2 - b.y2);
  return ratio((x * x + y * y) * 0.25f, (w * w + h * h) + eps);
}

template <Metric M>
LX_INLINE float score(const Box &a, const Box &b, float eps) {
  const Meeting m = meet(a, b);
  const float iou = ratio(m.intersection, m.together);
  if (M == IOU) return iou;
  if (M == GIOU) {
    const float enclosing = ((a.w + b.w) - m.w) * ((a.h + b.h) - m.h);
    return iou - ratio(enclosing - m.together, enclosing);
  }
  const float diou = iou - distance_term(a, b, m, eps);
  if (M == DIOU) return diou;
  const float turn = b.angle - a.angle;
  const float v = turn * turn;
  return diou - ratio(v, ((1.0f - iou) + v) + eps) * v;
}

// What NMS compares with its threshold: IoU, or IoU less the distance term to the power `beta`.
template <Metric M>
LX_INLINE float rivalry(const Box &a, const Box &b, float beta) {
  const Meeting m = meet(a, b);
  const float iou = ratio(m.intersection, m.together);
  if (M == IOU) return iou;
  const float term = distance_term(a, b, m, 0.0f);
  return iou - (beta == 1.0f ? term : power(term, beta));
}

// Estimated IoU of a box with the true one, from the log variances of its corners:
// lossexport/ops/localization.py.
LX_INLINE float localization_confidence(const Box &box, float left, float top, float right,
                                        float bottom) {
  const float x = exponential(left * 0.5f) + exponential(right * 0.5f);
  const float y = exponential(top * 0.5f) + exponential(bottom * 0.5f);
  const float off = x / at_least(box.w, TINY) + y / at_least(box.h, TINY);
  const float quality = 1.0f / (1.0f + off * 0.797884561f);  // sqrt(2 / pi)
  const float poison = box.area * 0.0f + (((left + top) + right) + bottom) * 0.0f;
  return (at_most(box.w, box.h) > 0 ? quality : 0.0f) + poison;
}

}  // namespace lossexport

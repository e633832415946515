// Rotated boxes cx, cy, w, h and an angle in radians, and their exact IoU with its derivatives: the
// arithmetic of lossexport/families/rotated/overlap.py.
#pragma once

#include "portable.cuh"

namespace lossexport {

struct Rotated {
  float x, y, w, h, angle;
  Direction axis;  // of the side w
  float poison;    // NaN where a number is not finite
};

template <typename T>
LX_INLINE Rotated load_rotated(const T *box) {
  const float x = load(box[0]), y = load(box[1]), w = load(box[2]), h = load(box[3]);
  const float angle = load(box[4]);
  return {x, y, w, h, angle, direction(angle), ((((x + y) + w) + h) + angle) * 0.0f};
}

// The offset of a box from another one, along the axes of the latter.
struct Offset {
  float x, y;
};

LX_INLINE Offset offset_of(const Rotated &box, const Rotated &origin) {
  const float x = box.x - origin.x, y = box.y - origin.y;
  const Direction &d = origin.axis;
  return {d.cos * x + d.sin * y, d.cos * y - d.sin * x};
}

// A loss and its derivatives by the numbers of the prediction.
struct RotatedLoss {
  float loss, x, y, w, h, angle;
};

LX_INLINE float within(float value, float bound) { return at_least(at_most(value, bound), -bound); }

// `value / whole` in [-1, 1]; 0 for a whole of 0.
LX_INLINE float part_of(float value, float whole) {
  return within(value, magnitude(whole)) / (whole == 0 ? 1.0f : whole);
}

// The share of an edge that counts, on which the coordinate is constant: half on the bound.
LX_INLINE float share_inside(float value, float bound) {
  const float size = magnitude(value);
  return size < bound ? 1.0f : (size == bound ? 0.5f : 0.0f);
}

// The common area of two boxes and its derivatives by the numbers of the first, with the centre
// along its axes.
struct Overlap {
  float area, x, y, w, h, angle;
};

// The contour integral of clamp(x) dy over the edges of `p`, in the frame of `t`. The derivative by
// a shift of an edge is the length of the part of it that is inside.
template <bool GRADIENT>
LX_INLINE Overlap overlap_of(const Rotated &p, const Rotated &t) {
  const Direction turn = direction(p.angle - t.angle);
  const Offset at = offset_of(p, t);
  const float side_w = at_least(p.w, 0.0f), side_h = at_least(p.h, 0.0f);
  const float half_w = side_w * 0.5f, half_h = side_h * 0.5f;
  const float width = at_least(t.w, 0.0f) * 0.5f, height = at_least(t.h, 0.0f) * 0.5f;
  const float wx = half_w * turn.cos, wy = half_w * turn.sin;
  const float hx = -half_h * turn.sin, hy = half_h * turn.cos;
  const float xs[] = {at.x + wx - hx, at.x + wx + hx, at.x - wx + hx, at.x - wx - hx};
  const float ys[] = {at.y + wy - hy, at.y + wy + hy, at.y - wy + hy, at.y - wy - hy};
  const float along_x[] = {2.0f * hx, -2.0f * wx, -2.0f * hx, 2.0f * wx};
  const float along_y[] = {2.0f * hy, -2.0f * wy, -2.0f * hy, 2.0f * wy};
  const float side[] = {side_h, side_w, side_h, side_w};

  const float middle = within(at.x, width);
  float area = 0.0f, moment = 0.0f, length[4];
  for (int k = 0; k < 4; ++k) {
    const float start = ys[k], end = ys[(k + 1) & 3], run_x = along_x[k], run_y = along_y[k];
    const float low = within(start, height), high = within(end, height);
    const float enter = part_of(low - start, run_y), leave = 1.0f + part_of(high - end, run_y);
    const float first = xs[k] + enter * run_x, span = (leave - enter) * run_x;
    const float last = first + span;
    const float left = within(first, width), right = within(last, width);
    const float before = first - left, behind = last - right;
    const float cut = part_of(before + behind, span);
    const float mean = ((left + right) + (right - left) * cut) * 0.5f;
    area += (mean - middle) * (high - low);
    if (!GRADIENT) continue;
    // How much of the edge is inside of either pair of lines: all of it, or what is cut out.
    const float inside_y = run_y == 0                    ? share_inside(start, height)
                           : low == start && high == end ? 1.0f
                                                         : part_of(high - low, run_y);
    const float inside_x = span == 0                    ? share_inside(first, width)
                           : before == 0 && behind == 0 ? 1.0f
                                                        : part_of(right - left, span);
    const float from = enter + magnitude(part_of(before, span)) * (leave - enter);
    const float to = leave - magnitude(part_of(behind, span)) * (leave - enter);
    length[k] = magnitude(inside_x) * magnitude(inside_y) * side[k];
    moment += length[k] * ((from + to) * 0.5f - 0.5f) * side[k];
  }

  const float cos = magnitude(turn.cos), sin = magnitude(turn.sin);
  const float x = magnitude(turn.cos * at.x + turn.sin * at.y);
  const float y = magnitude(turn.cos * at.y - turn.sin * at.x);
  const bool meet = x < half_w + (width * cos + height * sin) &&
                    y < half_h + (width * sin + height * cos) && area >= 0;
  if (!meet) return {};
  if (!GRADIENT) return {area};
  return {area,
          length[0] - length[2],
          length[1] - length[3],
          p.w < 0 ? 0.0f : 0.5f * (length[0] + length[2]),
          p.h < 0 ? 0.0f : 0.5f * (length[1] + length[3]),
          -moment};
}

LX_INLINE float rotated_area(const Rotated &box) {
  return at_least(box.w, 0.0f) * at_least(box.h, 0.0f);
}

LX_INLINE float rotated_iou(const Rotated &p, const Rotated &t) {
  const float common = overlap_of<false>(p, t).area;
  const float together = (rotated_area(p) + rotated_area(t)) - common;
  return at_most(common / (together == 0 ? 1.0f : together), 1.0f) + (p.poison + t.poison);
}

template <bool GRADIENT>
LX_INLINE RotatedLoss rotated_iou_loss(const Rotated &p, const Rotated &t, float scale) {
  const Overlap common = overlap_of<GRADIENT>(p, t);
  const float together = (rotated_area(p) + rotated_area(t)) - common.area;
  const float below = together == 0 ? 1.0f : together, iou = common.area / below;
  const float poison = p.poison + t.poison, loss = 1.0f - at_most(iou, 1.0f) + poison;
  if (!GRADIENT) return {loss};
  const float slope = iou > 1 ? 0.0f : scale / below, moved = together == 0 ? 0.0f : iou;
  const float by_area = slope * (1.0f + moved), by_own = slope * moved;
  const float x = by_area * common.x, y = by_area * common.y;
  const float w = p.w < 0 ? 0.0f : at_least(p.h, 0.0f), h = p.h < 0 ? 0.0f : at_least(p.w, 0.0f);
  return {loss,
          poison - (p.axis.cos * x - p.axis.sin * y),
          poison - (p.axis.sin * x + p.axis.cos * y),
          poison - (by_area * common.w - by_own * w),
          poison - (by_area * common.h - by_own * h),
          poison - by_area * common.angle};
}

}  // namespace lossexport

// 1 - IoU, its extensions and NWD of two boxes and the gradient by the first: the arithmetic of
// lossexport/families/iou/functions.py and of its autograd, operation by operation.
//
// Macros: LX_T, LX_METRIC, LX_EPS (the constant of NWD), LX_REDUCTION, and LX_GRADIENT where the
// gradient is written too.
// Launch: a thread a row in blocks of BOX_LOSS_THREADS, or one block where there is a reduction.
#pragma once

#include "boxes.cuh"
#include "reduce.cuh"

namespace lossexport {

constexpr int BOX_LOSS_THREADS = 256;

// A loss and its derivatives by the corners of the prediction.
struct BoxLoss {
  float loss, x1, y1, x2, y2;
};

// Of a quotient's denominator: eps more or, without eps, no less than TINY.
LX_INLINE float denominator(float x, float eps) { return eps > 0 ? x + eps : at_least(x, TINY); }

// A quotient and `scale` times its derivatives; a denominator that was raised to TINY has none.
struct Quotient {
  float value, by_numerator, by_denominator;
};

LX_INLINE Quotient quotient(float numerator, float x, float eps, float scale) {
  const float below = denominator(x, eps), value = numerator / below, slope = scale / below;
  // Two selections, because gcc makes no vectors of one whose condition is in part that of a loop.
  const float moved = -value * slope, raised = x >= TINY ? moved : 0.0f;
  return {value, slope, eps > 0 ? moved : raised};
}

// What of the slope at a smaller of two reaches `a`: at a tie one half.
LX_INLINE float to_smaller(float a, float b, float slope) {
  return a > b ? 0.0f : (a == b ? 0.5f * slope : slope);
}

// What of the slope at an overlap's area reaches its side `side`, of two boxes' `sides`. NaN in
// either box stops it, although the overlap of boxes.cuh may be a number.
LX_INLINE float to_overlap(float side, float sides, float slope) {
  return side >= 0 && sides == sides ? slope : 0.0f;
}

// Slopes of SIoU's distance cost, times `scale`.
struct ApartSlopes {
  float shift_x, shift_y, enclosing_x, enclosing_y;

  LX_INLINE ApartSlopes(const Apart &at, float w, float h, float scale) {
    const float x = scale * at.left_x, y = scale * at.left_y;
    const float by_rate = -(x * (at.far_x * at.far_x) + y * (at.far_y * at.far_y));
    const float by_far_x = -2.0f * at.rate * at.far_x * x,
                by_far_y = -2.0f * at.rate * at.far_y * y;
    const float square = at_least(at.square, TINY);
    const float by_cross = 2.0f * (by_rate / square);
    const float by_square = at.square >= TINY ? -at.angle * (by_rate / square) : 0.0f;
    const float x_slope =
        by_cross * magnitude(at.y) * sign(at.x) + 2.0f * by_square * at.x + by_far_x / at.wide;
    const float y_slope =
        by_cross * magnitude(at.x) * sign(at.y) + 2.0f * by_square * at.y + by_far_y / at.high;
    shift_x = -0.5f * x_slope, shift_y = -0.5f * y_slope;
    // Of sides that were raised to the least one there is none.
    enclosing_x = w >= at.wide ? -by_far_x * (at.far_x / at.wide) : 0.0f;
    enclosing_y = h >= at.high ? -by_far_y * (at.far_y / at.high) : 0.0f;
  }
  static LX_INLINE float sign(float x) { return x > 0 ? 1.0f : (x < 0 ? -1.0f : 0.0f); }
};

// The slope of a pair of sides' cost by `side`, times `scale`.
LX_INLINE float unlike_slope(const Unlike &at, float side, float other, float scale) {
  const float slope = scale * (4.0f * (at.apart * at.apart * at.apart) * at.left);
  const float most = at_least(at.most, TINY);
  const float by_apart = slope / most;
  const float by_most = at.most >= TINY ? -at.off * by_apart : 0.0f;
  const float larger = side > other ? 1.0f : (side == other ? 0.5f : 0.0f);
  return ApartSlopes::sign(side - other) * by_apart + larger * by_most;
}

// Of NWD.
template <bool GRADIENT>
LX_INLINE BoxLoss distance_loss(const Box &pred, const Box &target, float constant, float scale) {
  const Shift shift(pred, target);
  const Wasserstein at(pred, target, shift, constant, NWD_LOSS_EPS);
  if (!GRADIENT) return {1.0f - at.score};
  // By the squared distance: half of that by each of the four squares, of which a quarter counts.
  const float slope = scale * at.score / constant * (0.25f / at.distance);
  const float w = slope * (pred.w - target.w), h = slope * (pred.h - target.h);
  const float x = slope * shift.x, y = slope * shift.y;
  return {1.0f - at.score, x - w, y - h, x + w, y + h};
}

// The gradient is that of `scale` times the loss: a late factor would come after an overflow.
// Slopes are named after what they are taken by; the trade-off of CIoU is a constant for them. Area
// and aspect may be those of a box that is `taller`.
template <Metric M, bool GRADIENT>
LX_INLINE BoxLoss box_loss(const Box &pred, const Box &target, float eps, float scale,
                           float taller = 0.0f) {
  if (M == NWD) return distance_loss<GRADIENT>(pred, target, eps, scale);
  const Meeting<float> m = meet(pred, target);
  const float tall = pred.h + taller;
  const float sides_w = pred.w + target.w, sides_h = pred.h + target.h;
  const float enclosing_w = sides_w - m.w, enclosing_h = sides_h - m.h;
  const float twice = M == EIOU ? 2.0f * eps : eps;  // as the code that trained with EIoU has it
  const Quotient iou = quotient(m.intersection, m.together, twice, scale);
  float metric = iou.value, intersection = -iou.by_numerator, together = -iou.by_denominator;
  float enclosing_x = 0.0f, enclosing_y = 0.0f, w = 0.0f, h = 0.0f, shift_x = 0.0f, shift_y = 0.0f;
  if (M == GIOU) {
    const float enclosing = enclosing_w * enclosing_h;
    const Quotient gap = quotient(enclosing - m.together, enclosing, eps, scale);
    const float slope = gap.by_numerator + gap.by_denominator;
    metric -= gap.value;
    together -= gap.by_numerator;
    enclosing_x = slope * enclosing_h, enclosing_y = slope * enclosing_w;
  }
  if (M == DIOU || M == CIOU || M == EIOU) {
    const float x = (pred.x1 - target.x1) + (pred.x2 - target.x2);
    const float y = (pred.y1 - target.y1) + (pred.y2 - target.y2);
    const float diagonal = enclosing_w * enclosing_w + enclosing_h * enclosing_h;
    const Quotient distance = quotient((x * x + y * y) * 0.25f, diagonal, eps, scale);
    metric -= distance.value;
    shift_x = 0.5f * distance.by_numerator * x, shift_y = 0.5f * distance.by_numerator * y;
    enclosing_x = 2.0f * distance.by_denominator * enclosing_w;
    enclosing_y = 2.0f * distance.by_denominator * enclosing_h;
  }
  if (M == CIOU) {
    const float turn = target.angle - pred.angle;
    const float v = turn * turn;
    const float alpha = v / denominator((1.0f - iou.value) + v, eps);
    metric -= alpha * v;
    const float square = pred.w * pred.w + tall * tall;
    const float angle = -2.0f * (scale * alpha) * turn * 0.636619772f / at_least(square, TINY);
    w = angle * tall, h = -angle * pred.w;
  }
  if (M == EIOU) {
    const float apart_w = pred.w - target.w, apart_h = pred.h - target.h;
    const Quotient across = quotient(apart_w * apart_w, enclosing_w * enclosing_w, eps, scale);
    const Quotient along = quotient(apart_h * apart_h, enclosing_h * enclosing_h, eps, scale);
    metric = (metric - across.value) - along.value;
    w = 2.0f * across.by_numerator * apart_w, h = 2.0f * along.by_numerator * apart_h;
    enclosing_x += 2.0f * across.by_denominator * enclosing_w;
    enclosing_y += 2.0f * along.by_denominator * enclosing_h;
  }
  if (M == SIOU) {
    const Apart centres(Shift(pred, target), enclosing_w, enclosing_h, eps);
    const Unlike wide(pred.w, target.w), high(pred.h + eps, target.h + eps);
    metric = siou(iou.value, centres.cost(), wide, high);
    // A score that was raised to -1 has no slope.
    const float kept = metric > -1 || metric != metric ? 1.0f : 0.0f, half = 0.5f * scale * kept;
    const ApartSlopes slopes(centres, enclosing_w, enclosing_h, half);
    intersection *= kept, together *= kept;
    shift_x = slopes.shift_x, shift_y = slopes.shift_y;
    enclosing_x = slopes.enclosing_x, enclosing_y = slopes.enclosing_y;
    w = unlike_slope(wide, pred.w, target.w, half);
    h = unlike_slope(high, pred.h + eps, target.h + eps, half);
  }
  if (!GRADIENT) return {1.0f - metric};
  intersection -= together;
  w += together * tall + enclosing_x, h += together * pred.w + enclosing_y;
  const float overlap_x =
      to_overlap(m.w, sides_w, intersection * at_least(m.h, 0.0f)) - enclosing_x;
  const float overlap_y =
      to_overlap(m.h, sides_h, intersection * at_least(m.w, 0.0f)) - enclosing_y;
  return {1.0f - metric, shift_x - (to_smaller(target.x1, pred.x1, overlap_x) + w),
          shift_y - (to_smaller(target.y1, pred.y1, overlap_y) + h),
          shift_x + (to_smaller(pred.x2, target.x2, overlap_x) + w),
          shift_y + (to_smaller(pred.y2, target.y2, overlap_y) + h)};
}

}  // namespace lossexport

#if defined(LX_DEVICE) && defined(LX_METRIC)
LX_KERNEL void box_losses(const LX_T *pred, const LX_T *target, int count, LX_T *loss
#ifdef LX_GRADIENT
                          ,
                          LX_T *grad
#endif
) {
  using namespace lossexport;
  constexpr Metric M = static_cast<Metric>(LX_METRIC);
  spread<BOX_LOSS_THREADS>(count, loss, [=](unsigned i, float scale) {
    const BoxLoss here = box_loss<M, GRADIENT>(load_box<M>(pred + 4 * i),
                                               load_box<M>(target + 4 * i), LX_EPS, scale);
#ifdef LX_GRADIENT
    store(grad + 4 * i, here.x1);
    store(grad + 4 * i + 1, here.y1);
    store(grad + 4 * i + 2, here.x2);
    store(grad + 4 * i + 3, here.y2);
#endif
    return here.loss;
  });
}
#endif

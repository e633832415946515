// Rotated boxes as Gaussians: ProbIoU, KLD, GWD and KFIoU with their derivatives, the arithmetic of
// lossexport/families/rotated/functions.py. a, b are the deviations of the prediction along its
// axes, g, k those of the target.
//
// Macros of kernels: LX_MEASURE and the attributes LX_EPS, LX_FLOOR, LX_TAU, LX_DIRECTION, LX_POST,
// LX_FORM, LX_SQRT, LX_NORMALIZE.
#pragma once

#include "rotated.cuh"

namespace lossexport {

enum Measure { ROTATED_IOU = 0, PROBIOU = 1, KLD = 2, GWD = 3, KFIOU = 4 };
enum Way { ONE_WAY = 0, MEAN_OF_WAYS = 1, LARGER_WAY = 2, SMALLER_WAY = 3 };
enum Post { POST_LOG1P = 0, POST_ROOT = 1, POST_NONE = 2 };
enum Form { FORM_LINEAR = 0, FORM_LN = 1, FORM_EXP = 2 };

// The attributes of all of them.
struct Options {
  float eps = 0, floor = 0, tau = 1;
  int direction = 0, post = 0, form = 0;
  bool root = true, normalize = true;
};

constexpr float SMALLEST_SIDE = 1e-7f, LARGEST_SIDE = 1e7f;
constexpr float ROOT_FLOOR = 1e-7f;           // of what is under a root
constexpr float LEAST_ROOT = 3.16227766e-4f;  // of a product of determinants
constexpr float KF_EPS = 1e-6f;

// A deviation and its derivative by the side.
struct Deviation {
  float size, slope;
};

LX_INLINE Deviation uniform(float side, float floor) {
  if (floor == 0)
    return {magnitude(side) * 0.288675135f,
            side > 0 ? 0.288675135f : (side < 0 ? -0.288675135f : 0.0f)};
  const float size = square_root(side * side * 0.0833333333f + floor);
  return {size, side * 0.0833333333f / size};
}

LX_INLINE Deviation half_of(float side) {
  return {at_most(at_least(side, SMALLEST_SIDE), LARGEST_SIDE) * 0.5f,
          side >= SMALLEST_SIDE && side <= LARGEST_SIDE ? 0.5f : 0.0f};
}

// Two Gaussians: cos and sin are the squares of those of their angle, `twist` is the derivative of
// sin, and of cos the negative one.
struct Couple {
  Deviation a, b;
  float g, k, cos, sin, twist;
};

LX_INLINE Couple couple_of(const Rotated &p, const Rotated &t, Deviation a, Deviation b, float g,
                           float k) {
  const Direction turn = direction(p.angle - t.angle);
  return {a, b, g, k, turn.cos * turn.cos, turn.sin * turn.sin, 2.0f * turn.cos * turn.sin};
}

LX_INLINE Couple halves_of(const Rotated &p, const Rotated &t) {
  return couple_of(p, t, half_of(p.w), half_of(p.h), half_of(t.w).size, half_of(t.h).size);
}

// A number and its derivatives by the deviations a and b, the centre, the centre in the frame of
// either box, and the angle.
struct Slopes {
  float value = 0, a = 0, b = 0, x = 0, y = 0, px = 0, py = 0, tx = 0, ty = 0, angle = 0;
};

// det(P + T) - 4 sqrt(det P det T).
LX_INLINE Slopes spread_of(const Couple &c) {
  const float a = c.a.size, b = c.b.size;
  const float area = a * b - c.g * c.k, crossed = a * c.k - b * c.g, straight = a * c.g - b * c.k;
  Slopes s;
  s.value = area * area + crossed * crossed * c.cos + straight * straight * c.sin;
  s.a = 2.0f * (area * b + crossed * c.k * c.cos + straight * c.g * c.sin);
  s.b = 2.0f * (area * a - crossed * c.g * c.cos - straight * c.k * c.sin);
  s.angle = (straight * straight - crossed * crossed) * c.twist;
  return s;
}

// From the derivatives to those by the numbers of the prediction, times `slope`.
LX_INLINE RotatedLoss loss_of(const Rotated &p, const Rotated &t, const Couple &c, float value,
                              float slope, const Slopes &s) {
  const float poison = p.poison + t.poison;
  const float x = p.axis.cos * s.px - p.axis.sin * s.py + (t.axis.cos * s.tx - t.axis.sin * s.ty);
  const float y = p.axis.sin * s.px + p.axis.cos * s.py + (t.axis.sin * s.tx + t.axis.cos * s.ty);
  return {value + poison,
          slope * (s.x + x) + poison,
          slope * (s.y + y) + poison,
          slope * s.a * c.a.slope + poison,
          slope * s.b * c.b.slope + poison,
          slope * s.angle + poison};
}

// The Hellinger distance of ProbIoU.
template <bool GRADIENT>
LX_INLINE RotatedLoss probiou_loss(const Rotated &p, const Rotated &t, const Options &o,
                                   float scale) {
  const Couple c = couple_of(p, t, uniform(p.w, o.floor), uniform(p.h, o.floor),
                             uniform(t.w, o.floor).size, uniform(t.h, o.floor).size);
  const float a = c.a.size, b = c.b.size;
  const Slopes spread = spread_of(c);
  const float product = 4.0f * ((a * b) * (c.g * c.k));
  const Offset own = offset_of(p, t), back = offset_of(t, p);
  const float bx = b * back.x, ay = a * back.y, kx = c.k * own.x, gy = c.g * own.y;
  const float form = (bx * bx + ay * ay) + (kx * kx + gy * gy);
  const float whole = (spread.value + product) + o.eps, part = product + o.eps;
  const float centres = form / (4.0f * whole);
  const float quotient = (spread.value + product) / part + o.eps;
  const float shapes = 0.5f * logarithm_of(quotient, (spread.value - o.eps) / part + o.eps);
  const float sum = centres + shapes;
  const float less = exponential_less_1(-at_most(at_least(sum, o.eps), 100.0f));
  const float distance = square_root(o.eps - less);
  if (!GRADIENT) return {distance + (p.poison + t.poison)};
  const bool free = sum >= o.eps && sum <= 100.0f;
  const float slope = free ? (1.0f + less) / (2.0f * distance) * scale : 0.0f;
  // By the form, the spread, and the product while the spread stays.
  const float by_form = 0.25f / whole, by_both = -centres / whole, by_log = 0.5f / quotient;
  const float by_spread = by_both + by_log / part;
  const float by_product = by_both + by_log * ((o.eps - spread.value) / part) / part;
  const float product_a = 4.0f * b * (c.g * c.k), product_b = 4.0f * a * (c.g * c.k);
  Slopes s;
  s.a = by_form * 2.0f * ay * back.y + by_spread * spread.a + by_product * product_a;
  s.b = by_form * 2.0f * bx * back.x + by_spread * spread.b + by_product * product_b;
  // `back` is the negative of the own offset along the axes of the prediction.
  s.px = -by_form * 2.0f * b * bx, s.py = -by_form * 2.0f * a * ay;
  s.tx = by_form * 2.0f * c.k * kx, s.ty = by_form * 2.0f * c.g * gy;
  s.angle = by_form * 2.0f * (b * b - a * a) * back.x * back.y + by_spread * spread.angle;
  return loss_of(p, t, c, distance, slope, s);
}

LX_INLINE float probiou(const Rotated &p, const Rotated &t, const Options &o) {
  return 1.0f - probiou_loss<false>(p, t, o, 1.0f).loss;
}

// max(x, ROOT_FLOOR)^(1/2) and its derivative, which is 0 below.
LX_INLINE Slope floored_root(float x) {
  const float root = square_root(at_least(x, ROOT_FLOOR));
  return {root, x >= ROOT_FLOOR ? 0.5f / root : 0.0f};
}

// What mmrotate makes a loss of a distance with, and the derivative.
LX_INLINE Slope post_of(Slope distance, const Options &o) {
  Slope d = distance;
  if (o.post == POST_LOG1P) {
    d = {logarithm_of(1.0f + d.loss, d.loss), d.slope / (1.0f + d.loss)};
  } else if (o.post == POST_ROOT) {
    const Slope root = floored_root(d.loss);
    d = {root.loss, d.slope * root.slope};
  }
  if (o.tau < 1) return d;
  const float share = 1.0f / (o.tau + d.loss);
  return {1.0f - share, d.slope * share * share};
}

// Half the squared distance of the centres in deviations `a` and `b` of `origin`, with the
// derivatives by these, by the offset of `box` and by the angle of the origin.
struct Reach {
  float value, a, b, x, y, along, across, angle;
};

LX_INLINE Reach reach_of(const Rotated &origin, const Rotated &box, float a, float b) {
  const Offset away = offset_of(box, origin);
  const bool flat = a > b;
  const float longer = flat ? a : b, shorter = flat ? b : a;
  const float x = (box.x - origin.x) / longer, y = (box.y - origin.y) / longer;
  const float beyond = (flat ? away.y : away.x) / shorter, thin = shorter / longer;
  const float share = ((longer - shorter) / longer) * ((longer + shorter) / longer);
  const float circle = x * x + y * y, square = beyond * beyond;
  const float by_longer = (square * (thin * thin) - circle) / longer,
              by_shorter = -square / shorter;
  const float by_offset = beyond * share / shorter;
  return {0.5f * (circle + square * share),
          flat ? by_longer : by_shorter,
          flat ? by_shorter : by_longer,
          x / longer,
          y / longer,
          flat ? 0.0f : by_offset,
          flat ? by_offset : 0.0f,
          flat ? -by_offset * away.x : by_offset * away.y};
}

// The divergence with the prediction's covariance inverted.
LX_INLINE Slopes divergence_of(const Rotated &p, const Rotated &t, const Couple &c) {
  const float a = c.a.size, b = c.b.size, own = a * b, other = c.g * c.k;
  const float straight = c.g / a - c.k / b, crossed = c.k / a - c.g / b;
  const float growth = (other - own) / own;
  const float shape = straight * straight * c.cos + crossed * crossed * c.sin;
  const Reach reach = reach_of(p, t, a, b);
  Slopes s;
  s.value = (0.5f * shape + reach.value) + (growth - logarithm_of(other / own, growth));
  s.a = reach.a - (straight * c.cos * (c.g / a) + crossed * c.sin * (c.k / a) + growth) / a;
  s.b = reach.b + (straight * c.cos * (c.k / b) + crossed * c.sin * (c.g / b) - growth) / b;
  s.x = -reach.x, s.y = -reach.y;
  s.px = -reach.along, s.py = -reach.across;
  s.angle = 0.5f * (crossed * crossed - straight * straight) * c.twist + reach.angle;
  return s;
}

// The divergence with the target's covariance inverted.
LX_INLINE Slopes divergence_back(const Rotated &p, const Rotated &t, const Couple &c) {
  const float a = c.a.size, b = c.b.size, own = c.g * c.k, other = a * b;
  const float straight = a / c.g - b / c.k, crossed = b / c.g - a / c.k;
  const float growth = (other - own) / own;
  const float shape = straight * straight * c.cos + crossed * crossed * c.sin;
  const Reach reach = reach_of(t, p, c.g, c.k);
  Slopes s;
  s.value = (0.5f * shape + reach.value) + (growth - logarithm_of(other / own, growth));
  s.a = straight * c.cos / c.g - crossed * c.sin / c.k + growth / a;
  s.b = crossed * c.sin / c.g - straight * c.cos / c.k + growth / b;
  s.x = reach.x, s.y = reach.y;
  s.tx = reach.along, s.ty = reach.across;
  s.angle = 0.5f * (crossed * crossed - straight * straight) * c.twist;
  return s;
}

LX_INLINE Slopes mean_of(const Slopes &s, const Slopes &r) {
  return {0.5f * (s.value + r.value), 0.5f * (s.a + r.a),   0.5f * (s.b + r.b),
          0.5f * (s.x + r.x),         0.5f * (s.y + r.y),   0.5f * (s.px + r.px),
          0.5f * (s.py + r.py),       0.5f * (s.tx + r.tx), 0.5f * (s.ty + r.ty),
          0.5f * (s.angle + r.angle)};
}

LX_INLINE RotatedLoss kld_loss(const Rotated &p, const Rotated &t, const Options &o, float scale) {
  const Couple c = halves_of(p, t);
  Slopes s = divergence_of(p, t, c);
  if (o.direction != ONE_WAY) {
    const Slopes back = divergence_back(p, t, c);
    const bool own = o.direction == LARGER_WAY ? s.value > back.value : s.value < back.value;
    if (o.direction == MEAN_OF_WAYS || s.value == back.value)
      s = mean_of(s, back);
    else if (!own)
      s = back;
  }
  const Slope distance = o.root ? floored_root(s.value) : Slope{s.value, 1.0f};
  const Slope post = post_of(distance, o);
  return loss_of(p, t, c, post.loss, post.slope * scale, s);
}

LX_INLINE RotatedLoss gwd_loss(const Rotated &p, const Rotated &t, const Options &o, float scale) {
  const Couple c = halves_of(p, t);
  const float a = c.a.size, b = c.b.size;
  const bool swap = (a - b) * (c.g - c.k) < 0;
  const float g = swap ? c.k : c.g, k = swap ? c.g : c.k;
  const float cos = swap ? c.sin : c.cos, sin = swap ? c.cos : c.sin;
  const float twist = swap ? -c.twist : c.twist;
  const float straight = a * g + b * k, crossed = a * k + b * g;
  const float product = (a * b) * (c.g * c.k);
  const bool low = product < LEAST_ROOT;
  const float root = low ? LEAST_ROOT : product, raised = 2.0f * (root - product);
  const float raised_a = low ? -2.0f * b * (g * k) : 0.0f;
  const float raised_b = low ? -2.0f * a * (g * k) : 0.0f;
  const Slope coupling = floored_root(straight * straight * cos + crossed * crossed * sin + raised);
  const float own = a * a - b * b, other = g * g - k * k;
  const float wide = a - g, high = b - k, x = p.x - t.x, y = p.y - t.y;
  const float below = straight + coupling.loss, excess = (own * other * sin - raised) / below;
  const Slope distance = floored_root(x * x + y * y + wide * wide + high * high + 2.0f * excess);
  const float coupling_a =
      coupling.slope * (2.0f * (straight * g * cos + crossed * k * sin) + raised_a);
  const float coupling_b =
      coupling.slope * (2.0f * (straight * k * cos + crossed * g * sin) + raised_b);
  const float coupling_angle = coupling.slope * (crossed * crossed - straight * straight) * twist;
  Slopes s;
  s.a = wide + ((2.0f * a * other * sin - raised_a) - excess * (g + coupling_a)) / below;
  s.b = high + ((-2.0f * b * other * sin - raised_b) - excess * (k + coupling_b)) / below;
  s.angle = (own * other * twist - excess * coupling_angle) / below;
  float slope = 2.0f * distance.slope, value = distance.loss;
  s.x = x, s.y = y;
  if (o.normalize) {
    const float size = 2.0f * square_root(square_root(root));
    value /= size, slope /= size;
    const Slope post = post_of({value, 1.0f}, o);
    RotatedLoss loss = loss_of(p, t, c, post.loss, post.slope * slope * scale, s);
    const float by_size = low ? 0.0f : post.slope * value * -0.25f * scale;
    loss.w += by_size / a * c.a.slope, loss.h += by_size / b * c.b.slope;
    return loss;
  }
  const Slope post = post_of({value, 1.0f}, o);
  return loss_of(p, t, c, post.loss, post.slope * slope * scale, s);
}

LX_INLINE RotatedLoss kfiou_loss(const Rotated &p, const Rotated &t, const Options &o,
                                 float scale) {
  const Couple c = halves_of(p, t);
  const float a = c.a.size, b = c.b.size;
  const Slopes spread = spread_of(c);
  const float product = 4.0f * ((a * b) * (c.g * c.k));
  const float whole = spread.value + product, common = product / square_root(whole);
  const float together = 4.0f * (a * b + c.g * c.k) - common + KF_EPS;
  const float overlap = common / together, miss = 1.0f - overlap;
  const float grown = exponential(miss);
  const float value = o.form == FORM_LN ? -logarithm_of(overlap + KF_EPS, (overlap + KF_EPS) - 1.0f)
                      : o.form == FORM_EXP ? grown - 1.0f
                                           : miss;
  const float by_overlap =
      o.form == FORM_LN ? -1.0f / (overlap + KF_EPS) : (o.form == FORM_EXP ? -grown : -1.0f);
  // The logarithmic derivatives of the common volume, and of both volumes in parts of all.
  const float half = 0.5f / whole, both = (together + common) / together;
  const float common_a = 1.0f / a - half * (spread.a + product / a);
  const float common_b = 1.0f / b - half * (spread.b + product / b);
  Slopes s;
  s.a = common_a * both - 4.0f * b / together;
  s.b = common_b * both - 4.0f * a / together;
  s.angle = -half * spread.angle * both;
  return loss_of(p, t, c, value, by_overlap * overlap * scale, s);
}

template <Measure M, bool GRADIENT>
LX_INLINE RotatedLoss rotated_loss(const Rotated &p, const Rotated &t, const Options &o,
                                   float scale) {
  if (M == ROTATED_IOU) return rotated_iou_loss<GRADIENT>(p, t, scale);
  if (M == PROBIOU) return probiou_loss<GRADIENT>(p, t, o, scale);
  if (M == KLD) return kld_loss(p, t, o, scale);
  if (M == GWD) return gwd_loss(p, t, o, scale);
  return kfiou_loss(p, t, o, scale);
}

template <Measure M>
LX_INLINE float rotated_score(const Rotated &p, const Rotated &t, const Options &o) {
  return M == ROTATED_IOU ? rotated_iou(p, t) : probiou(p, t, o);
}

#if defined(LX_DEVICE) && defined(LX_MEASURE)
// The attributes of a kernel.
__device__ inline Options given() {
  Options o;
  o.eps = LX_EPS, o.floor = LX_FLOOR, o.tau = LX_TAU;
  o.direction = LX_DIRECTION, o.post = LX_POST, o.form = LX_FORM;
  o.root = LX_SQRT, o.normalize = LX_NORMALIZE;
  return o;
}
#endif

}  // namespace lossexport

// Classification losses whose target is the quality of a box, with the gradient: the arithmetic of
// lossexport/families/quality/functions.py.
//
// Macros: LX_T, LX_REDUCTION, LX_QUALITY, LX_EXPONENT, and LX_ALPHA and LX_IOU_WEIGHTED where the
// loss has them; LX_GRADIENT where the gradient is written too. Launch: a thread an element in
// blocks of QUALITY_THREADS, or one block where there is a reduction.
#pragma once

#include "logistic.cuh"
#include "reduce.cuh"

namespace lossexport {

constexpr int QUALITY_THREADS = 256;
constexpr float LEAST_TARGET = 0.01f;  // of a matched element of IOU_AWARE

enum Quality {
  QUALITY_FOCAL = 0,
  VARIFOCAL = 1,
  MATCHED_VARIFOCAL = 2,
  MATCHABILITY_AWARE = 3,
  IOU_AWARE = 4
};

// Whether a third tensor says which elements are matched.
LX_INLINE constexpr bool has_matches(int loss) { return loss >= MATCHED_VARIFOCAL; }

// base^exponent without a derivative: 0 for a base of 0 and an exponent above 0.
template <Exponent E>
LX_INLINE float raised(float base, float exponent) {
  if (E == ZEROTH) return 1.0f;
  if (E == FIRST) return base;
  if (E == SECOND) return base * base;
  return power(base, exponent);
}

// Cross entropy with a soft target, as a sum of two numbers that are not negative.
LX_INLINE Slope entropy(const Logistic &x, float target) {
  const float other = 1.0f - target;
  return {target * x.hit + other * x.miss, other * x.p - target * x.q};
}

LX_INLINE Slope times(float weight, const Slope &by) {
  return {weight * by.loss, weight * by.slope};
}

// `exponent` is beta, gamma or, of IOU_AWARE, alpha. `matched` counts where the loss has matches.
template <Quality L, Exponent E>
LX_INLINE Slope quality_loss(float logit, float quality, bool matched, float exponent, float alpha,
                             bool iou_weighted) {
  const Logistic x = logistic(logit + logit * 0.0f + quality * 0.0f);
  const float moving = x.p * x.q;
  if (L == QUALITY_FOCAL) {
    const float gap = quality * x.q - (1.0f - quality) * x.p;
    const Power weight = power_of<E>(magnitude(gap), exponent);
    const float towards = gap > 0 ? -moving : (gap < 0 ? moving : 0.0f);
    const Slope wrong = entropy(x, quality);
    return {weight.value * wrong.loss,
            weight.slope * towards * wrong.loss + weight.value * wrong.slope};
  }
  if (L == VARIFOCAL) {
    const Slope wrong = entropy(x, quality);
    const Power weight = power_of<E>(x.p, exponent);
    const Slope other = {alpha * weight.value * wrong.loss,
                         alpha * (weight.slope * moving * wrong.loss + weight.value * wrong.slope)};
    const Slope own = times(iou_weighted ? quality : 1.0f, wrong);
    return quality > 0 ? own : other;
  }
  if (L == IOU_AWARE) {
    const float share = E == ZEROTH  ? quality
                        : E == FIRST ? x.p
                                     : power(x.p, exponent) * power(quality, 1.0f - exponent);
    const Slope own = entropy(x, at_least(share, LEAST_TARGET));
    const float square = x.p * x.p;
    const Slope other = {square * x.miss, 2.0f * square * x.q * x.miss + square * x.p};
    return matched ? own : other;
  }
  const float target = L == MATCHED_VARIFOCAL ? quality : raised<E>(quality, exponent);
  const float weight = L == MATCHED_VARIFOCAL ? quality : 1.0f;
  return times(matched ? weight : alpha * raised<E>(x.p, exponent),
               entropy(x, matched ? target : 0.0f));
}

}  // namespace lossexport

#ifdef LX_DEVICE
#ifndef LX_ALPHA
#define LX_ALPHA 0.0f
#endif
#ifndef LX_IOU_WEIGHTED
#define LX_IOU_WEIGHTED 0
#endif
LX_KERNEL void quality_loss(const LX_T *logits, const LX_T *quality,
#if LX_QUALITY >= 2
                            const unsigned char *matched,
#endif
                            int count, LX_T *loss
#ifdef LX_GRADIENT
                            ,
                            LX_T *grad
#endif
) {
  using namespace lossexport;
  spread<QUALITY_THREADS>(count, loss, [=](unsigned i, float scale) {
    constexpr Quality L = static_cast<Quality>(LX_QUALITY);
    constexpr Exponent E = exponent_of(LX_EXPONENT);
#if LX_QUALITY >= 2
    const bool found = matched[i] != 0;
#else
    constexpr bool found = false;
#endif
    const Slope here = quality_loss<L, E>(load(logits[i]), load(quality[i]), found, LX_EXPONENT,
                                          LX_ALPHA, LX_IOU_WEIGHTED);
#ifdef LX_GRADIENT
    store(grad + i, here.slope * scale);
#endif
    return here.loss;
  });
}
#endif

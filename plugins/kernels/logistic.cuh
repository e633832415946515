// Logistic functions that keep every digit in both tails: lossexport/ops/logistic.py.
#pragma once

#include "portable.cuh"

namespace lossexport {

// What a logit stands for: p, q = 1 - p, and its cross entropy with the targets 0 and 1.
struct Logistic {
  float p, q, miss, hit;
};

LX_INLINE Logistic logistic(float x) {
  const float tail = exponential(-magnitude(x));
  const float large = 1.0f / (1.0f + tail), small = tail * large;
  const float rest = log_one_plus(tail);
  return {x < 0 ? small : large, x < 0 ? large : small, at_least(x, 0.0f) + rest,
          at_least(-x, 0.0f) + rest};
}

// Exponents that need no logarithm, and all others.
enum Exponent { ZEROTH, FIRST, SECOND, BELOW_ONE, ANY };

LX_INLINE constexpr Exponent exponent_of(float gamma) {
  return gamma == 0.0f   ? ZEROTH
         : gamma == 1.0f ? FIRST
         : gamma == 2.0f ? SECOND
         : gamma < 1.0f  ? BELOW_ONE
                         : ANY;
}

// base^gamma for a base of at least 0, and its derivative. Below 1 the base is at least TINY, where
// the derivative is 0 instead of infinite: what it would multiply vanishes with the base.
struct Power {
  float value, slope;
};

template <Exponent E>
LX_INLINE Power power_of(float base, float gamma) {
  if (E == ZEROTH) return {1.0f, 0.0f};
  if (E == FIRST) return {base, 1.0f};
  if (E == SECOND) return {base * base, 2.0f * base};
  const float held = at_least(base, TINY);
  const float value = power(E == BELOW_ONE ? held : base, gamma);
  const float slope = gamma * value / held;
  return {value, E == BELOW_ONE && base < TINY ? 0.0f : slope};
}

}  // namespace lossexport

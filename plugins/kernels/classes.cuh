// Losses that reshape cross entropy, with the gradient: the arithmetic of
// lossexport/families/classification/functions.py. Anchor loss, Ryou et al. (arXiv 1909.11155), eq.
// 4 to 6; symmetric cross entropy, Wang et al. (arXiv 1908.06112), eq. 6 and 7.
//
// Macros: LX_T, LX_REDUCTION; LX_GAMMA, LX_SLACK, LX_POSITIVE (0 or 1) of the anchor loss; LX_ALPHA,
// LX_REVERSE, LX_FLOOR of the symmetric one; LX_GRADIENT where the gradient is written too. Launch:
// a thread a row in blocks of CLASSES_THREADS, or one block where there is a reduction.
#pragma once

#include "logistic.cuh"
#include "reduce.cuh"
#include "rivals.cuh"

namespace lossexport {

constexpr int CLASSES_THREADS = 128;

// 1 + p - anchor as a sum of probabilities and slack: a difference would cancel.
LX_INLINE float anchored(float near, float far, float slack) {
  return near + at_most(far + slack, 1.0f);
}

// A term of the anchor loss that is reshaped by how close the other side comes: of another class
// (`miss`, far is 1 - the own probability), or of the own one (`hit`, far is the best other).
template <Exponent E, bool POSITIVE>
LX_INLINE Slope anchor_term(const Logistic &x, float far, float slack, float gamma) {
  const Power power = power_of<E>(anchored(POSITIVE ? x.q : x.p, far, slack), gamma);
  const float entropy = POSITIVE ? x.hit : x.miss, rise = POSITIVE ? -x.q : x.p;
  const float turn = POSITIVE ? -(x.p * x.q) : x.p * x.q;
  return {power.value * entropy, power.slope * turn * entropy + power.value * rise};
}

// What the classes besides the own one have in the symmetric cross entropy of a row.
struct Reverse {
  float total;   // of the probabilities, at least `floor` each
  float moving;  // of those that are above it
  float fixed;   // of those that are not
};

// The slope of one logit; `other` is 0 for the own class.
LX_INLINE float symmetric_slope(const Logistic &z, const Reverse &sums, float other, bool own,
                                float alpha, float reverse, float floor) {
  const float pull =
      own ? -z.p * sums.moving : other * (other >= floor ? z.p + sums.fixed : -sums.moving);
  return alpha * (own ? -z.q : other) + reverse * pull;
}

}  // namespace lossexport

#ifdef LX_DEVICE
#if defined(LX_ANCHOR)
LX_KERNEL void anchor_loss(const LX_T *logits, const long long *labels, int rows, int classes,
                           LX_T *loss
#ifdef LX_GRADIENT
                           ,
                           LX_T *grad
#endif
) {
  using namespace lossexport;
  spread<CLASSES_THREADS>(rows, loss, [=](unsigned i, float scale) {
    constexpr Exponent E = exponent_of(LX_GAMMA);
    const long long first = static_cast<long long>(i) * classes;
    const Row row(logits + first, classes, labels[i]);
    const Logistic mine = logistic(row[row.known ? row.own : 0]);
    float far = LX_POSITIVE ? row.poison : mine.q;
    Sum sum;
    if (LX_POSITIVE)
      for (int k = 0; k < classes; ++k) {
        const float p = k == row.own ? 0.0f : logistic(row[k]).p;
        far = p > far ? p : far;
      }
    for (int k = 0; k < classes; ++k) {
      const Logistic x = logistic(row[k]);
      const bool own = k == row.own;
      const Slope plain = own ? Slope{x.hit, -x.q} : Slope{x.miss, x.p};
      const Slope here = own == (LX_POSITIVE != 0)
                             ? anchor_term<E, LX_POSITIVE != 0>(x, far, LX_SLACK, LX_GAMMA)
                             : plain;
      sum.add(here.loss);
#ifdef LX_GRADIENT
      store(grad + first + k, here.slope * scale);
#endif
    }
    return sum.value();
  });
}
#elif defined(LX_SYMMETRIC)
LX_KERNEL void sce_loss(const LX_T *logits, const long long *labels, int rows, int classes,
                        LX_T *loss
#ifdef LX_GRADIENT
                        ,
                        LX_T *grad
#endif
) {
  using namespace lossexport;
  spread<CLASSES_THREADS>(rows, loss, [=](unsigned i, float scale) {
    const long long first = static_cast<long long>(i) * classes;
    const Row row(logits + first, classes, labels[i]);
    const Rivals rivals(row);
    const Logistic z = logistic(rivals.margin());
    Sum total, moving, fixed;
    for (int k = 0; k < classes; ++k) {
      const bool own = k == row.own;
      const float other = own ? 0.0f : z.q * rivals.share(row, k);
      const bool live = other >= LX_FLOOR;
      total.add(own ? 0.0f : at_least(other, LX_FLOOR));
      moving.add(live ? other : 0.0f);
      fixed.add(live ? 0.0f : other);
    }
    const Reverse sums = {total.value(), moving.value(), fixed.value()};
#ifdef LX_GRADIENT
    for (int k = 0; k < classes; ++k) {
      const bool own = k == row.own;
      const float other = own ? 0.0f : z.q * rivals.share(row, k);
      store(grad + first + k,
            scale * symmetric_slope(z, sums, other, own, LX_ALPHA, LX_REVERSE, LX_FLOOR));
    }
#endif
    return LX_ALPHA * z.hit + LX_REVERSE * sums.total;
  });
}
#endif
#endif

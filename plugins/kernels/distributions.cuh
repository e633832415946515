// DR loss: the arithmetic of lossexport/families/ranking/functions.py. Qian et al. (arXiv
// 1907.10156), eq. 10 to 12.
//
// Macros: LX_T, LX_POS_LAMBDA, LX_NEG_LAMBDA, LX_L, LX_TAU, LX_MARGIN; LX_GRADIENT where the
// gradient is written too. Launch: one block of DISTRIBUTION_THREADS.
#pragma once

#include "logistic.cuh"
#include "reduce.cuh"

namespace lossexport {

constexpr int DISTRIBUTION_THREADS = 512;

// The weight of a probability, relative to the largest there may be. `rate` is above 0 for negatives,
// of which the likely ones count most, and below 0 for positives.
LX_INLINE float weight_at(float p, float q, float rate) {
  return exponential(rate > 0 ? -rate * q : rate * p);
}

// Sums over the members of a distribution: of the weights, and of p and 1 - p times the weight.
struct Moments {
  double weight = 0, p = 0, q = 0;

  LX_INLINE void add(double w, double wp, double wq) { weight += w, p += wp, q += wq; }
};

// The means of p and 1 - p over a distribution, and `empty` in place of that of p without members.
// `poison` is NaN where a logit or a label is no good, and 0 otherwise.
struct Expectation {
  float total, mean, rest, rate;

  LX_INLINE Expectation(const Moments &sums, float rate, float empty, float poison)
      : total(static_cast<float>(sums.weight)), mean(empty), rest(poison), rate(rate) {
    if (sums.weight == 0) return;
    mean = static_cast<float>(sums.p / sums.weight) + poison;
    rest = static_cast<float>(sums.q / sums.weight) + poison;
  }
  // The derivative of the mean with respect to the p of a member, through the weights too.
  LX_INLINE float slope(float p, float q) const {
    // The difference of the smaller numbers, because close to 1 the slope would lose digits.
    const float beyond = mean < rest ? p - mean : rest - q;
    return weight_at(p, q, rate) / total * (1.0f + rate * beyond);
  }
};

// The loss of the distance between both means, and its derivative with respect to that distance.
LX_INLINE Slope ranked_apart(const Expectation &hardest, const Expectation &easiest,
                             float sharpness, float tau, float margin) {
  const Logistic z = logistic(sharpness * (hardest.mean - easiest.mean + margin));
  return {tau / sharpness * z.miss, tau * z.p};
}

}  // namespace lossexport

#ifdef LX_DEVICE
LX_KERNEL void dr_loss(const LX_T *logits, const long long *labels, int rows, int classes,
                       LX_T *loss
#ifdef LX_GRADIENT
                       ,
                       LX_T *grad
#endif
) {
  using namespace lossexport;
  LX_SHARED double table[DISTRIBUTION_THREADS];
  const float rising = 1.0f / LX_NEG_LAMBDA, falling = -1.0f / LX_POS_LAMBDA;
  const unsigned columns = static_cast<unsigned>(classes);
  const unsigned count = static_cast<unsigned>(rows) * columns;
  Moments negatives, positives;
  double poison = 0;
  for (unsigned i = threadIdx.x; i < count; i += DISTRIBUTION_THREADS) {
    const float logit = load(logits[i]);
    const long long label = labels[i / columns];
    const Logistic x = logistic(logit);
    poison += label < -1 || label > classes ? from_bits(0x7fc00000u) : logit * 0.0f;
    if (label < 0) continue;
    const bool positive = label == static_cast<long long>(i % columns) + 1;
    const float weight = weight_at(x.p, x.q, positive ? falling : rising);
    (positive ? positives : negatives).add(weight, weight * x.p, weight * x.q);
  }
  const auto all = [&](double mine) { return total_of<DISTRIBUTION_THREADS>(mine, table); };
  const auto sums = [&](const Moments &mine) {
    Moments found;
    found.weight = all(mine.weight), found.p = all(mine.p), found.q = all(mine.q);
    return found;
  };
  const float spoilt = static_cast<float>(all(poison));
  const Expectation hardest(sums(negatives), rising, 0.0f, spoilt);
  const Expectation easiest(sums(positives), falling, 1.0f, spoilt);
  const Slope here = ranked_apart(hardest, easiest, LX_L, LX_TAU, LX_MARGIN);
  if (threadIdx.x == 0) store(loss, here.loss);
#ifdef LX_GRADIENT
  for (unsigned i = threadIdx.x; i < count; i += DISTRIBUTION_THREADS) {
    const Logistic x = logistic(load(logits[i]));
    const long long label = labels[i / columns];
    const bool positive = label == static_cast<long long>(i % columns) + 1;
    const float slope = positive ? -easiest.slope(x.p, x.q) : hardest.slope(x.p, x.q);
    store(grad + i, (label < 0 ? 0.0f : here.slope * slope * (x.p * x.q)) + spoilt);
  }
#endif
}
#endif

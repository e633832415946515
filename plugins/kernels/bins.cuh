// Distribution focal loss, with the gradient: the arithmetic of
// lossexport/families/quality/functions.py. Li et al. (arXiv 2006.04388), eq. 6.
//
// Macros: LX_T, LX_REDUCTION, LX_MARGIN, and LX_GRADIENT where the gradient is written too. Launch:
// a thread a row of bins in blocks of BINS_THREADS, or one block where there is a reduction.
#pragma once

#include "logistic.cuh"
#include "reduce.cuh"
#include "rivals.cuh"

namespace lossexport {

constexpr int BINS_THREADS = 256;

// The bins beside a distance: the nearer one, the one on the other side, which need not exist, and
// the share of the other, at most one half.
struct Beside {
  int nearest, other;
  float share;

  LX_INLINE Beside(float distance, int bins, float margin) {
    const float held = at_least(at_most(distance, static_cast<float>(bins - 1) - margin), 0.0f);
    nearest = static_cast<int>(held == held ? held + 0.5f : 0.0f);
    nearest = nearest < bins ? nearest : bins - 1;
    const float beyond = held - static_cast<float>(nearest);
    other = beyond < 0 ? nearest - 1 : nearest + 1;
    share = magnitude(beyond);
  }
};

// The loss and its derivative by the logit of the nearer bin; `lead` is how much larger the logit of
// the other one is. Of the rest it is q times their share in the rest, less `share` at the other.
LX_INLINE Slope distribution_focal(float margin, float share, float lead, float *q) {
  const Logistic z = logistic(margin);
  *q = z.q;
  return {z.hit - share * lead, share - z.q};
}

}  // namespace lossexport

#ifdef LX_DEVICE
LX_KERNEL void distribution_focal_loss(const LX_T *logits, const LX_T *target, int rows, int bins,
                                       LX_T *loss
#ifdef LX_GRADIENT
                                       ,
                                       LX_T *grad
#endif
) {
  using namespace lossexport;
  spread<BINS_THREADS>(rows, loss, [=](unsigned i, float scale) {
    const float distance = load(target[i]);
    const Beside beside(distance, bins, LX_MARGIN);
    Row row(logits + static_cast<long long>(i) * bins, bins, beside.nearest);
    row.poison += distance * 0.0f;
    const Rivals rivals(row);
    const bool exists = beside.other >= 0 && beside.other < bins;
    const float lead = exists ? row[beside.other] - rivals.label : 0.0f;
    float q;
    const Slope here = distribution_focal(rivals.margin(), beside.share, lead, &q);
#ifdef LX_GRADIENT
    for (int k = 0; k < bins; ++k) {
      const float rest = q * rivals.share(row, k) - (k == beside.other ? beside.share : 0.0f);
      store(grad + static_cast<long long>(i) * bins + k,
            scale * (k == beside.nearest ? here.slope : rest));
    }
#endif
    return here.loss;
  });
}
#endif

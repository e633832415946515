// GHM-C and GHM-R: the arithmetic of lossexport/families/ghm/functions.py. Li et al. (arXiv
// 1811.05181), eq. 8 to 12.
//
// On a GPU these are four kernels, each the body of a node. The lower edges of the bins, with which
// the elements are compared, are compiled in.
//   ghm_counts   a b weight -> partial_count[GHM_BLOCKS,B]      GHM_BLOCKS blocks of GHM_THREADS
//   ghm_weights  partial_count[P,B] bin_count[B] -> bin_weight[B] new_bin_count[B]     one block
//   ghm_terms    a b weight bin_weight[B] -> partial_loss[GHM_BLOCKS] (grad)       as ghm_counts
//   ghm_total    partial_loss[P] -> loss[]                                             one block
// a, b are logits and target, or pred and target, of `count` elements; P, the
// number of partial results, is 1 or GHM_BLOCKS. Macros: LX_T, LX_REGRESSION (0 or 1), LX_BINS,
// LX_EDGES ({...}), LX_MOMENTUM, LX_MU.
#pragma once

#include "reduce.cuh"

namespace lossexport {

constexpr int GHM_THREADS = 256;
constexpr int GHM_BLOCKS = 256;

// An element: its loss and slope before they are weighted, and what the edges of the bins cut.
struct Harmonic {
  float loss, slope, height;
};

// For hard targets: the cross entropy of the logit of the wrong answer with a target of 0.
LX_INLINE Harmonic classified(float logit, float target) {
  const float x = logit + (target * 0.0f + logit * 0.0f);
  const float wrong = target > 0.5f ? -x : x;
  const float tail = exponential(-magnitude(wrong));
  const float sigmoid = (wrong < 0 ? tail : 1.0f) / (1.0f + tail);
  return {at_least(wrong, 0.0f) + log_one_plus(tail), target > 0.5f ? -sigmoid : sigmoid, wrong};
}

LX_INLINE Harmonic regressed(float pred, float target, float mu) {
  const float raw = pred - target;
  const float d = raw + raw * 0.0f;
  const float root = square_root(d * d + mu * mu);
  return {d * d / (root + mu), d / root, magnitude(d)};
}

// The bin of a height: the last whose lower edge it reaches, -1 below all of them and for NaN.
LX_INLINE int bin_of(float height, const float *edges, int bins) {
  int bin = -1;
  for (int i = 0; i < bins; ++i) bin += height >= edges[i] ? 1 : 0;
  return bin;
}

// The running count of a bin, and the weight of its elements: one over the count and over the
// number of bins that are not empty.
LX_INLINE float density_of(float count, float running, float momentum) {
  if (!(momentum > 0)) return count;
  return count > 0 ? momentum * running + (1.0f - momentum) * count : running;
}

LX_INLINE float weight_of(float count, float density, float filled) {
  return count > 0 ? 1.0f / at_least(density * filled, TINY) : 0.0f;
}

}  // namespace lossexport

#ifdef LX_DEVICE
namespace lossexport {

__device__ inline Harmonic element(const LX_T *a, const LX_T *b, unsigned i) {
#if LX_REGRESSION
  return regressed(load(a[i]), load(b[i]), LX_MU);
#else
  return classified(load(a[i]), load(b[i]));
#endif
}

}  // namespace lossexport

#if defined(LX_GHM_COUNTS)
LX_KERNEL void ghm_counts(const LX_T *a, const LX_T *b, const LX_T *weight, int count,
                          float *partial_count) {
  using namespace lossexport;
  constexpr float EDGES[LX_BINS] = LX_EDGES;
  // One thread for each bin counts what the block has seen: whole numbers without atomics.
  LX_SHARED int bins[GHM_THREADS];
  const int thread = static_cast<int>(threadIdx.x);
  int own[(LX_BINS + GHM_THREADS - 1) / GHM_THREADS] = {};
  // Unsigned: the last step may go beyond the largest int.
  const unsigned stride = GHM_BLOCKS * GHM_THREADS, all = static_cast<unsigned>(count);
  for (unsigned first = blockIdx.x * GHM_THREADS; first < all; first += stride) {
    const unsigned i = first + threadIdx.x;
    LX_SYNC();
    bins[thread] =
        i < count && load(weight[i]) > 0 ? bin_of(element(a, b, i).height, EDGES, LX_BINS) : -1;
    LX_SYNC();
    for (int bin = thread, k = 0; bin < LX_BINS; bin += GHM_THREADS, ++k)
      for (int t = 0; t < GHM_THREADS; ++t) own[k] += bins[t] == bin;
  }
  for (int bin = thread, k = 0; bin < LX_BINS; bin += GHM_THREADS, ++k)
    partial_count[static_cast<int>(blockIdx.x) * LX_BINS + bin] = static_cast<float>(own[k]);
}
#elif defined(LX_GHM_WEIGHTS)
LX_KERNEL void ghm_weights(const float *partial_count, const float *bin_count, int parts,
                           float *bin_weight, float *new_bin_count) {
  using namespace lossexport;
  LX_SHARED float counts[LX_BINS];
  const int thread = static_cast<int>(threadIdx.x);
  for (int bin = thread; bin < LX_BINS; bin += GHM_THREADS) {
    int sum = 0;
    for (int part = 0; part < parts; ++part)
      sum += static_cast<int>(partial_count[part * LX_BINS + bin]);
    counts[bin] = static_cast<float>(sum);
  }
  LX_SYNC();
  float filled = 0.0f;
  for (int bin = 0; bin < LX_BINS; ++bin) filled += counts[bin] > 0 ? 1.0f : 0.0f;
  for (int bin = thread; bin < LX_BINS; bin += GHM_THREADS) {
    const float running = bin_count[bin] + bin_count[bin] * 0.0f;
    const float density = density_of(counts[bin], running, LX_MOMENTUM);
    bin_weight[bin] = weight_of(counts[bin], density, filled);
    new_bin_count[bin] = LX_MOMENTUM > 0 ? density : running;
  }
}
#elif defined(LX_GHM_TERMS)
LX_KERNEL void ghm_terms(const LX_T *a, const LX_T *b, const LX_T *weight, const float *bin_weight,
                         int count, float *partial_loss
#ifdef LX_GRADIENT
                         ,
                         LX_T *grad
#endif
) {
  using namespace lossexport;
  constexpr float EDGES[LX_BINS] = LX_EDGES;
  LX_SHARED float table[GHM_THREADS];
  const int thread = static_cast<int>(threadIdx.x);
  const unsigned stride = GHM_BLOCKS * GHM_THREADS, all = static_cast<unsigned>(count);
  float sum = 0.0f;
  for (unsigned i = blockIdx.x * GHM_THREADS + threadIdx.x; i < all; i += stride) {
    const Harmonic here = element(a, b, i);
    const float given = load(weight[i]);
    const int bin = given > 0 ? bin_of(here.height, EDGES, LX_BINS) : -1;
    // NaN and infinity come out as NaN, whatever the weight.
    const float share = (bin < 0 ? 0.0f : bin_weight[bin]) + given * 0.0f;
    sum += share * here.loss;
#ifdef LX_GRADIENT
    store(grad + i, share * here.slope);
#endif
  }
  sum = total_of<GHM_THREADS>(sum, table);
  if (thread == 0) partial_loss[blockIdx.x] = sum;
}
#elif defined(LX_GHM_TOTAL)
LX_KERNEL void ghm_total(const float *partial_loss, int parts, LX_T *loss) {
  using namespace lossexport;
  LX_SHARED float table[GHM_THREADS];
  const int thread = static_cast<int>(threadIdx.x);
  float sum = 0.0f;
  for (int part = thread; part < parts; part += GHM_THREADS) sum += partial_loss[part];
  sum = total_of<GHM_THREADS>(sum, table);
  if (thread == 0) store(loss, sum);
}
#endif
#endif

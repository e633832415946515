// AP loss: the arithmetic of lossexport/families/ranking/functions.py. Chen et al. (arXiv
// 1904.06373), algorithm 1.
//
// On a GPU these are four kernels, each the body of a node. The tensors between them have a slot
// for each positive, LX_MAX_POSITIVES in all.
//   ap_positives  logits[K] target[K] -> score[P] place[P]        one block of RANK_THREADS threads
//   ap_counts     logits[K] target[K] score[P] -> above[P] level[P]   one such block per positive
//   ap_shares     score[P] place[P] above[P] level[P] -> loss[] share[P]   one such block
//   ap_update     logits[K] target[K] score[P] place[P] above[P] share[P] -> grad_logits[K]
//                                                                 one thread per element
// A slot without a positive has place -1. Macros: LX_T, LX_DELTA, LX_MAX_POSITIVES.
#pragma once

#include "reduce.cuh"

namespace lossexport {

constexpr int RANK_THREADS = 256;

// 2 delta H(score - row): how far a score is above another, softly, in [0, 2 delta].
LX_INLINE float ramp(float score, float row, float delta) {
  return at_most(at_least((score - row) + delta, 0.0f), 2.0f * delta);
}

// The part of the ranking above a positive that is wrong.
LX_INLINE float ranking_error(float above, float level) { return above / (level + above); }

// What a negative gets for each unit of `ramp` above a positive.
LX_INLINE float pull_of(float share, float above) { return share / at_least(above, TINY); }

}  // namespace lossexport

#ifdef LX_DEVICE
#if defined(LX_AP_POSITIVES)
LX_KERNEL void ap_positives(const LX_T *logits, const long long *target, int k, float *score,
                            long long *place) {
  using namespace lossexport;
  LX_SHARED int before[RANK_THREADS];
  const int thread = static_cast<int>(threadIdx.x);
  // Each thread counts the positives of a stretch of its own, then writes them behind those before.
  const unsigned all = static_cast<unsigned>(k), stretch = all / RANK_THREADS + 1;
  const unsigned first = threadIdx.x * stretch;
  const unsigned last = first + stretch < all ? first + stretch : all;
  int own = 0;
  for (unsigned i = first; i < last; ++i) own += target[i] == 1;
  before[thread] = own;
  LX_SYNC();
  int slot = 0, total = 0;
  for (int t = 0; t < RANK_THREADS; ++t) {
    slot += t < thread ? before[t] : 0;
    total += before[t];
  }
  // Too many positives for the slots: everything becomes NaN.
  const bool fits = total <= LX_MAX_POSITIVES;
  for (unsigned i = first; i < last && fits; ++i) {
    if (target[i] != 1) continue;
    score[slot] = load(logits[i]);
    place[slot++] = static_cast<long long>(i);
  }
  for (int i = (fits ? total : 0) + thread; i < LX_MAX_POSITIVES; i += RANK_THREADS) {
    score[i] = fits ? 0.0f : from_bits(0x7fc00000u);
    place[i] = -1;
  }
}
#elif defined(LX_AP_COUNTS)
LX_KERNEL void ap_counts(const LX_T *logits, const long long *target, const float *score, int k,
                         float *above, float *level) {
  using namespace lossexport;
  LX_SHARED float table[RANK_THREADS];
  const float row = score[blockIdx.x];
  float higher = row * 0.0f, equals = 0.0f;  // NaN where a logit is not finite
  for (unsigned i = threadIdx.x; i < static_cast<unsigned>(k); i += RANK_THREADS) {
    const float logit = load(logits[i]);
    higher += logit * 0.0f;
    if (target[i] == 0) higher += ramp(logit, row, LX_DELTA);
    if (target[i] == 1) equals += ramp(logit, row, LX_DELTA);
  }
  higher = total_of<RANK_THREADS>(higher, table);
  equals = total_of<RANK_THREADS>(equals, table);
  if (threadIdx.x != 0) return;
  above[blockIdx.x] = higher;
  level[blockIdx.x] = LX_DELTA + equals;
}
#elif defined(LX_AP_SHARES)
LX_KERNEL void ap_shares(const float *score, const long long *place, const float *above,
                         const float *level, LX_T *loss, float *share) {
  using namespace lossexport;
  LX_SHARED float table[RANK_THREADS];
  const int thread = static_cast<int>(threadIdx.x);
  int count = 0;
  float poison = 0.0f;
  for (int i = 0; i < LX_MAX_POSITIVES; ++i) {
    count += place[i] >= 0;
    poison += above[i] * 0.0f;
  }
  float sum = 0.0f;
  for (int i = thread; i < LX_MAX_POSITIVES; i += RANK_THREADS) {
    float least = 1.0f;
    for (int other = 0; other < LX_MAX_POSITIVES; ++other)
      if (place[other] >= 0 && score[other] <= score[i])
        least = at_most(least, ranking_error(above[other], level[other]));
    share[i] = place[i] < 0 ? poison : least / static_cast<float>(count) + poison;
    sum += share[i];
  }
  sum = total_of<RANK_THREADS>(sum, table);
  if (thread == 0) store(loss, sum);
}
#elif defined(LX_AP_UPDATE)
LX_KERNEL void ap_update(const LX_T *logits, const long long *target, const float *score,
                         const long long *place, const float *above, const float *share, int k,
                         LX_T *grad) {
  using namespace lossexport;
  LX_SHARED float rows[RANK_THREADS], pulls[RANK_THREADS];
  LX_SHARED int places[RANK_THREADS];
  const int thread = static_cast<int>(threadIdx.x);
  const int own = static_cast<int>(blockIdx.x * blockDim.x) + thread;
  const float logit = own < k ? load(logits[own]) : 0.0f;
  const long long kind = own < k ? target[own] : -1;
  float update = 0.0f;
  for (int first = 0; first < LX_MAX_POSITIVES; first += RANK_THREADS) {
    const int count =
        LX_MAX_POSITIVES - first < RANK_THREADS ? LX_MAX_POSITIVES - first : RANK_THREADS;
    LX_SYNC();
    if (thread < count) {
      places[thread] = static_cast<int>(place[first + thread]);
      rows[thread] = score[first + thread];
      pulls[thread] = share[first + thread];
    }
    LX_SYNC();
    for (int i = 0; i < count; ++i) {
      update += pulls[i] * 0.0f;  // NaN where a logit is not finite
      if (places[i] < 0) continue;
      if (kind == 0) update += ramp(logit, rows[i], LX_DELTA) * pull_of(pulls[i], above[first + i]);
      if (places[i] == own) update -= pulls[i];
    }
  }
  if (own < k) store(grad + own, update);
}
#endif
#endif

// Variance voting: a pick moves to the mean of the boxes around it, weighted by certainty.
//
// Macros: LX_T, LX_HARD (0 or 1), LX_SIGMA_T, LX_SOFT_SIGMA, LX_IOU_THRESHOLD, LX_VOTE_THRESHOLD,
// LX_SCORE_THRESHOLD, LX_OFFSET, LX_MAX_OUTPUT. Launch: one block of PICKERS threads, for at most
// SCORED_BOXES boxes.
#pragma once

#include "suppression.cuh"

#ifdef LX_DEVICE
namespace lossexport {

// Sums, or with `LARGER` maxima, over all threads of four numbers each, for all of them.
template <bool LARGER>
__device__ inline void over_threads(float *four, float (*table)[4]) {
  const int thread = static_cast<int>(threadIdx.x);
  LX_SYNC();
  for (int c = 0; c < 4; ++c) table[thread][c] = four[c];
  LX_SYNC();
  for (int step = PICKERS / 2; step > 0; step /= 2) {
    if (thread < step) {
      for (int c = 0; c < 4; ++c) {
        const float other = table[thread + step][c];
        float &own = table[thread][c];
        own = LARGER ? at_least(own, other) : own + other;
      }
    }
    LX_SYNC();
  }
  for (int c = 0; c < 4; ++c) four[c] = table[0][c];
}

}  // namespace lossexport

LX_KERNEL void LX_BOUNDS(lossexport::PICKERS)
    variance_voting(const LX_T *boxes, const LX_T *scores, const LX_T *log_variance, int n,
                    long long *indices, LX_T *new_boxes, LX_T *new_scores, long long *count) {
  using namespace lossexport;
  constexpr int OWN = SCORED_BOXES / PICKERS;
  LX_SHARED Candidate table[PICKERS];
  LX_SHARED float sums[PICKERS][4];
  const int thread = static_cast<int>(threadIdx.x);
  float left[OWN], iou[OWN];
  Candidate best = {OUT, NOWHERE};
#pragma unroll
  for (int i = 0; i < OWN; ++i) {
    const int place = thread + i * PICKERS;
    bool takes_part = place < n && usable(boxes, scores, place, 0.0f);
    for (int c = 0; takes_part && c < 4; ++c)
      takes_part = is_finite(load(log_variance[4 * place + c]));
    left[i] = takes_part ? load(scores[place]) : OUT;
    const Candidate here = {left[i], place};
    if (takes_part && before(here, best)) best = here;
  }
  int picked = 0;
  for (; picked < LX_MAX_OUTPUT; ++picked) {
    const Candidate pick = first_of(best, table);
    if (pick.place == NOWHERE) break;
    const Box box = load_box<IOU>(boxes + 4 * pick.place, LX_OFFSET);
    const float start[4] = {box.x1, box.y1, box.x2, box.y2};
    // Weights are shifted by the largest, so that they neither overflow nor all vanish.
    float most[4] = {-LARGEST, -LARGEST, -LARGEST, -LARGEST};
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
      const int place = thread + i * PICKERS;
      iou[i] = 0.0f;
      if (left[i] < 0) continue;
      const auto m = meet<true>(box, load_box<IOU>(boxes + 4 * place, LX_OFFSET), LX_OFFSET);
      // A box without area also overlaps itself fully.
      iou[i] = place == pick.place ? 1.0f : ratio(m.intersection, m.together);
      if (!(iou[i] > LX_VOTE_THRESHOLD)) continue;
      for (int c = 0; c < 4; ++c)
        most[c] =
            at_least(most[c], closeness(iou[i], LX_SIGMA_T) - load(log_variance[4 * place + c]));
    }
    over_threads<true>(most, sums);
    float weights[4] = {0, 0, 0, 0}, shifts[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
      const int place = thread + i * PICKERS;
      if (left[i] < 0 || !(iou[i] > LX_VOTE_THRESHOLD)) continue;
      for (int c = 0; c < 4; ++c) {
        const float exponent = closeness(iou[i], LX_SIGMA_T) - load(log_variance[4 * place + c]);
        const float weight = exponential(exponent - most[c]);
        weights[c] += weight;
        shifts[c] += weight * (load(boxes[4 * place + c]) - start[c]);
      }
    }
    over_threads<false>(weights, sums);
    over_threads<false>(shifts, sums);
    if (thread == 0) {
      indices[picked] = pick.place;
      store(new_scores + picked, pick.score);
      for (int c = 0; c < 4; ++c)
        store(new_boxes + 4 * picked + c, start[c] + shifts[c] / weights[c]);
    }
    best = {OUT, NOWHERE};
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
      const int place = thread + i * PICKERS;
      left[i] = place == pick.place ? OUT
                                    : after_vote(left[i], iou[i], LX_HARD, LX_IOU_THRESHOLD,
                                                 LX_SOFT_SIGMA, LX_SCORE_THRESHOLD);
      const Candidate here = {left[i], place};
      if (left[i] >= 0 && before(here, best)) best = here;
    }
  }
  for (int slot = picked + thread; slot < LX_MAX_OUTPUT; slot += PICKERS) {
    indices[slot] = -1;
    store(new_scores + slot, 0.0f);
    for (int c = 0; c < 4; ++c) store(new_boxes + 4 * slot + c, 0.0f);
  }
  if (thread == 0) *count = picked;
}
#endif

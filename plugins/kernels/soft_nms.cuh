// Soft-NMS: a pick lowers the scores of what it overlaps.
//
// Macros: LX_T, LX_SIGMA, LX_SCORE_THRESHOLD, LX_MAX_OUTPUT. Launch: one block of PICKERS threads,
// for at most SCORED_BOXES boxes.
#pragma once

#include "suppression.cuh"

#ifdef LX_DEVICE
LX_KERNEL void LX_BOUNDS(lossexport::PICKERS)
    soft_nms(const LX_T *boxes, const LX_T *scores, int n, long long *indices, LX_T *new_scores,
             long long *count) {
  using namespace lossexport;
  constexpr int OWN = SCORED_BOXES / PICKERS;
  LX_SHARED Candidate table[PICKERS];
  const int thread = static_cast<int>(threadIdx.x);
  float left[OWN];
  Candidate best = {OUT, NOWHERE};
#pragma unroll
  for (int i = 0; i < OWN; ++i) {
    const int place = thread + i * PICKERS;
    const bool takes_part = place < n && usable(boxes, scores, place, LX_SCORE_THRESHOLD);
    left[i] = takes_part ? load(scores[place]) : OUT;
    const Candidate here = {left[i], place};
    if (takes_part && before(here, best)) best = here;
  }
  int picked = 0;
  for (; picked < LX_MAX_OUTPUT; ++picked) {
    const Candidate pick = first_of(best, table);
    if (pick.place == NOWHERE || pick.score < LX_SCORE_THRESHOLD) break;
    if (thread == 0) {
      indices[picked] = pick.place;
      store(new_scores + picked, pick.score);
    }
    const Box box = load_box<IOU>(boxes + 4 * pick.place);
    best = {OUT, NOWHERE};
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
      const int place = thread + i * PICKERS;
      if (place == pick.place) left[i] = OUT;
      if (left[i] < 0) continue;
      left[i] = fade(left[i], rivalry<IOU>(box, load_box<IOU>(boxes + 4 * place), 1.0f), LX_SIGMA);
      const Candidate here = {left[i], place};
      if (before(here, best)) best = here;
    }
  }
  for (int slot = picked + thread; slot < LX_MAX_OUTPUT; slot += PICKERS) {
    indices[slot] = -1;
    store(new_scores + slot, 0.0f);
  }
  if (thread == 0) *count = picked;
}
#endif

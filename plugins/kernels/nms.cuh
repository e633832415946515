// Greedy NMS by IoU or DIoU, or by the IoU of rotated boxes: one bit for each box says whether it is
// still a candidate.
//
// Macros: LX_T, LX_METRIC (0 or 2) or LX_ROTATED, LX_IOU_THRESHOLD, LX_SCORE_THRESHOLD, LX_BETA, LX_MAX_OUTPUT.
// Launch: one block of PICKERS threads, for at most MASK_BOXES boxes.
#pragma once

#include "rotated.cuh"
#include "suppression.cuh"

#ifdef LX_DEVICE
namespace lossexport {
#ifdef LX_ROTATED
constexpr int NUMBERS = 5;
__device__ inline Rotated load_rival(const LX_T *box) { return load_rotated(box); }
__device__ inline float rivals_overlap(const Rotated &a, const Rotated &b) {
  return rotated_iou(a, b);
}
#else
constexpr int NUMBERS = 4;
constexpr Metric RIVALRY = static_cast<Metric>(LX_METRIC);
__device__ inline Box load_rival(const LX_T *box) { return load_box<RIVALRY>(box); }
__device__ inline float rivals_overlap(const Box &a, const Box &b) {
  return rivalry<RIVALRY>(a, b, LX_BETA);
}
#endif
}  // namespace lossexport

LX_KERNEL void LX_BOUNDS(lossexport::PICKERS)
    nms(const LX_T *boxes, const LX_T *scores, int n, long long *indices, long long *count) {
  using namespace lossexport;
  LX_SHARED Candidate table[PICKERS];
  const int thread = static_cast<int>(threadIdx.x);
  unsigned alive = 0;
  Candidate best = {OUT, NOWHERE};
  for (int bit = 0, place = thread; place < n; ++bit, place += PICKERS) {
    if (!usable<NUMBERS>(boxes, scores, place, LX_SCORE_THRESHOLD)) continue;
    alive |= 1u << bit;
    const Candidate here = {load(scores[place]), place};
    if (before(here, best)) best = here;
  }
  int picked = 0;
  for (; picked < LX_MAX_OUTPUT; ++picked) {
    const Candidate pick = first_of(best, table);
    if (pick.place == NOWHERE) break;
    if (thread == 0) indices[picked] = pick.place;
    const auto box = load_rival(boxes + NUMBERS * pick.place);
    best = {OUT, NOWHERE};
    for (int bit = 0, place = thread; place < n; ++bit, place += PICKERS) {
      if (!(alive >> bit & 1u)) continue;
      if (place == pick.place ||
          rivals_overlap(box, load_rival(boxes + NUMBERS * place)) > LX_IOU_THRESHOLD) {
        alive &= ~(1u << bit);
        continue;
      }
      const Candidate here = {load(scores[place]), place};
      if (before(here, best)) best = here;
    }
  }
  for (int slot = picked + thread; slot < LX_MAX_OUTPUT; slot += PICKERS) indices[slot] = -1;
  if (thread == 0) *count = picked;
}
#endif

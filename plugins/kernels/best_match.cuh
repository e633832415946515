// The best reference of every prediction and the best prediction of every reference, in memory of
// the size of the boxes: each is found by a walk along its row or its column.
//
// Macros: LX_T, LX_METRIC, LX_EPS. Launch: blocks of MATCH_BOXES threads, one for each box; the
// first cdiv(n, MATCH_BOXES) blocks take the predictions, the rest the references.
#pragma once

#include "boxes.cuh"

namespace lossexport {

constexpr int MATCH_BOXES = 128;
constexpr float NO_SCORE = -LARGEST;

// The score of a box without a partner: 0, or NaN for a box that is not finite.
LX_INLINE float unmatched(const Box &box) { return box.area * 0.0f; }

}  // namespace lossexport

#ifdef LX_DEVICE
LX_KERNEL void best_match(const LX_T *pred, const LX_T *target, int n, int m, LX_T *pred_score,
                          long long *pred_index, LX_T *target_score, long long *target_index) {
  using namespace lossexport;
  constexpr Metric M = static_cast<Metric>(LX_METRIC);
  LX_SHARED Box others[MATCH_BOXES];
  const int thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  const int pred_blocks = (n + MATCH_BOXES - 1) / MATCH_BOXES;
  const bool of_pred = block < pred_blocks;
  const int own_count = of_pred ? n : m, other_count = of_pred ? m : n;
  const int own = (of_pred ? block : block - pred_blocks) * MATCH_BOXES + thread;
  const LX_T *own_boxes = of_pred ? pred : target, *other_boxes = of_pred ? target : pred;
  const Box box = load_box<M>(own_boxes + 4 * (own < own_count ? own : 0));
  float best = NO_SCORE;
  int place = -1;
  for (int first = 0; first < other_count; first += MATCH_BOXES) {
    const int count = other_count - first < MATCH_BOXES ? other_count - first : MATCH_BOXES;
    if (thread < count) others[thread] = load_box<M>(other_boxes + 4 * (first + thread));
    LX_SYNC();
    for (int i = 0; i < count; ++i) {
      // The prediction first, on either side: CIoU would round differently the other way round.
      const float here =
          of_pred ? score<M>(box, others[i], LX_EPS) : score<M>(others[i], box, LX_EPS);
      if (here > best) best = here, place = first + i;
    }
    LX_SYNC();
  }
  if (own >= own_count) return;
  store((of_pred ? pred_score : target_score) + own, place < 0 ? unmatched(box) : best);
  (of_pred ? pred_index : target_index)[own] = place;
}
#endif

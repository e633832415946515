// NMS, Soft-NMS and variance voting: pick the best box, let it act on the others, repeat. The rules
// are those of lossexport/families/suppression/functions.py.
//
// The kernels are one block of PICKERS threads. A thread owns the boxes thread, thread + PICKERS,
// ... and keeps their changing state in registers, so that one launch without a workspace does it
// all: one bit per box for nms, one score per box for the others.
#pragma once

#include "boxes.cuh"

namespace lossexport {

constexpr int PICKERS = 1024;
constexpr int MASK_BOXES = 32 * PICKERS;    // most boxes of nms
constexpr int SCORED_BOXES = 16 * PICKERS;  // most boxes of soft_nms and variance_voting
// The score of boxes that are picked, removed or unusable: below every one that takes part.
constexpr float OUT = -1.0f;

// A score times exp(-IoU^2 / sigma); 0 where float32 underflows.
LX_INLINE float fade(float score, float iou, float sigma) {
  const float faded = score * exponential(-(iou * iou) / sigma);
  return faded < TINY ? 0.0f : faded;
}

// Exponent of a voter's weight, before its log variance is taken off.
LX_INLINE float closeness(float iou, float sigma_t) {
  const float miss = 1.0f - iou;
  return -(miss * miss) / sigma_t;
}

// The score of a box after another of overlap `iou` is picked; OUT if the box is dropped.
LX_INLINE float after_vote(float score, float iou, bool hard, float iou_threshold, float soft_sigma,
                           float score_threshold) {
  const float fallen = hard ? (iou > iou_threshold ? 0.0f : score) : fade(score, iou, soft_sigma);
  return score < 0 || (fallen < score_threshold && iou > 0) ? OUT : fallen;
}

}  // namespace lossexport

#ifdef LX_DEVICE
namespace lossexport {

// The best score and its place; of equal scores the first.
struct Candidate {
  float score;
  int place;
};

LX_INLINE bool before(const Candidate &a, const Candidate &b) {
  return a.score > b.score || (a.score == b.score && a.place < b.place);
}

constexpr int NOWHERE = 0x7fffffff;

// The first of all threads' candidates, for all of them. `table` has THREADS places.
template <int THREADS = PICKERS>
__device__ inline Candidate first_of(Candidate mine, Candidate *table) {
  const int thread = static_cast<int>(threadIdx.x);
  LX_SYNC();
  table[thread] = mine;
  LX_SYNC();
  for (int step = THREADS / 2; step > 0; step /= 2) {
    if (thread < step && before(table[thread + step], table[thread]))
      table[thread] = table[thread + step];
    LX_SYNC();
  }
  return table[0];
}

template <int NUMBERS = 4, typename T>
__device__ inline bool usable(const T *boxes, const T *scores, int place, float floor) {
  const float score = load(scores[place]);
  float poison = score * 0.0f;
  for (int i = 0; i < NUMBERS; ++i) poison += load(boxes[NUMBERS * place + i]) * 0.0f;
  return poison == 0.0f && score >= floor;
}

}  // namespace lossexport
#endif

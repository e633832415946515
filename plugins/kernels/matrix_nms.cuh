// Matrix NMS: all better boxes of its class lower the score of a box once. The arithmetic of
// lossexport/families/suppression/matrix.py. Wang et al. (arXiv 2003.10152), section 3.3.
//
// Macros: LX_T, LX_LINEAR (0 or 1), LX_SIGMA, LX_SCORE_THRESHOLD, LX_MAX_OUTPUT. Launch: one block
// of PICKERS threads, for at most FADED_BOXES boxes.
#pragma once

#include "suppression.cuh"

namespace lossexport {

constexpr int FADED_BOXES = 8 * PICKERS;

// What a better box, which overlaps this one and by `most` a box better than itself, does to its
// score: the larger the worse. It is the exponent, or less the factor of a linear decay.
template <bool LINEAR>
constexpr float UNHARMED = LINEAR ? -1.0f : 0.0f;

template <bool LINEAR>
LX_INLINE float harm(float overlap, float most) {
  if (!LINEAR) return overlap * overlap - most * most;
  const float rest = 1.0f - most;
  return rest > 0 ? (overlap - 1.0f) / rest : UNHARMED<LINEAR>;
}

// The factor of a score after the largest harm.
template <bool LINEAR>
LX_INLINE float decay(float worst, float sigma) {
  return LINEAR ? 0.0f - worst : exponential(-sigma * worst);
}

}  // namespace lossexport

#ifdef LX_DEVICE
namespace lossexport {

// The boxes, of which those have a `most` of at least 0 that take part.
struct Classed {
  const LX_T *boxes, *scores;
  const long long *labels;
  int count;
  const float *most;

  // Calls `body(other, overlap)` for every better box of the class of a box.
  template <typename Body>
  __device__ void rivals(int place, const Body &body) const {
    const Box box = load_box<IOU>(boxes + 4 * place);
    const Candidate own = {load(scores[place]), place};
    const long long label = labels[place];
    for (int other = 0; other < count; ++other) {
      if (most[other] < 0 || labels[other] != label) continue;
      if (!before({load(scores[other]), other}, own)) continue;
      body(other, rivalry<IOU>(load_box<IOU>(boxes + 4 * other), box, 1.0f));
    }
  }
};

}  // namespace lossexport

LX_KERNEL void LX_BOUNDS(lossexport::PICKERS)
    matrix_nms(const LX_T *boxes, const LX_T *scores, const long long *labels, int n,
               long long *indices, LX_T *new_scores, long long *count) {
  using namespace lossexport;
  constexpr int OWN = FADED_BOXES / PICKERS;
  LX_SHARED Candidate table[PICKERS];
  LX_SHARED float most[FADED_BOXES];  // overlap of a box with a better one; OUT of an unusable box
  const int thread = static_cast<int>(threadIdx.x);
  for (int place = thread; place < n; place += PICKERS)
    most[place] = usable(boxes, scores, place, LX_SCORE_THRESHOLD) ? 0.0f : OUT;
  LX_SYNC();
  const Classed all = {boxes, scores, labels, n, most};
  float left[OWN];
#pragma unroll
  for (int i = 0; i < OWN; ++i) {
    const int place = thread + i * PICKERS;
    left[i] = place < n ? most[place] : OUT;
    if (left[i] < 0) continue;
    all.rivals(place, [&](int, float overlap) { left[i] = at_least(left[i], overlap); });
  }
  LX_SYNC();
  for (int i = 0; i < OWN && thread + i * PICKERS < n; ++i) most[thread + i * PICKERS] = left[i];
  LX_SYNC();
  Candidate best = {OUT, NOWHERE};
#pragma unroll
  for (int i = 0; i < OWN; ++i) {
    const int place = thread + i * PICKERS;
    if (left[i] < 0) continue;
    float worst = UNHARMED<LX_LINEAR>;
    all.rivals(place, [&](int other, float overlap) {
      worst = at_least(worst, harm<LX_LINEAR>(overlap, most[other]));
    });
    const float faded = load(scores[place]) * decay<LX_LINEAR>(worst, LX_SIGMA);
    left[i] = faded >= LX_SCORE_THRESHOLD ? faded : OUT;
    const Candidate here = {left[i], place};
    if (left[i] >= 0 && before(here, best)) best = here;
  }
  int picked = 0;
  for (; picked < LX_MAX_OUTPUT; ++picked) {
    const Candidate pick = first_of(best, table);
    if (pick.place == NOWHERE) break;
    if (thread == 0) {
      indices[picked] = pick.place;
      store(new_scores + picked, pick.score);
    }
    if (pick.place % PICKERS != thread) continue;
    best = {OUT, NOWHERE};
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
      const int place = thread + i * PICKERS;
      if (place == pick.place) left[i] = OUT;
      const Candidate here = {left[i], place};
      if (left[i] >= 0 && before(here, best)) best = here;
    }
  }
  for (int slot = picked + thread; slot < LX_MAX_OUTPUT; slot += PICKERS) {
    indices[slot] = -1;
    store(new_scores + slot, 0.0f);
  }
  if (thread == 0) *count = picked;
}
#endif

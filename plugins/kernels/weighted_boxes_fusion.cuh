// Weighted boxes fusion: the arithmetic of lossexport/families/suppression/fusion.py. Solovyev et al.
// (arXiv 1910.13302), and ensemble-boxes 1.0.9.
//
// Macros: LX_T, LX_IOU_THRESHOLD, LX_SKIP_THRESHOLD, LX_MODE, LX_WEIGHTS ({...}), LX_MODELS (how many
// weights there are), LX_ALLOWS_OVERFLOW (0 or 1), LX_MAX_OUTPUT. Launch: one block of PICKERS
// threads, for at most FUSED_BOXES boxes.
#pragma once

#include "reduce.cuh"
#include "suppression.cuh"

namespace lossexport {

constexpr int FUSED_BOXES = 4 * PICKERS;
enum FusionMode { AVG = 0, MAX_SCORE = 1, BOX_AND_MODEL_AVG = 2, ABSENT_MODEL_AWARE_AVG = 3 };

// A box inside of the image with its corners in order, and whether it has an area and no NaN or
// infinity in it.
struct Clipped {
  float corners[4];
  bool solid;

  template <typename T>
  LX_INLINE explicit Clipped(const T *given) {
    float inside[4], poison = 0.0f;
    for (int k = 0; k < 4; ++k) {
      const float x = load(given[k]);
      inside[k] = at_most(at_least(x, 0.0f), 1.0f);
      poison += x * 0.0f;
    }
    for (int k = 0; k < 2; ++k) {
      corners[k] = at_most(inside[k], inside[k + 2]);
      corners[k + 2] = at_least(inside[k], inside[k + 2]);
    }
    solid = poison == 0.0f && corners[2] - corners[0] > 0 && corners[3] - corners[1] > 0;
  }
  LX_INLINE Box box() const {
    return make_box<IOU>(corners[0], corners[1], corners[2], corners[3]);
  }
};

// Boxes that are fused: their mean, sums of corners times scores, of scores and of weights, the best
// score, how many they are, and the weights of the different models.
struct Cluster {
  float corners[4], sums[4];
  float total, most, number, weights, models;

  LX_INLINE Box box() const {
    return make_box<IOU>(corners[0], corners[1], corners[2], corners[3]);
  }
  // `known`: one of its boxes is of the same model.
  LX_INLINE void add(const Clipped &box, float score, float weight, bool known) {
    total += score;
    for (int k = 0; k < 4; ++k) {
      sums[k] += box.corners[k] * score;
      // One box keeps its own corners; without any score there is no mean.
      if (number == 0)
        corners[k] = box.corners[k];
      else if (total > 0)
        corners[k] = sums[k] / at_least(total, TINY);
    }
    most = at_least(most, score);
    number += 1.0f;
    weights += weight;
    models += known ? 0.0f : weight;
  }
};

// The models of an ensemble: how many, the sum of their weights and the largest weight.
struct Ensemble {
  float number, total, largest;
};

LX_INLINE float fused_score(const Cluster &cluster, const Ensemble &all, FusionMode mode,
                            bool allows_overflow) {
  const float absent = all.total - cluster.models;
  const float counted = allows_overflow ? cluster.number : at_most(cluster.number, all.number);
  switch (mode) {
    case MAX_SCORE:
      return cluster.most / all.largest;
    case BOX_AND_MODEL_AVG:
      return cluster.total / at_least(cluster.weights, TINY) * (cluster.models / all.total);
    case ABSENT_MODEL_AWARE_AVG:
      return cluster.total / at_least(cluster.weights + absent, TINY);
    default:
      return cluster.total / cluster.number * (counted / all.total);
  }
}

}  // namespace lossexport

#ifdef LX_DEVICE
namespace lossexport {

constexpr float WEIGHTS[] = LX_WEIGHTS;

// One weight for each model, or the same for all.
__device__ inline float weight_of(long long model) {
  return WEIGHTS[LX_MODELS > 1 ? (model < LX_MODELS ? model : LX_MODELS - 1) : 0];
}

}  // namespace lossexport

LX_KERNEL void LX_BOUNDS(lossexport::PICKERS)
    weighted_boxes_fusion(const LX_T *boxes, const LX_T *scores, const long long *labels,
                          const long long *models, int n, LX_T *fused_boxes, LX_T *fused_scores,
                          long long *fused_labels, long long *count) {
  using namespace lossexport;
  constexpr int OWN = FUSED_BOXES / PICKERS;
  LX_SHARED Candidate table[PICKERS];
  LX_SHARED long long numbers[PICKERS];
  const int thread = static_cast<int>(threadIdx.x);
  float left[OWN];
  int home[OWN];
  Cluster clusters[OWN];
  Candidate best = {OUT, NOWHERE};
  long long last = 0;
  for (int i = 0; i < OWN; ++i) {
    const int place = thread + i * PICKERS;
    left[i] = OUT, home[i] = NOWHERE, clusters[i] = Cluster{};
    if (place >= n) continue;
    const long long model = models[place];
    const float score = load(scores[place]);
    last = model > last ? model : last;
    if (!(score >= LX_SKIP_THRESHOLD && score >= 0 && is_finite(score))) continue;
    if (model < 0 || (LX_MODELS > 1 && model >= LX_MODELS)) continue;
    if (!Clipped(boxes + 4 * place).solid) continue;
    left[i] = score * weight_of(model);
    const Candidate here = {left[i], place};
    if (before(here, best)) best = here;
  }
  Ensemble all = {LX_MODELS, 0.0f, 0.0f};
  for (const float weight : WEIGHTS)
    all.total += weight, all.largest = at_least(weight, all.largest);
  last = largest_of<PICKERS>(last, numbers);
  if (LX_MODELS == 1) {
    all.number = static_cast<float>(last) + 1.0f;
    all.total = all.number * WEIGHTS[0];
  }

  for (;;) {
    const Candidate pick = first_of(best, table);
    if (pick.place == NOWHERE) break;
    const Clipped given(boxes + 4 * pick.place);
    const Box box = given.box();
    const long long label = labels[pick.place], model = models[pick.place];
    Candidate near = {OUT, NOWHERE};
    for (int i = 0; i < OWN; ++i) {
      const int place = thread + i * PICKERS;
      if (clusters[i].number == 0 || labels[place] != label) continue;
      const Candidate here = {rivalry<IOU>(box, clusters[i].box(), 1.0f), place};
      if (before(here, near)) near = here;
    }
    near = first_of(near, table);
    const int joined = near.score > LX_IOU_THRESHOLD ? near.place : pick.place;
    long long known = 0;
    for (int i = 0; i < OWN; ++i)
      if (home[i] == joined && models[thread + i * PICKERS] == model) known = 1;
    known = largest_of<PICKERS>(known, numbers);
    best = {OUT, NOWHERE};
    for (int i = 0; i < OWN; ++i) {
      const int place = thread + i * PICKERS;
      if (place == joined) clusters[i].add(given, pick.score, weight_of(model), known != 0);
      if (place == pick.place) left[i] = OUT, home[i] = joined;
      const Candidate here = {left[i], place};
      if (left[i] >= 0 && before(here, best)) best = here;
    }
  }

  best = {OUT, NOWHERE};
  for (int i = 0; i < OWN; ++i) {
    left[i] = OUT;
    if (clusters[i].number == 0) continue;
    const float score =
        fused_score(clusters[i], all, static_cast<FusionMode>(LX_MODE), LX_ALLOWS_OVERFLOW);
    left[i] = is_finite(score) ? score : OUT;
    const Candidate here = {left[i], thread + i * PICKERS};
    if (left[i] >= 0 && before(here, best)) best = here;
  }
  int picked = 0;
  for (; picked < LX_MAX_OUTPUT; ++picked) {
    const Candidate pick = first_of(best, table);
    if (pick.place == NOWHERE) break;
    if (pick.place % PICKERS != thread) continue;
    best = {OUT, NOWHERE};
    for (int i = 0; i < OWN; ++i) {
      const int place = thread + i * PICKERS;
      if (place == pick.place) {
        for (int k = 0; k < 4; ++k) store(fused_boxes + 4 * picked + k, clusters[i].corners[k]);
        store(fused_scores + picked, pick.score);
        fused_labels[picked] = labels[place];
        left[i] = OUT;
      }
      const Candidate here = {left[i], place};
      if (left[i] >= 0 && before(here, best)) best = here;
    }
  }
  for (int slot = picked + thread; slot < LX_MAX_OUTPUT; slot += PICKERS) {
    for (int k = 0; k < 4; ++k) store(fused_boxes + 4 * slot + k, 0.0f);
    store(fused_scores + slot, 0.0f);
    fused_labels[slot] = -1;
  }
  if (thread == 0) *count = picked;
}
#endif

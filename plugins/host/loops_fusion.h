// Weighted boxes fusion: the boxes of each label by themselves.
#pragma once

#include "loops_matrix.h"
#include "../kernels/weighted_boxes_fusion.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// The models of an ensemble by their weights: one for each, or one for all.
struct Weights {
  explicit Weights(const Value &value)
      : single(value.number), list(value.list ? value.list : &single) {
    count = value.list ? value.count : 1;
  }
  bool knows(int64_t model) const { return model >= 0 && (count == 1 || model < count); }
  float of(int64_t model) const { return static_cast<float>(list[count == 1 ? 0 : model]); }
  // `models` of all boxes, the last of which is the number where there is one weight.
  Ensemble ensemble(const int64_t *models, int64_t boxes) const {
    Ensemble all = {static_cast<float>(count), 0.0f, 0.0f};
    for (int64_t k = 0; k < count; ++k) {
      all.total += static_cast<float>(list[k]);
      all.largest = at_least(static_cast<float>(list[k]), all.largest);
    }
    if (count > 1) return all;
    int64_t last = 0;
    for (int64_t i = 0; i < boxes; ++i) last = models[i] > last ? models[i] : last;
    all.number = static_cast<float>(last) + 1.0f;
    all.total = all.number * of(0);
    return all;
  }

  double single;
  const double *list;
  int64_t count;
};

// The clusters of boxes of one label, and the boxes that each of them has.
class Clusters {
 public:
  explicit Clusters(int64_t most)
      : planes_(most),
        clusters_(most),
        opener_(most),
        newest_(most),
        older_(most),
        overlap_(most) {}
  int64_t count() const { return count_; }
  Cluster &operator[](int64_t c) { return clusters_[c]; }
  int64_t opener(int64_t c) { return opener_[c]; }
  // The boxes come in order; `place` is that of the `i`th.
  void add(int64_t i, const int64_t *place, const Clipped &given, float score, float weight,
           const int64_t *models, float threshold) {
    int64_t home = nearest(given.box(), threshold);
    if (home < 0) {
      home = count_++;
      clusters_[home] = Cluster{};
      opener_[home] = place[i];
      newest_[home] = -1;
    }
    bool known = false;
    for (int64_t k = newest_[home]; k >= 0 && !known; k = older_[k])
      known = models[place[k]] == models[place[i]];
    older_[i] = newest_[home];
    newest_[home] = i;
    clusters_[home].add(given, score, weight, known);
    planes_.set(home, clusters_[home].box());
  }

 private:
  // The cluster that overlaps the box most, of equal ones that of the first opener; -1 if none is
  // above the threshold.
  int64_t nearest(const Box &box, float threshold) {
    float most = OUT, *overlap = overlap_.data();
#pragma omp simd reduction(max : most)
    for (int64_t c = 0; c < count_; ++c) {
      overlap[c] = rivalry<IOU>(box, planes_[c], 1.0f);
      most = overlap[c] > most ? overlap[c] : most;
    }
    if (!(most > threshold)) return -1;
    int64_t found = -1;
    for (int64_t c = 0; c < count_; ++c)
      if (overlap[c] == most && (found < 0 || opener_[c] < opener_[found])) found = c;
    return found;
  }

  int64_t count_ = 0;
  Planes planes_;
  Buffer<Cluster> clusters_;
  Buffer<int64_t> opener_, newest_, older_;
  Buffer<float> overlap_;
};

void weighted_boxes_fusion(const Call &call) {
  const Floats boxes(call.inputs[0]), given(call.inputs[1]);
  const int64_t *label = labels(call.inputs[2]), *models = labels(call.inputs[3]);
  const float threshold = static_cast<float>(call.attributes[0]);
  const float floor = at_least(static_cast<float>(call.attributes[1]), 0.0f);
  const FusionMode mode = static_cast<FusionMode>(static_cast<int>(call.attributes[2]));
  const Weights weights(call.attributes[3]);
  const bool allows_overflow = call.attributes[4] != 0;
  const int64_t all = given.size();
  const Ensemble ensemble = weights.ensemble(models, all);

  Buffer<float> scores(all);
  Buffer<Rival> rivals(all);
  int64_t count = 0;
  for (int64_t i = 0; i < all; ++i) {
    if (!(given[i] >= floor) || !is_finite(given[i]) || !weights.knows(models[i])) continue;
    if (!Clipped(boxes.data() + 4 * i).solid) continue;
    scores[i] = given[i] * weights.of(models[i]);
    rivals[count++] = as_rival(scores[i], i);
  }
  sort_rivals(rivals.data(), rivals.data() + count, count);
  Groups groups(rivals.data(), count, label);
  Buffer<Cluster> fused(all);  // by the places of the boxes that opened them
  Buffer<float> result(all);   // their scores, OUT where there is none
  for (int64_t i = 0; i < all; ++i) result[i] = OUT;
  each(groups.count, static_cast<double>(count) * static_cast<double>(count), call.threads,
       [&](int64_t group) {
         const int64_t first = groups.first[group], size = groups.first[group + 1] - first;
         const int64_t *place = groups.place.data() + first;
         Clusters clusters(size);
         for (int64_t i = 0; i < size; ++i)
           clusters.add(i, place, Clipped(boxes.data() + 4 * place[i]), scores[place[i]],
                        weights.of(models[place[i]]), models, threshold);
         for (int64_t c = 0; c < clusters.count(); ++c) {
           const float score = fused_score(clusters[c], ensemble, mode, allows_overflow);
           fused[clusters.opener(c)] = clusters[c];
           result[clusters.opener(c)] = is_finite(score) ? score : OUT;
         }
       });

  int64_t found = 0;
  for (int64_t i = 0; i < all; ++i)
    if (result[i] >= 0) rivals[found++] = as_rival(result[i], i);
  const int64_t room = call.outputs[1].shape[0], picked = smaller(found, room);
  sort_rivals(rivals.data(), rivals.data() + found, picked);
  const Sink fused_boxes(call.outputs[0]), fused_scores(call.outputs[1]);
  for (int64_t slot = 0; slot < room; ++slot) {
    const int64_t place = slot < picked ? place_of(rivals[slot]) : -1;
    for (int64_t k = 0; k < 4; ++k)
      fused_boxes.write(4 * slot + k, place < 0 ? 0.0f : fused[place].corners[k]);
    fused_scores.write(slot, place < 0 ? 0.0f : result[place]);
    whole(call.outputs[2])[slot] = place < 0 ? -1 : label[place];
  }
  whole(call.outputs[3])[0] = picked;
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

// Soft-NMS and variance voting, and what NMS has in common with them.
#pragma once

#include "loops_boxes.h"
#include "../kernels/suppression.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// Boxes of finite numbers, scores of at least 0 and finite variances, as planes; OUT is the score
// of the others.
struct Pool {
  Pool(const Floats &boxes, const Floats &given, const Floats &log_variance, float offset)
      : count(given.size()), planes(count), scores(count) {
    for (int64_t i = 0; i < count; ++i) {
      const Box box = load_box<IOU>(boxes.data() + 4 * i, offset);
      bool usable = box.area == box.area && given[i] >= 0 && is_finite(given[i]);
      for (int c = 0; c < 4; ++c) usable = usable && is_finite(log_variance[4 * i + c]);
      planes.set(i, box);
      scores[i] = usable ? given[i] : OUT;
    }
  }
  // The best score, the first of equal ones; -1 where none is left.
  int64_t best() {
    float highest = OUT;
    const float *all = scores.data();
#pragma omp simd reduction(max : highest)
    for (int64_t i = 0; i < count; ++i) highest = all[i] > highest ? all[i] : highest;
    if (highest < 0) return -1;
    int64_t place = 0;
    while (all[place] != highest) ++place;
    return place;
  }
  // Box `pick` and those left that overlap it, in order; returns how many.
  int64_t around(int64_t pick, float offset, int64_t *near) {
    const Box box = planes[pick];
    const auto apart = [&](int64_t i) {
      return scores[i] < 0 || meet<true>(box, planes[i], offset).intersection == 0;
    };
    int64_t found = 0;
    for (int64_t first = 0; first < count; first += LINE) {
      const int64_t last = smaller(first + LINE, count);
      int any = 0;
#pragma omp simd reduction(| : any)
      for (int64_t i = first; i < last; ++i) any |= apart(i) ? 0 : 1;
      if (!any && (pick < first || pick >= last)) continue;
      for (int64_t i = first; i < last; ++i)
        if (i == pick || !apart(i)) near[found++] = i;
    }
    return found;
  }
  int64_t count;
  Planes planes;
  Buffer<float> scores;
};

// Fills the slots from `picked` on with the values for "no box", and writes the count.
void finish(const Call &call, int64_t picked) {
  const int64_t room = call.outputs[0].shape[0];
  int64_t *indices = whole(call.outputs[0]);
  for (int64_t slot = picked; slot < room; ++slot) indices[slot] = -1;
  for (int k = 1; k + 1 < call.output_count; ++k) {
    const Sink out(call.outputs[k]);
    const int64_t width = call.outputs[k].rank == 2 ? 4 : 1;
    for (int64_t i = picked * width; i < room * width; ++i) out.write(i, 0.0f);
  }
  whole(call.outputs[call.output_count - 1])[0] = picked;
}

// The rivals among boxes of finite numbers with scores of at least `floor` and 0; returns how many.
template <int NUMBERS = 4>
int64_t rivals_among(const Floats &boxes, const Floats &scores, float floor, Rival *rivals) {
  int64_t count = 0;
  for (int64_t i = 0; i < scores.size(); ++i) {
    float poison = scores[i] * 0.0f;
    for (int c = 0; c < NUMBERS; ++c) poison += boxes[NUMBERS * i + c] * 0.0f;
    rivals[count] = as_rival(scores[i], i);
    count += poison == 0.0f && scores[i] >= floor && scores[i] >= 0;
  }
  return count;
}

// Rivals in order, of which no more are sorted than are asked for.
class Sorting {
 public:
  Sorting(Rival *rivals, int64_t count)
      : rivals_(rivals), count_(count), wanted_(count < MANY / 2 ? count : 256) {}
  int64_t left() const { return count_ - given_; }
  // While any are left.
  Rival peek() {
    if (given_ == sorted_) {
      sort_rivals(rivals_ + sorted_, rivals_ + count_, wanted_);
      sorted_ = smaller(sorted_ + wanted_, count_);
      wanted_ = wanted_ < MANY ? 16 * wanted_ : count_;
    }
    return rivals_[given_];
  }
  Rival next() {
    const Rival rival = peek();
    ++given_;
    return rival;
  }

 private:
  static constexpr int64_t MANY = 4096;  // after so many, all are likely to be asked for
  Rival *rivals_;
  int64_t count_, given_ = 0, sorted_ = 0, wanted_;
};

// Boxes whose scores fall, in no order of their places.
class Fading {
 public:
  Fading(int64_t most, float sigma) : sigma_(sigma), planes_(most), scores_(most), places_(most) {}
  int64_t count() const { return count_; }
  void add(const Box &box, float score, int64_t place) {
    planes_.set(count_, box);
    scores_[count_] = score;
    places_[count_++] = place;
  }
  // Which has the best score, the first place of equal ones; -1 where none is left.
  int64_t best() {
    float highest = OUT;
    const float *all = scores_.data();
#pragma omp simd reduction(max : highest)
    for (int64_t i = 0; i < count_; ++i) highest = all[i] > highest ? all[i] : highest;
    if (highest < 0) return -1;
    int64_t found = -1;
    for (int64_t i = 0; i < count_; ++i)
      if (all[i] == highest && (found < 0 || places_[i] < places_[found])) found = i;
    return found;
  }
  float score(int64_t i) { return scores_[i]; }
  int64_t place(int64_t i) { return places_[i]; }
  Box box(int64_t i) const { return planes_[i]; }
  void remove(int64_t i) { scores_[i] = OUT; }
  // Those from `first` on fade by their overlap with a box that was picked.
  void fade_by(const Box &picked, int64_t first) {
    float *scores = scores_.data();
    LX_SIMD for (int64_t i = first; i < count_; ++i) {
      const float faded = fade(scores[i], rivalry<IOU>(picked, planes_[i], 1.0f), sigma_);
      scores[i] = scores[i] < 0 ? OUT : faded;
    }
  }

 private:
  float sigma_;
  int64_t count_ = 0;
  Planes planes_;
  Buffer<float> scores_;
  Buffer<int64_t> places_;
};

// Scores only fall. So only boxes take part that had a better score at first than the best has now:
// as long as one of the others may be the best, as many again join them.
void soft_nms(const Call &call) {
  const Floats boxes(call.inputs[0]), given(call.inputs[1]);
  const float sigma = static_cast<float>(call.attributes[0]);
  const float floor = static_cast<float>(call.attributes[1]);
  const Sink new_scores(call.outputs[1]);
  const int64_t room = call.outputs[0].shape[0];

  Buffer<Rival> rivals(given.size());
  const int64_t count = rivals_among(boxes, given, floor, rivals.data());
  Sorting others(rivals.data(), count);
  Fading fading(count, sigma);
  Planes picks(smaller(room, count));
  int64_t picked = 0;
  while (picked < room) {
    const int64_t pick = fading.best();
    if (others.left() &&
        (pick < 0 || others.peek() > as_rival(fading.score(pick), fading.place(pick)))) {
      const int64_t first = fading.count();
      for (int64_t more = first < 256 ? 256 : first; more && others.left(); --more) {
        const int64_t place = place_of(others.next());
        fading.add(load_box<IOU>(boxes.data() + 4 * place), given[place], place);
      }
      for (int64_t i = 0; i < picked; ++i) fading.fade_by(picks[i], first);
      continue;
    }
    if (pick < 0 || fading.score(pick) < floor) break;
    whole(call.outputs[0])[picked] = fading.place(pick);
    new_scores.write(picked, fading.score(pick));
    picks.set(picked++, fading.box(pick));
    fading.remove(pick);
    fading.fade_by(picks[picked - 1], 0);
  }
  finish(call, picked);
}

void variance_voting(const Call &call) {
  const Floats boxes(call.inputs[0]), given(call.inputs[1]), log_variance(call.inputs[2]);
  const Value *a = call.attributes;
  const bool hard = a[0] != 0;
  const float sigma_t = static_cast<float>(a[1]), soft_sigma = static_cast<float>(a[2]);
  const float iou_threshold = static_cast<float>(a[3]), vote_threshold = static_cast<float>(a[4]);
  const float score_threshold = static_cast<float>(a[5]), offset = static_cast<float>(a[6]);
  const Sink new_boxes(call.outputs[1]), new_scores(call.outputs[2]);
  const int64_t room = call.outputs[0].shape[0];

  Pool pool(boxes, given, log_variance, offset);
  float *scores = pool.scores.data();
  Buffer<int64_t> near(pool.count);
  Buffer<float> overlap(pool.count), exponent(pool.count);
  float *iou = overlap.data(), *size = exponent.data();
  const auto fallen = [&](float score, float with) {
    return after_vote(score, with, hard, iou_threshold, soft_sigma, score_threshold);
  };
  int64_t picked = 0;
  for (; picked < room; ++picked) {
    const int64_t pick = pool.best();
    if (pick < 0) break;
    const Box box = pool.planes[pick];
    whole(call.outputs[0])[picked] = pick;
    new_scores.write(picked, scores[pick]);
    const int64_t count = pool.around(pick, offset, near.data());
    for (int64_t i = 0; i < count; ++i) {
      const auto m = meet<true>(box, pool.planes[near[i]], offset);
      // A box without area also overlaps itself fully.
      iou[i] = near[i] == pick ? 1.0f : ratio(m.intersection, m.together);
    }
    for (int c = 0; c < 4; ++c) {
      const float start = boxes[4 * pick + c];
      float most = -LARGEST;
      for (int64_t i = 0; i < count; ++i) {
        const float here = closeness(iou[i], sigma_t) - log_variance[4 * near[i] + c];
        size[i] = iou[i] > vote_threshold ? here : -LARGEST;
        most = size[i] > most ? size[i] : most;
      }
      float weights = 0, shifts = 0;
      for (int64_t i = 0; i < count; ++i) {
        if (!(size[i] > -LARGEST)) continue;
        const float weight = exponential(size[i] - most);
        weights += weight;
        shifts += weight * (boxes[4 * near[i] + c] - start);
      }
      new_boxes.write(4 * picked + c, start + shifts / weights);
    }
    // What no pick overlaps keeps its score, but for one that is subnormal.
    if (picked == 0)
      for (int64_t i = 0; i < pool.count; ++i) scores[i] = fallen(scores[i], 0.0f);
    for (int64_t i = 0; i < count; ++i) scores[near[i]] = fallen(scores[near[i]], iou[i]);
    scores[pick] = OUT;
  }
  finish(call, picked);
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

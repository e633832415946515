// Soft-NMS and variance voting, and what NMS has in common with them.
#pragma once

#include "loops_boxes.h"
#include "../kernels/suppression.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// Boxes of finite numbers and scores of at least `floor`, as planes; OUT is the score of the
// others.
struct Pool {
  Pool(const Floats &boxes, const Floats &given, const Floats *log_variance, float floor,
       float offset)
      : count(given.size()), planes(count), scores(count) {
    for (int64_t i = 0; i < count; ++i) {
      const Box box = load_box<IOU>(boxes.data() + 4 * i, offset);
      bool usable = box.area == box.area && given[i] >= floor && is_finite(given[i]);
      for (int c = 0; log_variance && c < 4; ++c)
        usable = usable && is_finite((*log_variance)[4 * i + c]);
      planes.set(i, box);
      scores[i] = usable ? given[i] : OUT;
    }
  }
  // The best score, the first of equal ones; -1 where every one is below `floor`, which is at
  // least 0.
  int64_t best(float floor) {
    float highest = OUT;
    const float *all = scores.data();
#pragma omp simd reduction(max : highest)
    for (int64_t i = 0; i < count; ++i) highest = all[i] > highest ? all[i] : highest;
    if (highest < floor || highest < 0) return -1;
    int64_t place = 0;
    while (all[place] != highest) ++place;
    return place;
  }
  int64_t count;
  Planes planes;
  Buffer<float> scores;
};

// Fills the slots from `picked` on with the values for "no box", and writes the count.
void finish(const Call &call, int64_t picked) {
  const int64_t room = call.outputs[0].shape[0];
  for (int64_t slot = picked; slot < room; ++slot) {
    whole(call.outputs[0])[slot] = -1;
    for (int k = 1; k + 1 < call.output_count; ++k) {
      const int64_t width = call.outputs[k].rank == 2 ? 4 : 1;
      for (int64_t c = 0; c < width; ++c) Sink(call.outputs[k]).write(slot * width + c, 0.0f);
    }
  }
  whole(call.outputs[call.output_count - 1])[0] = picked;
}

// Rivals in order, of which no more are sorted than are asked for.
class Sorting {
 public:
  Sorting(Rival *rivals, int64_t count) : rivals_(rivals), count_(count) {}
  Rival next() {
    if (given_ == sorted_) {
      sort_rivals(rivals_ + sorted_, rivals_ + count_, wanted_);
      sorted_ = smaller(sorted_ + wanted_, count_);
      wanted_ = wanted_ < MANY ? 16 * wanted_ : count_;
    }
    return rivals_[given_++];
  }

 private:
  static constexpr int64_t MANY = 4096;  // after so many, all are likely to be asked for
  Rival *rivals_;
  int64_t count_, given_ = 0, sorted_ = 0, wanted_ = 256;
};

void soft_nms(const Call &call) {
  const Floats boxes(call.inputs[0]), given(call.inputs[1]);
  const float sigma = static_cast<float>(call.attributes[0]);
  const float floor = static_cast<float>(call.attributes[1]);
  const Sink new_scores(call.outputs[1]);
  const int64_t room = call.outputs[0].shape[0];

  Pool pool(boxes, given, nullptr, floor, 0.0f);
  float *scores = pool.scores.data();
  int64_t picked = 0;
  for (; picked < room; ++picked) {
    const int64_t pick = pool.best(floor);
    if (pick < 0) break;
    whole(call.outputs[0])[picked] = pick;
    new_scores.write(picked, scores[pick]);
    const Box box = pool.planes[pick];
    scores[pick] = OUT;
    LX_SIMD for (int64_t i = 0; i < pool.count; ++i) {
      const float faded = fade(scores[i], rivalry<IOU>(box, pool.planes[i], 1.0f), sigma);
      scores[i] = scores[i] < 0 ? OUT : faded;
    }
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

  Pool pool(boxes, given, &log_variance, 0.0f, offset);
  const int64_t count = pool.count;
  float *scores = pool.scores.data();
  Buffer<float> overlap(count), exponent(count), plane(8 * count);
  for (int64_t i = 0; i < count; ++i)
    for (int c = 0; c < 4; ++c) {
      plane[c * count + i] = boxes[4 * i + c];
      plane[(4 + c) * count + i] = log_variance[4 * i + c];
    }
  float *iou = overlap.data(), *size = exponent.data();
  int64_t picked = 0;
  for (; picked < room; ++picked) {
    const int64_t pick = pool.best(0.0f);
    if (pick < 0) break;
    const Box box = pool.planes[pick];
    LX_SIMD for (int64_t i = 0; i < count; ++i) {
      const auto m = meet<true>(box, pool.planes[i], offset);
      iou[i] = ratio(m.intersection, m.together);
    }
    iou[pick] = 1.0f;  // a box without area also overlaps itself fully
    whole(call.outputs[0])[picked] = pick;
    new_scores.write(picked, scores[pick]);
    for (int c = 0; c < 4; ++c) {
      const float *corner = plane.data() + c * count, *spread = plane.data() + (4 + c) * count;
      float most = -LARGEST;
#pragma omp simd reduction(max : most)
      for (int64_t i = 0; i < count; ++i) {
        const float here = closeness(iou[i], sigma_t) - spread[i];
        size[i] = scores[i] >= 0 && iou[i] > vote_threshold ? here : -LARGEST;
        most = size[i] > most ? size[i] : most;
      }
      float weights = 0, shifts = 0;
#pragma omp simd reduction(+ : weights, shifts)
      for (int64_t i = 0; i < count; ++i) {
        const bool votes = size[i] > -LARGEST;
        const float weight = votes ? exponential(size[i] - most) : 0.0f;
        weights += weight;
        shifts += votes ? weight * (corner[i] - corner[pick]) : 0.0f;
      }
      new_boxes.write(4 * picked + c, corner[pick] + shifts / weights);
    }
    LX_SIMD for (int64_t i = 0; i < count; ++i) scores[i] =
        after_vote(scores[i], iou[i], hard, iou_threshold, soft_sigma, score_threshold);
    scores[pick] = OUT;
  }
  finish(call, picked);
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

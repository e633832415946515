// NMS of images whose boxes have a score for each of several classes.
#pragma once

#include "loops_picks.h"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// A count from 0 to 2^31 - 1, the nearest to `x`.
int64_t whole_number(double x) {
  return x < 0 ? 0 : static_cast<int64_t>(x < 2147483647 ? x : 2147483647);
}

// What the loops for all images share.
struct Batch {
  explicit Batch(const Call &call)
      : boxes(call.inputs[0]),
        scores(call.inputs[1]),
        images(call.inputs[0].shape[0]),
        count(call.inputs[0].shape[1]),
        classes(call.inputs[1].shape[2]),
        room(call.outputs[0].shape[1]),
        threshold(static_cast<float>(call.attributes[0])),
        floor(at_least(static_cast<float>(call.attributes[1]), 0.0f)),
        class_aware(call.attributes[4] != 0),
        multi_label(call.attributes[5] != 0),
        most(whole_number(call.attributes[6])) {}
  const float *box(int64_t image, int64_t i) const {
    return boxes.data() + 4 * (image * count + i);
  }
  const float *row(int64_t image, int64_t i) const {
    return scores.data() + (image * count + i) * classes;
  }
  // The first class with the score `best`.
  int64_t label(int64_t image, int64_t i, float best) const {
    const float *row = this->row(image, i);
    int64_t k = 0;
    while (row[k] != best) ++k;
    return k;
  }

  Floats boxes, scores;
  int64_t images, count, classes, room;
  float threshold, floor;
  bool class_aware, multi_label;
  int64_t most;
};

// 0, or NaN where a corner is not finite.
LX_INLINE float poison_of(const float *corners) {
  return (((corners[0] + corners[1]) + corners[2]) + corners[3]) * 0.0f;
}

// The best score of a box that takes part, else OUT.
LX_INLINE float best_of(const float *corners, const float *row, int64_t classes, float floor) {
  float best = row[0], bad = poison_of(corners);
#pragma omp simd reduction(max : best) reduction(+ : bad)
  for (int64_t k = 0; k < classes; ++k) {
    best = row[k] > best ? row[k] : best;
    bad += row[k] * 0.0f;
  }
  return bad == 0.0f && best >= floor ? best : OUT;
}

// The candidates of an image, in no order: of boxes with the scores `best`, or of pairs.
int64_t gather(const Batch &batch, int64_t image, const float *best, Buffer<Rival> &rivals) {
  int64_t found = 0;
  for (int64_t i = 0; i < batch.count; ++i) {
    if (!batch.multi_label) {
      if (best[i] >= 0) rivals[found++] = as_rival(best[i], i);
      continue;
    }
    if (poison_of(batch.box(image, i)) != 0.0f) continue;
    const float *row = batch.row(image, i);
    for (int64_t k = 0; k < batch.classes; ++k)
      if (row[k] >= batch.floor && row[k] <= LARGEST)
        rivals[found++] = as_rival(row[k], i * batch.classes + k);
  }
  return found;
}

int64_t count_pairs(const Batch &batch, int64_t image) {
  const float *scores = batch.row(image, 0);
  int64_t found = 0;
  LX_ADD(found)
  for (int64_t i = 0; i < batch.count * batch.classes; ++i)
    found += scores[i] >= batch.floor && scores[i] <= LARGEST ? 1 : 0;
  return found;
}

// Boxes that stay, each with its class, or with 0 where all of them are rivals.
class Stays {
 public:
  Stays(int64_t room, float threshold) : threshold_(threshold), planes_(room), labels_(room) {}
  int64_t count() const { return count_; }
  void add(const Box &box, int64_t label) {
    planes_.set(count_, box);
    labels_[count_++] = static_cast<int32_t>(label);
  }
  template <Metric M>
  bool remove(const Box &box, int64_t label) {
    constexpr int64_t STRIDE = 64;  // compared together before the result is looked at
    const int32_t own = static_cast<int32_t>(label), *labels = labels_.data();
    for (int64_t first = 0; first < count_; first += STRIDE) {
      const int64_t last = smaller(first + STRIDE, count_);
      int hits = 0;
#pragma omp simd reduction(| : hits)
      for (int64_t i = first; i < last; ++i)
        hits |= (rivalry<M>(planes_[i], box, 1.0f) > threshold_ ? 1 : 0) & (labels[i] == own);
      if (hits) return true;
    }
    return false;
  }

 private:
  float threshold_;
  int64_t count_ = 0;
  Planes planes_;
  Buffer<int32_t> labels_;
};

// As the loop of nms: candidates after the last one that is written are not sorted.
template <Metric M>
void detect(const Call &call, const Batch &batch, int64_t image, const float *best) {
  const Sink detections(call.outputs[0]);
  int64_t *indices = whole(call.outputs[1]) + image * batch.room;
  Buffer<Rival> rivals(batch.multi_label ? count_pairs(batch, image) : batch.count);
  const int64_t count = gather(batch, image, best, rivals), last = smaller(count, batch.most);
  Stays stays(smaller(batch.room, last), batch.threshold);
  int64_t sorted = 0, wanted = 256;
  for (int64_t i = 0; i < last && stays.count() < batch.room; ++i) {
    if (i == sorted) {
      sort_rivals(rivals.data() + sorted, rivals.data() + count, wanted);
      sorted = smaller(sorted + wanted, count);
      wanted *= 4;
    }
    const int64_t place = place_of(rivals[i]);
    const int64_t which = batch.multi_label ? place / batch.classes : place;
    const int64_t label =
        batch.multi_label ? place - which * batch.classes : batch.label(image, which, best[which]);
    const float *corners = batch.box(image, which);
    const Box box = load_box<M>(corners);
    if (stays.remove<M>(box, batch.class_aware ? label : 0)) continue;
    const float row[6] = {corners[0],
                          corners[1],
                          corners[2],
                          corners[3],
                          batch.row(image, which)[label],
                          static_cast<float>(label)};
    const int64_t slot = stays.count();
    for (int k = 0; k < 6; ++k) detections.write((image * batch.room + slot) * 6 + k, row[k]);
    indices[slot] = which;
    stays.add(box, batch.class_aware ? label : 0);
  }
  whole(call.outputs[2])[image] = stays.count();
  for (int64_t slot = stays.count(); slot < batch.room; ++slot) {
    indices[slot] = -1;
    for (int k = 0; k < 6; ++k) detections.write((image * batch.room + slot) * 6 + k, 0.0f);
  }
}

void batched_nms(const Call &call) {
  const Batch batch(call);
  const int64_t rows = batch.images * batch.count;
  Buffer<float> best(batch.multi_label ? 0 : rows);
  if (!batch.multi_label)
    each((rows + TILE - 1) / TILE, static_cast<double>(rows) * batch.classes, call.threads,
         [&](int64_t tile) {
           for (int64_t i = tile * TILE; i < smaller((tile + 1) * TILE, rows); ++i)
             best[i] = best_of(batch.box(0, i), batch.row(0, i), batch.classes, batch.floor);
         });
  const double work = 100.0 * static_cast<double>(rows) * (batch.multi_label ? batch.classes : 1);
  each(batch.images, work, call.threads, [&](int64_t image) {
    const float *own = batch.multi_label ? nullptr : best.data() + image * batch.count;
    if (call.attributes[3] == 0) return detect<IOU>(call, batch, image, own);
    detect<DIOU>(call, batch, image, own);
  });
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

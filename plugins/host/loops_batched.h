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
  bool takes_part(float score) const { return score >= floor && score <= LARGEST; }

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

// The best candidate of a box, else OUT.
LX_INLINE float best_of(const Batch &batch, const float *corners, const float *row) {
  float best = OUT, bad = poison_of(corners);
  if (batch.multi_label) {
#pragma omp simd reduction(max : best)
    for (int64_t k = 0; k < batch.classes; ++k) {
      const float score = batch.takes_part(row[k]) ? row[k] : OUT;
      best = score > best ? score : best;
    }
  } else {
#pragma omp simd reduction(max : best) reduction(+ : bad)
    for (int64_t k = 0; k < batch.classes; ++k) {
      best = row[k] > best ? row[k] : best;
      bad += row[k] * 0.0f;
    }
  }
  return bad == 0.0f && best >= batch.floor ? best : OUT;
}

// The candidates of an image, in order. All pairs of a box and a class that come before the best
// pair of some box are of boxes that come before it, so only the pairs of the first boxes are
// looked at, of as many as it takes.
class Candidates {
 public:
  Candidates(const Batch &batch, int64_t image, const float *best)
      : batch_(batch),
        image_(image),
        best_(best),
        rivals_(batch.count),
        room_(batch.multi_label ? batch.count * batch.classes : 0),
        boxes_(rivals_.data(), usable()),
        pairs_(room_.data(), 0) {}
  bool left() {
    if (given_ == batch_.most) return false;
    if (!batch_.multi_label) return boxes_.left();
    if (!pairs_.left() && boxes_.left()) take();
    return pairs_.left();
  }
  // The place of the next pair, while any are left.
  int64_t next() {
    ++given_;
    return place_of(batch_.multi_label ? pairs_.next() : of_box(boxes_.next()));
  }

 private:
  int64_t usable() {
    int64_t found = 0;
    for (int64_t i = 0; i < batch_.count; ++i)
      if (best_[i] >= 0) rivals_[found++] = as_rival(best_[i], i);
    return found;
  }
  // A box as the first pair with its best score.
  Rival of_box(Rival box) const {
    const int64_t i = place_of(box);
    const float *row = batch_.row(image_, i);
    int64_t k = 0;
    while (row[k] != best_[i]) ++k;
    return as_rival(best_[i], i * batch_.classes + k);
  }
  void take() {
    for (int64_t more = more_; more && boxes_.left(); --more, ++taken_) boxes_.next();
    more_ *= 4;
    const Rival most = edge_;
    edge_ = boxes_.left() ? of_box(boxes_.peek()) : 0;
    int64_t found = 0;
    for (int64_t r = 0; r < taken_; ++r) {
      const int64_t i = place_of(rivals_[r]);
      const float *row = batch_.row(image_, i);
      for (int64_t k = 0; k < batch_.classes; ++k) {
        const Rival pair = as_rival(row[k], i * batch_.classes + k);
        room_[found] = pair;
        found += batch_.takes_part(row[k]) && pair > edge_ && pair <= most;
      }
    }
    const int64_t wanted = smaller(found, batch_.most - given_);
    if (wanted < found) sort_rivals(room_.data(), room_.data() + found, wanted);
    pairs_ = Sorting(room_.data(), wanted);
  }

  const Batch &batch_;
  int64_t image_;
  const float *best_;
  Buffer<Rival> rivals_, room_;
  Sorting boxes_, pairs_;
  int64_t given_ = 0, taken_ = 0, more_ = 256;
  Rival edge_ = ~Rival{0};  // pairs after it are still to come
};

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

template <Metric M>
void detect(const Call &call, const Batch &batch, int64_t image, const float *best) {
  const Sink detections(call.outputs[0]);
  int64_t *indices = whole(call.outputs[1]) + image * batch.room;
  Candidates candidates(batch, image, best);
  Stays stays(batch.room, batch.threshold);
  while (stays.count() < batch.room && candidates.left()) {
    const int64_t place = candidates.next();
    const int64_t which = place / batch.classes, label = place - which * batch.classes;
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
  Buffer<float> best(rows);
  each((rows + TILE - 1) / TILE, static_cast<double>(rows) * batch.classes, call.threads,
       [&](int64_t tile) {
         for (int64_t i = tile * TILE; i < smaller((tile + 1) * TILE, rows); ++i)
           best[i] = best_of(batch, batch.box(0, i), batch.row(0, i));
       });
  each(batch.images, 100.0 * static_cast<double>(rows), call.threads, [&](int64_t image) {
    const float *own = best.data() + image * batch.count;
    if (call.attributes[3] == 0) return detect<IOU>(call, batch, image, own);
    detect<DIOU>(call, batch, image, own);
  });
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

// NMS of images whose boxes have a score for each of several classes, by IoU or DIoU.
//
// Macros: LX_T, LX_METRIC (0 or 2), LX_IOU_THRESHOLD, LX_SCORE_THRESHOLD, LX_MAX_OUTPUT,
// LX_CLASS_AWARE, LX_MULTI_LABEL (0 or 1), LX_MAX_CANDIDATES. Launch: one block of PICKERS threads
// for each image, for any number of boxes and classes.
//
// A candidate is a key: the bits of its score, which is at least 0, above its place, of which the
// lowest is the largest key. A block of threads takes the first PICKERS candidates or fewer, finds
// out which of them stay, and goes on with those below.
#pragma once

#include "suppression.cuh"

#ifdef LX_DEVICE
namespace lossexport {

using Key = unsigned long long;
constexpr Key NO_KEY = 0;  // below every key: a place is at most 2^31
constexpr int KEY_BITS = 63;

__device__ inline unsigned place_of(Key key) { return 0xffffffffu - static_cast<unsigned>(key); }

// The boxes and scores of one image.
template <typename T>
struct Image {
  const T *boxes, *scores;
  unsigned count, classes;

  __device__ unsigned places() const { return LX_MULTI_LABEL ? count * classes : count; }
  __device__ Box box(unsigned place) const {
    return load_box<static_cast<Metric>(LX_METRIC)>(boxes + 4 * (place / classes));
  }
  // The key of a box by its best class, or of a pair of a box and a class; NO_KEY if it takes no
  // part. Places in keys are those of pairs.
  __device__ Key key(unsigned at) const {
    unsigned place = LX_MULTI_LABEL ? at : at * classes;
    float score = load(scores[place]), poison = score * 0.0f;
    if (!LX_MULTI_LABEL) {
      const unsigned first = place;
      for (unsigned k = 1; k < classes; ++k) {
        const float other = load(scores[first + k]);
        poison += other * 0.0f;
        if (other > score) score = other, place = first + k;
      }
    }
    if (!(score >= LX_SCORE_THRESHOLD) || score < 0) return NO_KEY;
    for (int i = 0; i < 4; ++i) poison += load(boxes[4 * (place / classes) + i]) * 0.0f;
    if (poison != 0.0f) return NO_KEY;
    return static_cast<Key>(bits_of(score + 0.0f)) << 32 |
           (0xffffffffu - static_cast<unsigned>(place));
  }
};

// The sum of the numbers of the threads before this one; that of all is the last of the table.
__device__ inline int sum_before(int mine, int *table) {
  const int thread = static_cast<int>(threadIdx.x);
  LX_SYNC();
  table[thread] = mine;
  LX_SYNC();
  for (int step = 1; step < PICKERS; step *= 2) {
    const int other = thread >= step ? table[thread - step] : 0;
    LX_SYNC();
    table[thread] += other;
    LX_SYNC();
  }
  return table[thread] - mine;
}

// How many keys of the image are from `low` on and below `end`.
template <typename T>
__device__ inline int count_keys(const Image<T> &image, Key low, Key end, int *table) {
  int mine = 0;
  for (unsigned at = threadIdx.x; at < image.places(); at += PICKERS) {
    const Key key = image.key(at);
    mine += key != NO_KEY && key >= low && key < end ? 1 : 0;
  }
  sum_before(mine, table);
  return table[PICKERS - 1];
}

// The lowest key of the next candidates below `end`: all of them if they are at most `wanted`,
// else at least half as many.
template <typename T>
__device__ inline Key lowest_of_next(const Image<T> &image, Key end, int wanted, int *table) {
  if (count_keys(image, NO_KEY, end, table) <= wanted) return NO_KEY + 1;
  // More than `wanted` from `low` on, and no more than that from `low` + 2^(bit + 1) on.
  Key low = NO_KEY;
  for (int bit = KEY_BITS - 1;; --bit) {
    const Key middle = low + (static_cast<Key>(1) << bit);
    if (middle >= end) continue;
    const int above = count_keys(image, middle, end, table);
    if (above > wanted)
      low = middle;
    else if (2 * above >= wanted)
      return middle;
  }
}

// Brings keys from the largest to the smallest.
__device__ inline void sort_keys(Key *keys) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int width = 2; width <= PICKERS; width *= 2)
    for (int step = width / 2; step > 0; step /= 2) {
      LX_SYNC();
      const int other = thread ^ step;
      if (other < thread) continue;
      const Key a = keys[thread], b = keys[other];
      if ((a < b) == ((thread & width) == 0)) keys[thread] = b, keys[other] = a;
    }
  LX_SYNC();
}

}  // namespace lossexport

LX_KERNEL void LX_BOUNDS(lossexport::PICKERS)
    batched_nms(const LX_T *all_boxes, const LX_T *all_scores, int n, int classes,
                LX_T *all_detections, long long *all_indices, long long *all_counts) {
  using namespace lossexport;
  constexpr Metric M = static_cast<Metric>(LX_METRIC);
  LX_SHARED Key keys[PICKERS];
  LX_SHARED int table[PICKERS];
  const int thread = static_cast<int>(threadIdx.x);
  const long long own = blockIdx.x;
  const Image<LX_T> image = {all_boxes + own * n * 4, all_scores + own * n * classes,
                             static_cast<unsigned>(n), static_cast<unsigned>(classes)};
  LX_T *detections = all_detections + own * LX_MAX_OUTPUT * 6;
  long long *indices = all_indices + own * LX_MAX_OUTPUT;  // until the end the places of pairs

  int picked = 0;
  long long left = LX_MAX_CANDIDATES;
  for (Key end = static_cast<Key>(1) << KEY_BITS; picked < LX_MAX_OUTPUT && left > 0;) {
    const Key low = lowest_of_next(image, end, left < PICKERS ? left : PICKERS, table);
    int mine = 0;
    for (unsigned at = threadIdx.x; at < image.places(); at += PICKERS) {
      const Key key = image.key(at);
      mine += key >= low && key < end ? 1 : 0;
    }
    int slot = sum_before(mine, table);
    const int count = table[PICKERS - 1];
    if (count == 0) break;
    keys[thread] = NO_KEY;
    LX_SYNC();
    for (unsigned at = threadIdx.x; at < image.places(); at += PICKERS) {
      const Key key = image.key(at);
      if (key >= low && key < end) keys[slot++] = key;
    }
    sort_keys(keys);

    // Every thread has a candidate, and says in the table whether it may stay.
    const bool has = thread < count;
    const unsigned place = has ? place_of(keys[thread]) : 0;
    const Box box = has ? image.box(place) : Box{};
    bool stays = has;
    for (int i = 0; stays && i < picked; ++i) {
      const unsigned other = static_cast<unsigned>(indices[i]);
      if (LX_CLASS_AWARE && other % image.classes != place % image.classes) continue;
      stays = !(rivalry<M>(image.box(other), box, 1.0f) > LX_IOU_THRESHOLD);
    }
    table[thread] = stays;
    LX_SYNC();
    for (int i = 0; i < count && picked < LX_MAX_OUTPUT; ++i) {
      if (!table[i]) continue;
      const unsigned pick = place_of(keys[i]);
      if (thread == 0) indices[picked] = pick;
      ++picked;
      if (stays && thread > i &&
          (!LX_CLASS_AWARE || pick % image.classes == place % image.classes) &&
          rivalry<M>(image.box(pick), box, 1.0f) > LX_IOU_THRESHOLD)
        table[thread] = stays = false;
      LX_SYNC();
    }
    end = low;
    left -= count;
    LX_SYNC();
  }

  for (int slot = thread; slot < LX_MAX_OUTPUT; slot += PICKERS) {
    const bool found = slot < picked;
    const unsigned place = found ? static_cast<unsigned>(indices[slot]) : 0;
    const unsigned which = place / image.classes, label = place % image.classes;
    LX_T *row = detections + 6 * static_cast<long long>(slot);
    for (int k = 0; k < 4; ++k) store(row + k, found ? load(image.boxes[4 * which + k]) : 0.0f);
    store(row + 4, found ? load(image.scores[place]) : 0.0f);
    store(row + 5, found ? static_cast<float>(label) : 0.0f);
    indices[slot] = found ? static_cast<long long>(which) : -1;
  }
  if (thread == 0) all_counts[own] = picked;
}
#endif

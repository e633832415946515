// A row of class logits as its own class sees it: `rivals` of lossexport/ops/logistic.py.
#pragma once

#include "portable.cuh"

namespace lossexport {

// Finite, so that a single class gives a margin of that size instead of inf - inf.
constexpr float LOWEST = -0.5f * LARGEST;

// The distance of a rival's logit from the own one. The differences first: the logits may be far
// larger than they are.
LX_INLINE float rival(float logit, float label, bool own) { return own ? LOWEST : logit - label; }

// The logit of the own class's probability, from the largest distance and the sum of exponentials
// relative to it.
LX_INLINE float margin_of(float peak, float total) { return -(peak + logarithm(total)); }

}  // namespace lossexport

#ifdef LX_DEVICE
namespace lossexport {

// Logits of one row, all of them NaN where one is not finite or the label is none of the classes.
struct Row {
  const LX_T *logits;
  int classes, own;
  bool known;
  float poison;

  __device__ Row(const LX_T *row, int count, long long label) : logits(row), classes(count) {
    known = label >= 0 && label < count;
    own = known ? static_cast<int>(label) : -1;
    poison = known ? 0.0f : from_bits(0x7fc00000u);
    for (int k = 0; k < count; ++k) poison += load(row[k]) * 0.0f;
  }
  __device__ float operator[](int k) const { return load(logits[k]) + poison; }
};

// The largest distance of a rival, and the sum of the exponentials relative to it.
struct Rivals {
  float label, peak, total;

  __device__ explicit Rivals(const Row &row) : label(row[row.known ? row.own : 0]) {
    peak = LOWEST + row.poison;
    for (int k = 0; k < row.classes; ++k) {
      const float x = rival(row[k], label, k == row.own);
      peak = x > peak ? x : peak;
    }
    Sum sum;
    for (int k = 0; k < row.classes; ++k)
      sum.add(exponential(rival(row[k], label, k == row.own) - peak));
    total = sum.value();
  }
  __device__ float margin() const { return margin_of(peak, total); }
  __device__ float share(const Row &row, int k) const {
    return exponential(rival(row[k], label, k == row.own) - peak) / total;
  }
};

}  // namespace lossexport
#endif

// Rows of class logits with a label each.
#pragma once

#include "loops_tensors.h"
#include "../kernels/logistic.cuh"
#include "../kernels/rivals.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// The sum of floats in 16 lanes, which are added in pairs: little drift, and the same bits on every
// level of the processor.
float summed(const float *x, int64_t count) {
  float lanes[16] = {};
  int64_t first = 0;
  for (; first + 16 <= count; first += 16)
    LX_SIMD for (int k = 0; k < 16; ++k) lanes[k] += x[first + k];
  for (int k = 0; first + k < count; ++k) lanes[k] += x[first + k];
  for (int half = 8; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  return lanes[0];
}

// Logits of one row, all of them NaN where one is not finite or the label is none of the classes.
struct Row {
  const float *logits;
  int64_t classes, own;
  float poison;

  Row(const float *row, int64_t count, int64_t label)
      : logits(row), classes(count), own(label), poison(0) {
    float sum = 0;
    LX_ADD(sum) for (int64_t k = 0; k < count; ++k) sum += row[k] * 0.0f;
    poison = known() ? sum : from_bits(0x7fc00000u);
  }
  bool known() const { return own >= 0 && own < classes; }
  LX_INLINE float operator[](int64_t k) const { return logits[k] + poison; }
};

// The largest distance of a rival, and the sum of the exponentials relative to it, which are
// written to `shares`: of the own class 0, where there are others.
struct Rivals {
  float peak, total;

  Rivals(const Row &row, float *shares) : peak(LOWEST), total(0) {
    const float label = row[row.known() ? row.own : 0];
    const int64_t count = row.classes;
    for (int64_t k = 0; k < count; ++k) shares[k] = row[k] - label;
    if (row.known()) shares[row.own] = LOWEST;
    float most = LOWEST;
#pragma omp simd reduction(max : most)
    for (int64_t k = 0; k < count; ++k) most = shares[k] > most ? shares[k] : most;
    peak = most + row.poison;
    const float from = peak;
    LX_SIMD for (int64_t k = 0; k < count; ++k) shares[k] = exponential(shares[k] - from);
    total = summed(shares, count);
  }
  float margin() const { return margin_of(peak, total); }
};

// Calls `body(row, scale, slope, scratch)` for every row, which takes `steps` elementary steps a
// class: it returns the loss and leaves the gradient in `slope`, which nobody reads where none is
// wanted. Both have room for the classes.
template <typename Body>
void rows_of_classes(const Call &call, Reduction reduction, double steps, const Body &body) {
  const Floats logits(call.inputs[0]);
  const int64_t *label = labels(call.inputs[1]);
  const int64_t rows = call.inputs[0].shape[0], classes = call.inputs[0].shape[1];
  const float scale = gradient_scale(reduction, rows);
  const Gradient grad(call, 1);
  losses(call, reduction, rows, steps * classes, [&](int64_t first, int64_t size, float *loss) {
    Buffer<float> unread(classes), scratch(classes);
    for (int64_t i = 0; i < size; ++i) {
      const int64_t place = (first + i) * classes;
      float *slope = grad.place(place, unread.data());
      const Row row(logits.data() + place, classes, label[first + i]);
      loss[i] = body(row, scale, slope, scratch.data());
      grad.flush(place, classes, slope);
    }
  });
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

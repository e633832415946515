// What the whole detection losses share.
#pragma once

#include "loops_rows.h"
#include "../kernels/detection.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// The targets of all images.
struct Told {
  // `first` is the place of labels, targets and valid among the inputs.
  Told(const Call &call, int first, int64_t classes)
      : label(labels(call.inputs[first])),
        corners(call.inputs[first + 1]),
        images(call.inputs[first].shape[0]),
        count(call.inputs[first].shape[1]),
        usable(images * count) {
    const uint8_t *valid = truths(call.inputs[first + 2]);
    for (int64_t t = 0; t < images * count; ++t) {
      usable[t] = valid[t] && sound(corners.data() + 4 * t, label[t], classes);
      number += valid[t];
      if (valid[t] && !usable[t]) stray = from_bits(0x7fc00000u);
    }
  }
  const float *target(int64_t t) const { return corners.data() + 4 * t; }

  const int64_t *label;
  Floats corners;
  int64_t images, count;
  mutable Buffer<uint8_t> usable;
  double number = 0;  // of valid targets
  float stray = 0;    // NaN where one cannot be used
};

// 0, or NaN where a number is not finite.
float poison_of_all(const Floats &numbers) {
  float sum = 0;
  const float *x = numbers.data();
  LX_ADD(sum) for (int64_t i = 0; i < numbers.size(); ++i) sum += x[i] * 0.0f;
  return sum;
}

// Calls `body(i, sums)` for every i below `count`, which takes `steps` elementary steps and adds to
// the sums. Those of tiles are added in their order, so that the number of threads changes no bit.
template <int SUMS, typename Body>
void add_up(const Call &call, int64_t count, double steps, double (&sums)[SUMS], const Body &body) {
  const int64_t tiles = (count + TILE - 1) / TILE;
  Buffer<double> found(tiles * SUMS);
  each(tiles, steps * static_cast<double>(count), call.threads, [&](int64_t tile) {
    double own[SUMS] = {};
    for (int64_t i = tile * TILE; i < smaller((tile + 1) * TILE, count); ++i) body(i, own);
    for (int k = 0; k < SUMS; ++k) found[tile * SUMS + k] = own[k];
  });
  for (int64_t tile = 0; tile < tiles; ++tile)
    for (int k = 0; k < SUMS; ++k) sums[k] += found[tile * SUMS + k];
}

// The sum of the losses of all logits, each times the share of its row of `width` logits; the
// gradient is `gain` times that of the sum.
//
// `value(logit, own, target)` is a loss and its slope. `owned(first, end, found)` calls
// `found(place, target)` for every logit from `first` to `end` that is the target's own.
template <typename Value, typename Owned, typename Share>
double class_losses(const Call &call, const Floats &logits, const Gradient &grad, int64_t width,
                    float gain, const Value &value, const Owned &owned, const Share &share) {
  const int64_t count = logits.size(), tiles = (count + TILE - 1) / TILE;
  Buffer<double> sums(tiles);
  each(tiles, 40.0 * static_cast<double>(count), call.threads, [&](int64_t tile) {
    const int64_t first = tile * TILE, size = smaller(TILE, count - first);
    const float *x = logits.data() + first;
    float loss[TILE], scratch[TILE], *slope = grad.place(first, scratch);
    LX_SIMD for (int64_t i = 0; i < size; ++i) {
      const Slope here = value(x[i], false, 0.0f);
      loss[i] = here.loss, slope[i] = here.slope;
    }
    owned(first, first + size, [&](int64_t place, float target) {
      const Slope here = value(x[place - first], true, target);
      loss[place - first] = here.loss, slope[place - first] = here.slope;
    });
    double sum = 0;
    for (int64_t i = 0; i < size;) {
      const int64_t row = (first + i) / width, end = smaller((row + 1) * width - first, size);
      const float factor = share(row), moved = gain * factor;
      double part = 0;
      LX_ADD(part) for (int64_t k = i; k < end; ++k) part += loss[k];
      LX_SIMD for (int64_t k = i; k < end; ++k) slope[k] *= moved;
      sum += part * factor;
      i = end;
    }
    sums[tile] = sum;
    grad.flush(first, size, slope);
  });
  double total = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) total += sums[tile];
  return total;
}

// The `owned` of class_losses for logits [rows,classes], of rows whose class is `own[row]` or -1.
template <typename Target>
auto owned_by_rows(const int64_t *own, int64_t classes, const Target &target) {
  return [=](int64_t first, int64_t end, const auto &found) {
    for (int64_t row = first / classes; row * classes < end; ++row) {
      const int64_t place = row * classes + own[row];
      if (own[row] >= 0 && place >= first && place < end) found(place, target(row));
    }
  };
}

// Makes all outputs NaN.
void spoil(const Call &call) {
  for (int i = 0; i < call.output_count; ++i)
    for (int64_t k = 0; k < elements(call.outputs[i]); ++k)
      Sink(call.outputs[i]).write(k, from_bits(0x7fc00000u));
}

// What `body` gives for the exponent, as a type.
template <Exponent E>
struct ExponentOf {
  static constexpr Exponent value = E;
};

template <typename Body>
auto with_exponent(float gamma, const Body &body) {
  switch (exponent_of(gamma)) {
    case ZEROTH:
      return body(ExponentOf<ZEROTH>());
    case FIRST:
      return body(ExponentOf<FIRST>());
    case SECOND:
      return body(ExponentOf<SECOND>());
    case BELOW_ONE:
      return body(ExponentOf<BELOW_ONE>());
    default:
      return body(ExponentOf<ANY>());
  }
}

// Writes the parts from their sums, and `times` their total.
template <int PARTS>
void write_parts(const Call &call, const double (&sums)[PARTS], const float (&gains)[PARTS],
                 float stray, float times) {
  double total = 0;
  for (int i = 0; i < PARTS; ++i) {
    total += sums[i] * gains[i];
    Sink(call.outputs[1]).write(i, part_of(sums[i], gains[i], stray));
  }
  Sink(call.outputs[0]).write(0, part_of(total, times, stray));
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

// The losses of RetinaNet and FCOS.
#pragma once

#include "loops_boxes.h"
#include "loops_detection.h"
#include "../kernels/fcos_loss.cuh"
#include "../kernels/retinanet_loss.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// Focal losses of logits [rows,classes], of rows with a class, -1 or another negative number.
template <typename Share>
double focal_losses(const Call &call, const Floats &logits, const Gradient &grad, int64_t classes,
                    const int64_t *own, float alpha, float gamma, float gain, const Share &share) {
  const auto of = [&](auto exponent) {
    return class_losses(
        call, logits, grad, classes, gain,
        [=](float x, bool mine, float) {
          return lossexport::sigmoid_focal<decltype(exponent)::value>(x, mine ? 1.0f : 0.0f, alpha,
                                                                      gamma);
        },
        owned_by_rows(own, classes, [](int64_t) { return 1.0f; }), share);
  };
  return with_exponent(gamma, of);
}

// The targets of the anchors of an image: `place` and, if it has none, why.
struct Matching {
  Matching(const Call &call, const Planes &anchors, int64_t count, bool rescues)
      : call(call), anchors(anchors), count(count), rescues(rescues) {}

  void match(const Told &told, int64_t image, int64_t *place) const {
    const float fg = static_cast<float>(call.attributes[0]);
    const float bg = static_cast<float>(call.attributes[1]);
    const int64_t tiles = (count + TILE - 1) / TILE, targets = told.count;
    Buffer<float> peak(tiles * targets), most(targets);
    Buffer<int32_t> nearest(count);
    const double steps = 10.0 * static_cast<double>(targets) * static_cast<double>(count);
    each(tiles, steps, call.threads, [&](int64_t tile) {
      const int64_t first = tile * TILE, size = smaller(TILE, count - first);
      float overlap[TILE], best[TILE];
      int32_t *at = nearest.data() + first;
      for (int64_t i = 0; i < size; ++i) best[i] = -1.0f, at[i] = 0;
      for (int64_t t = 0; t < targets; ++t) {
        float highest = 0;
        if (told.usable[image * targets + t]) {
          const int32_t own = static_cast<int32_t>(t);
          score_row<IOU>(box(told, image, t), anchors, first, size, 0.0f, overlap);
          LX_SIMD for (int64_t i = 0; i < size; ++i) {
            const bool better = overlap[i] > best[i];
            best[i] = better ? overlap[i] : best[i], at[i] = better ? own : at[i];
          }
#pragma omp simd reduction(max : highest)
          for (int64_t i = 0; i < size; ++i) highest = overlap[i] > highest ? overlap[i] : highest;
        }
        peak[tile * targets + t] = highest;
      }
      for (int64_t i = 0; i < size; ++i)
        place[first + i] = best[i] >= fg ? at[i] : (best[i] >= bg ? NEITHER : BACKGROUND);
    });
    if (!rescues) return;
    for (int64_t t = 0; t < targets; ++t) {
      most[t] = 0;
      for (int64_t tile = 0; tile < tiles; ++tile)
        most[t] = at_least(most[t], peak[tile * targets + t]);
      for (int64_t tile = 0; tile < tiles && most[t] > 0; ++tile) {
        if (peak[tile * targets + t] != most[t]) continue;
        const int64_t first = tile * TILE, size = smaller(TILE, count - first);
        float overlap[TILE];
        score_row<IOU>(box(told, image, t), anchors, first, size, 0.0f, overlap);
        for (int64_t i = 0; i < size; ++i)
          if (overlap[i] == most[t]) place[first + i] = nearest[first + i];
      }
    }
  }
  static Box box(const Told &told, int64_t image, int64_t t) {
    return load_box<IOU>(told.target(image * told.count + t));
  }

  const Call &call;
  const Planes &anchors;
  int64_t count;
  bool rescues;
};

void retinanet_loss(const Call &call) {
  const Floats logits(call.inputs[0]), deltas(call.inputs[1]), anchors(call.inputs[2]);
  const int64_t count = call.inputs[0].shape[1], classes = call.inputs[0].shape[2];
  const Told told(call, 3, classes);
  float number[8];
  for (int i = 0; i < 8; ++i) number[i] = static_cast<float>(call.attributes[i]);
  const float spoilt = poison_of_all(anchors);
  const float stray = told.stray + poison_of_all(logits) + poison_of_all(deltas) + spoilt;
  const int64_t rows = told.images * count;

  Planes planes(count);
  planes.fill<IOU>(anchors.data());
  const Matching matching(call, planes, count, number[2] != 0 && spoilt == 0);
  Buffer<int64_t> place(rows), own(rows);
  Buffer<float> norm(told.images);
  for (int64_t image = 0; image < told.images; ++image) {
    matching.match(told, image, place.data() + image * count);
    float taken = 0;
    for (int64_t row = image * count; row < (image + 1) * count; ++row) {
      taken += place[row] >= 0 ? 1.0f : 0.0f;
      own[row] = place[row];
      if (place[row] >= 0) own[row] = told.label[place[row] += image * told.count];
    }
    norm[image] = (taken > 1 ? taken : 1.0f) * static_cast<float>(told.images);
  }
  const Gradient by_logits(call, 2), by_deltas(call, 3);
  double sums[2] = {};
  add_up(call, rows, 60.0, sums, [&](int64_t row, double *sum) {
    const float all = norm[row / count];
    Placed here = {0.0f, {}};
    if (place[row] >= 0)
      here =
          placed_apart(load_deltas(deltas.data() + 4 * row), load_corners(told.target(place[row])),
                       load_corners(anchors.data() + 4 * (row % count)), number[5]);
    sum[1] += here.loss / static_cast<double>(all);
    float scratch[4], *slopes = by_deltas.place(4 * row, scratch);
    for (int i = 0; i < 4; ++i) slopes[i] = here.slopes[i] * (number[7] / all);
    by_deltas.flush(4 * row, 4, slopes);
  });
  sums[0] = focal_losses(
      call, logits, by_logits, classes, own.data(), number[3], number[4], number[6],
      [&](int64_t row) { return own[row] == NEITHER ? 0.0f : 1.0f / norm[row / count]; });
  write_parts<2>(call, sums, {number[6], number[7]}, stray, 1.0f);
}

// The targets of all points of an image, or -1.
void answer(const Told &told, int64_t image, const Floats &points, const Floats &stride,
            const Strides &strides, float radius, int64_t *place) {
  const int64_t count = stride.size();
  for (int64_t first = 0; first < count; first += TILE) {
    const int64_t size = smaller(TILE, count - first);
    const float *p = points.data() + 2 * first, *s = stride.data() + first;
    float least[TILE];
    int32_t at[TILE];
    for (int64_t i = 0; i < size; ++i) least[i] = from_bits(0x7f800000u), at[i] = -1;
    for (int64_t t = 0; t < told.count; ++t) {
      if (!told.usable[image * told.count + t]) continue;
      const float *corners = told.target(image * told.count + t);
      const float target[] = {corners[0], corners[1], corners[2], corners[3]};
      const float area = area_of(target);
      const int32_t own = static_cast<int32_t>(t);
      LX_SIMD for (int64_t i = 0; i < size; ++i) {
        const bool here = Range(s[i], strides, radius).holds(p[2 * i], p[2 * i + 1], target) &
                          ((at[i] < 0) | (area < least[i]));
        least[i] = here ? area : least[i], at[i] = here ? own : at[i];
      }
    }
    for (int64_t i = 0; i < size; ++i)
      place[first + i] = at[i] < 0 ? -1 : image * told.count + at[i];
  }
}

void fcos_loss(const Call &call) {
  const Floats logits(call.inputs[0]), distances(call.inputs[1]), centres(call.inputs[2]);
  const Floats points(call.inputs[3]), stride(call.inputs[4]);
  const int64_t count = call.inputs[0].shape[1], classes = call.inputs[0].shape[2];
  const Told told(call, 5, classes);
  float number[7];
  for (int i = 0; i < 7; ++i) number[i] = static_cast<float>(call.attributes[i]);
  const float stray = told.stray + poison_of_all(logits) + poison_of_all(distances) +
                      poison_of_all(centres) + poison_of_all(points) + poison_of_all(stride);
  const int64_t rows = told.images * count;

  Strides strides = Strides::none();
  for (int64_t a = 0; a < count; ++a) strides = strides.with({stride[a], stride[a]});
  Buffer<int64_t> place(rows), own(rows);
  each(told.images, 20.0 * static_cast<double>(rows) * static_cast<double>(told.count),
       call.threads, [&](int64_t image) {
         answer(told, image, points, stride, strides, number[0], place.data() + image * count);
       });
  double taken = 0;
  for (int64_t row = 0; row < rows; ++row) {
    taken += place[row] >= 0;
    own[row] = place[row] < 0 ? -1 : told.label[place[row]];
  }
  const float norm = static_cast<float>(taken > 1 ? taken : 1), share = 1.0f / norm;
  const Gradient by_logits(call, 2), by_distances(call, 3), by_centres(call, 4);
  double sums[3] = {};
  add_up(call, rows, 100.0, sums, [&](int64_t row, double *sum) {
    const int64_t a = row % count;
    const float x = points[2 * a], y = points[2 * a + 1], *given = distances.data() + 4 * row;
    const Centred here =
        place[row] < 0
            ? without_target(x, y, stride[a], given, centres[row])
            : centred_loss<true>(x, y, stride[a], given, told.target(place[row]), centres[row],
                                 number[3], number[5] / norm, number[6] / norm);
    sum[1] += here.apart, sum[2] += here.off;
    float scratch[4], *slopes = by_distances.place(4 * row, scratch);
    for (int i = 0; i < 4; ++i) slopes[i] = here.slopes[i];
    by_distances.flush(4 * row, 4, slopes);
    *by_centres.place(row, scratch) = here.off_slope;
    by_centres.flush(row, 1, scratch);
  });
  sums[1] /= norm, sums[2] /= norm;
  sums[0] = focal_losses(call, logits, by_logits, classes, own.data(), number[1], number[2],
                         number[4], [=](int64_t) { return share; });
  write_parts<3>(call, sums, {number[4], number[5], number[6]}, stray, 1.0f);
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

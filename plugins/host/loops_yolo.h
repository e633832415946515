// The loss of YOLOv8, 11 and 26.
#pragma once

#include "loops_align.h"
#include "loops_detection.h"
#include "../kernels/yolo_loss.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// The distances of the sides of all points: logits [4,bins,count] to `distances` [4,count].
void distances_of(const float *logits, int64_t bins, int64_t count, float *distances) {
  for (int64_t side = 0; side < 4; ++side)
    for (int64_t first = 0; first < count; first += TILE) {
      const int64_t size = smaller(TILE, count - first);
      const float *x = logits + side * bins * count + first;
      float *to = distances + side * count + first, most[TILE], total[TILE];
      if (bins == 1) {
        for (int64_t i = 0; i < size; ++i) to[i] = x[i];
        continue;
      }
      for (int64_t i = 0; i < size; ++i) most[i] = x[i], total[i] = to[i] = 0;
      for (int64_t k = 1; k < bins; ++k) LX_SIMD for (int64_t i = 0; i < size; ++i) {
          const float here = x[k * count + i];
          most[i] = (here > most[i]) | (here != here) ? here : most[i];
        }
      for (int64_t k = 0; k < bins; ++k)
        LX_SIMD for (int64_t i = 0; i < size; ++i) total[i] +=
            exponential(x[k * count + i] - most[i]);
      for (int64_t k = 0; k < bins; ++k) {
        const float bin = static_cast<float>(k);
        LX_SIMD for (int64_t i = 0; i < size; ++i) to[i] +=
            exponential(x[k * count + i] - most[i]) / total[i] * bin;
      }
    }
}

void yolo_detection_loss(const Call &call) {
  const Floats sides(call.inputs[0]), logits(call.inputs[1]), points(call.inputs[2]);
  const Floats stride(call.inputs[3]);
  const int64_t rows = call.inputs[0].shape[1], bins = rows / 4, count = stride.size();
  const int64_t classes = call.inputs[1].shape[1];
  // Four sides have as many bins each.
  if (rows < 4 || rows % 4) return spoil(call);
  const Told told(call, 4, classes);
  const int64_t images = told.images;
  float number[7];
  for (int i = 0; i < 7; ++i) number[i] = static_cast<float>(call.attributes[i]);
  const float stray = told.stray + poison_of_all(sides) + poison_of_all(logits) +
                      poison_of_all(points) + poison_of_all(stride);

  Extent extent = Extent::none();
  Buffer<float> centres(2 * count);
  for (int64_t a = 0; a < count; ++a) {
    const float x = points[2 * a], y = points[2 * a + 1];
    extent = extent.with(Extent::of(x, y, stride[a]));
    centres[2 * a] = x * stride[a], centres[2 * a + 1] = y * stride[a];
  }
  const float far[] = {extent.x, extent.y};
  Buffer<int64_t> assigned(images * count);
  Buffer<float> score(images * count), spoilt(images * count);
  // Images take turns, each on all threads, if there are fewer of them.
  const int inner = images < call.threads ? call.threads : 1;
  each(images, 1e7 * static_cast<double>(images), inner > 1 ? 1 : call.threads, [&](int64_t image) {
    Buffer<float> distance(4 * count), boxes(4 * count);
    distances_of(sides.data() + image * rows * count, bins, count, distance.data());
    for (int64_t a = 0; a < count; ++a) {
      const float x = points[2 * a], y = points[2 * a + 1];
      const float cells[] = {x - distance[a], y - distance[count + a], x + distance[2 * count + a],
                             y + distance[3 * count + a]};
      spoilt[image * count + a] = poison_in(cells, 4) + stride[a] * 0.0f;
      for (int i = 0; i < 4; ++i) boxes[4 * a + i] = cells[i] * stride[a];
    }
    const int64_t first = image * told.count;
    const Points all = {logits.data() + image * classes * count,
                        boxes.data(),
                        centres.data(),
                        told.target(first),
                        told.label + first,
                        told.usable.data() + first,
                        count,
                        classes,
                        1,
                        count,
                        true,
                        number[3],
                        number[4],
                        number[6]};
    align(all, told.count, call.attributes[5], inner, assigned.data() + image * count,
          score.data() + image * count);
  });
  // The points with a target, those of each image one after another.
  Buffer<int64_t> taken(images * count), start(images + 1);
  int64_t found = 0;
  double weights = 0;
  for (int64_t i = 0; i < images * count; ++i) {
    if (i % count == 0) start[i / count] = found;
    weights += score[i];
    if (assigned[i] >= 0) taken[found++] = i;
  }
  start[images] = found;
  const float norm = static_cast<float>(weights > 1 ? weights : 1), share = 1.0f / norm;
  const float times = static_cast<float>(images);

  const Gradient by_sides(call, 2), by_logits(call, 3);
  if (by_sides.wanted())
    each(images * rows, static_cast<double>(sides.size()), call.threads, [&](int64_t row) {
      float scratch[TILE];
      for (int64_t first = 0; first < count; first += TILE) {
        const int64_t size = smaller(TILE, count - first);
        float *to = by_sides.place(row * count + first, scratch);
        for (int64_t i = 0; i < size; ++i) to[i] = spoilt[row / rows * count + first + i];
        by_sides.flush(row * count + first, size, scratch);
      }
    });
  double sums[3] = {};
  add_up(call, found, 1000.0, sums, [&](int64_t place, double *sum) {
    const int64_t image = taken[place] / count, a = taken[place] % count;
    const float weight = score[taken[place]], scale = times * weight / norm;
    const float *own = sides.data() + image * rows * count + a;
    const auto side = [&](int64_t i) {
      return Bins<float>(own + i * bins * count, count, static_cast<int>(bins));
    };
    const Bins<float> here[] = {side(0), side(1), side(2), side(3)};
    const Sided lost = sided_loss<true>(
        here, points[2 * a], points[2 * a + 1], stride[a],
        told.target(image * told.count + assigned[taken[place]]), far, number[0] * scale,
        number[2] * scale, [&](int64_t i, int64_t k, float slope) {
          float scratch[1];
          const int64_t to = (image * rows + i * bins + k) * count + a;
          *by_sides.place(to, scratch) = slope;
          by_sides.flush(to, 1, scratch);
        });
    sum[0] += lost.apart * weight, sum[2] += lost.sides * weight;
  });
  sums[0] /= norm, sums[2] /= norm;
  const auto owned = [&](int64_t first, int64_t end, const auto &write) {
    for (int64_t row = first / count; row * count < end; ++row) {
      const int64_t image = row / classes, label = row % classes;
      for (int64_t i = start[image]; i < start[image + 1]; ++i) {
        const int64_t a = taken[i] % count, to = row * count + a;
        if (told.label[image * told.count + assigned[taken[i]]] == label && to >= first && to < end)
          write(to, score[taken[i]]);
      }
    }
  };
  sums[1] = class_losses(
      call, logits, by_logits, classes * count, number[1] * times,
      [](float x, bool, float target) { return yolo_class(x, target); }, owned,
      [=](int64_t) { return share; });
  write_parts<3>(call, sums, {number[0], number[1], number[2]}, stray, times);
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

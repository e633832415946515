// How far the boxes of an image can be relied on.
#pragma once

#include "loops_boxes.h"
#include "loops_rows.h"
#include "../kernels/reliability.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

void suppression_reliability(const Call &call) {
  const Floats boxes(call.inputs[0]), scores(call.inputs[1]);
  const int64_t *index = labels(call.inputs[2]);
  const int64_t count = scores.size(), slots = call.inputs[2].shape[0];
  const float iou_threshold = static_cast<float>(call.attributes[0]);
  const float score_threshold = static_cast<float>(call.attributes[1]);
  const float center = static_cast<float>(call.attributes[2]);

  // Which boxes take part: those that were kept, in the order of their slots, and the others.
  Buffer<uint8_t> state(count);
  for (int64_t i = 0; i < count; ++i) {
    const Box box = load_box<IOU>(boxes.data() + 4 * i);
    state[i] = box.area == box.area && is_finite(scores[i]) && scores[i] > score_threshold;
  }
  Buffer<int64_t> kept(slots);
  int64_t keeping = 0;
  for (int64_t k = 0; k < slots; ++k)
    if (index[k] >= 0 && index[k] < count && state[index[k]]) kept[keeping++] = index[k];
  for (int64_t k = 0; k < keeping; ++k) state[kept[k]] = 0;
  int64_t others = 0;
  for (int64_t i = 0; i < count; ++i) others += state[i];
  Planes planes(others);
  Buffer<float> weight(others);
  for (int64_t i = 0, j = 0; i < count; ++i) {
    if (!state[i]) continue;
    planes.set(j, load_box<IOU>(boxes.data() + 4 * i));
    weight[j++] = removed_weight(scores[i], center);
  }

  // A task has some of the others, for all kept boxes: merged in order, they give one result for
  // any number of threads.
  const int64_t tiles = (others + TILE - 1) / TILE;
  Buffer<Removed> groups(tiles * keeping);
  Buffer<double> removed(tiles);
  each(tiles, 8.0 * static_cast<double>(others) * static_cast<double>(keeping), call.threads,
       [&](int64_t tile) {
         const int64_t first = tile * TILE, size = smaller(TILE, others - first);
         float overlap[TILE];
         uint8_t gone[TILE] = {};
         for (int64_t k = 0; k < keeping; ++k) {
           const Box box = load_box<IOU>(boxes.data() + 4 * kept[k]);
           score_row<IOU>(box, planes, first, size, 0.0f, overlap);
           Removed group = Removed::none();
           for (int64_t j = 0; j < size; ++j) {
             if (!(overlap[j] > iou_threshold)) continue;
             const Box other = planes[first + j];
             group = group.with({weight[first + j], other.x1, other.y1, other.x2, other.y2});
             gone[j] = 1;
           }
           groups[tile * keeping + k] = group;
         }
         removed[tile] = 0;
         for (int64_t j = 0; j < size; ++j) removed[tile] += gone[j] ? weight[first + j] : 0.0f;
       });
  Reliability sums;
  double mass = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) mass += removed[tile];
  for (int64_t k = 0; k < keeping; ++k) {
    Removed group = Removed::none();
    for (int64_t tile = 0; tile < tiles; ++tile) group = group.with(groups[tile * keeping + k]);
    sums.add(load_box<IOU>(boxes.data() + 4 * kept[k]), scores[kept[k]], center, group);
  }
  Sink(call.outputs[0]).write(0, sums.reliability(mass));
  Sink(call.outputs[1]).write(0, sums.consistency());
}

void contrastive_confidence(const Call &call) {
  const Floats scores(call.inputs[0]);
  const int64_t rows = call.inputs[0].shape[0], columns = call.inputs[0].shape[1];
  const float threshold = static_cast<float>(call.attributes[0]);
  const float weight = static_cast<float>(call.attributes[1]);
  const Sink out(call.outputs[0]);
  each(rows, 4.0 * static_cast<double>(scores.size()), call.threads, [&](int64_t row) {
    double sums[4] = {};
    float poison = 0;
    for (int64_t first = 0; first < columns; first += TILE) {
      const int64_t size = smaller(TILE, columns - first);
      const float *x = scores.data() + row * columns + first;
      float part[4][TILE];
      LX_SIMD for (int64_t k = 0; k < size; ++k) {
        const bool high = x[k] > threshold, low = x[k] > 0 && !high;
        part[0][k] = high ? x[k] : 0.0f, part[1][k] = high ? 1.0f : 0.0f;
        part[2][k] = low ? x[k] : 0.0f, part[3][k] = low ? 1.0f : 0.0f;
      }
      LX_ADD(poison) for (int64_t k = 0; k < size; ++k) poison += x[k] * 0.0f;
      for (int i = 0; i < 4; ++i) sums[i] += summed(part[i], size);
    }
    out.write(row, lossexport::confidence(sums[0], sums[1], sums[2], sums[3], weight) + poison);
  });
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

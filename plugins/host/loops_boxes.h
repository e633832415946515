// Metrics of boxes: aligned, pairwise, best match.
#pragma once

#include "lanes.h"
#include "loops_tensors.h"
#include "../kernels/boxes.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

constexpr int64_t LINE = 16;  // floats that the caches move together
constexpr int64_t ROWS = 16;
constexpr int64_t CACHED = 1 << 20;  // elements of a matrix that the last cache may hold

// Floats from `to` to the next line.
int64_t until_line(const float *to) {
  return -static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) / sizeof(float)) & (LINE - 1);
}

// Boxes as planes, so that a loop over them runs on vectors, the last of which may reach beyond the
// boxes. A plane begins on a line, and at another place in the first cache than the plane before,
// or they would evict each other.
class Planes {
 public:
  explicit Planes(int64_t count)
      : count_(count), step_((count / LINE + 63) / 64 * 64 * LINE + 8 * LINE), data_(8 * step_) {
    for (int k = 0; k < 8; ++k)
      for (int64_t i = count_; i < step_; ++i) data_[k * step_ + i] = 0;
  }
  template <Metric M>
  void fill(const float *corners) {
    LX_SIMD for (int64_t i = 0; i < count_; ++i) set(i, load_box<M>(corners + 4 * i));
  }
  LX_INLINE void set(int64_t i, const Box &box) {
    float *p = data_.data() + i;
    p[0] = box.x1, p[step_] = box.y1, p[2 * step_] = box.x2, p[3 * step_] = box.y2;
    p[4 * step_] = box.w, p[5 * step_] = box.h, p[6 * step_] = box.area, p[7 * step_] = box.angle;
  }
  LX_INLINE Box operator[](int64_t i) const {
    const float *p = data_.data() + i;
    return {p[0],         p[step_],     p[2 * step_], p[3 * step_],
            p[4 * step_], p[5 * step_], p[6 * step_], p[7 * step_]};
  }
  const float *from(int64_t i) const { return data_.data() + i; }
  int64_t step() const { return step_; }

 private:
  int64_t count_, step_;
  mutable Buffer<float> data_;
};

template <Metric M>
void aligned(const Call &call) {
  const Floats pred(call.inputs[0]), target(call.inputs[1]);
  const float eps = static_cast<float>(call.attributes[0]);
  const float *p = pred.data(), *t = target.data();
  fill_output(call, 20.0, [=](int64_t i) {
    return score<M>(load_box<M>(p + 4 * i), load_box<M>(t + 4 * i), eps);
  });
}

void confidence(const Call &call) {
  const Floats boxes(call.inputs[0]), log_variance(call.inputs[1]);
  const float *b = boxes.data(), *v = log_variance.data();
  fill_output(call, 40.0, [=](int64_t i) {
    const float *spread = v + 4 * i;
    return localization_confidence(load_box<IOU>(b + 4 * i), spread[0], spread[1], spread[2],
                                   spread[3]);
  });
}

// Scores of one box with `count` boxes of `columns` from `first` on; with STREAM, they are written
// past the caches, to an `out` that is aligned.
template <Metric M, bool STREAM>
LX_INLINE void lanes_row(const Box &box, const Planes &columns, int64_t first, int64_t count,
                         float eps, float *out) {
  const BoxOf<Lanes> row = {all(box.x1), all(box.y1), all(box.x2),   all(box.y2),
                            all(box.w),  all(box.h),  all(box.area), all(box.angle)};
  const float *p = columns.from(first);
  const int64_t s = columns.step();
  const auto scores = [=](int64_t i) {
    const BoxOf<Lanes> column = {load(p + i),         load(p + i + s),     load(p + i + 2 * s),
                                 load(p + i + 3 * s), load(p + i + 4 * s), load(p + i + 5 * s),
                                 load(p + i + 6 * s), load(p + i + 7 * s)};
    return score<M>(row, column, eps);
  };
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    if (STREAM)
      stream(out + i, scores(i));
    else
      store(out + i, scores(i));
  }
  if (i == count) return;
  float rest[LANES];
  store(rest, scores(i));
  for (int64_t k = 0; i < count; ++i, ++k) out[i] = rest[k];
}

// The same of any metric.
template <Metric M, bool STREAM = false>
LX_INLINE void score_row(const Box &box, const Planes &columns, int64_t first, int64_t count,
                         float eps, float *out) {
  if constexpr (has_exponentials(M))
    LX_SIMD for (int64_t i = 0; i < count; ++i) out[i] = score<M>(box, columns[first + i], eps);
  else
    lanes_row<M, STREAM>(box, columns, first, count, eps, out);
}

template <Metric M>
void pairwise(const Call &call) {
  const Floats pred(call.inputs[0]), target(call.inputs[1]);
  const Sink out(call.outputs[0]);
  const float eps = static_cast<float>(call.attributes[0]);
  const int64_t n = pred.size() / 4, m = target.size() / 4;
  const bool large = call.outputs[0].type == LOSSEXPORT_FLOAT32 && n * m > CACHED;
  Planes columns(m);
  columns.fill<M>(target.data());
  each((n + ROWS - 1) / ROWS, static_cast<double>(n) * m, call.threads, [&](int64_t block) {
    float scratch[TILE];
    Box rows[ROWS];
    const int64_t start = block * ROWS, height = smaller(ROWS, n - start);
    for (int64_t r = 0; r < height; ++r) rows[r] = load_box<M>(pred.data() + 4 * (start + r));
    for (int64_t first = 0; first < m; first += TILE) {
      const int64_t width = smaller(TILE, m - first);
      for (int64_t r = 0; r < height; ++r) {
        const int64_t place = (start + r) * m + first;
        float *row = out.place(place, scratch);
        if (large) {
          // Tiles of a row meet where a line ends: only the ends of a row are partial lines.
          const int64_t head = smaller(until_line(row), width);
          if (first == 0) score_row<M>(rows[r], columns, 0, head, eps, row);
          score_row<M, true>(rows[r], columns, first + head, smaller(TILE, m - first - head), eps,
                             row + head);
        } else {
          score_row<M>(rows[r], columns, first, width, eps, row);
          out.flush(place, width, scratch);
        }
      }
    }
    settle();
  });
}

template <Metric M>
void best_match_by(const Call &call) {
  const Floats pred(call.inputs[0]), target(call.inputs[1]);
  const float eps = static_cast<float>(call.attributes[1]);
  const int64_t n = pred.size() / 4, m = target.size() / 4;
  Planes columns(m);
  columns.fill<M>(target.data());
  const Sink pred_score(call.outputs[0]), target_score(call.outputs[2]);
  int64_t *pred_index = whole(call.outputs[1]), *target_index = whole(call.outputs[3]);

  // Each thread takes a stripe of rows; the best of each column are merged in order of stripes.
  const int64_t stripes = smaller(call.threads, (n + ROWS - 1) / ROWS);
  const int64_t height = stripes ? (n + stripes - 1) / stripes : 0;
  Buffer<float> scores(m * stripes);
  Buffer<int32_t> places(m * stripes);
  each(stripes, static_cast<double>(n) * m, call.threads, [&](int64_t stripe) {
    float *best = scores.data() + stripe * m;
    int32_t *place = places.data() + stripe * m;
    for (int64_t j = 0; j < m; ++j) best[j] = -LARGEST, place[j] = -1;
    float tile[TILE];
    const int64_t last = smaller(n, (stripe + 1) * height);
    for (int64_t i = stripe * height; i < last; ++i) {
      const Box row = load_box<M>(pred.data() + 4 * i);
      float most = -LARGEST;
      int64_t where = -1;
      for (int64_t first = 0; first < m; first += TILE) {
        const int64_t width = smaller(TILE, m - first);
        score_row<M>(row, columns, first, width, eps, tile);
        float highest = -LARGEST;
#pragma omp simd reduction(max : highest)
        for (int64_t j = 0; j < width; ++j) highest = tile[j] > highest ? tile[j] : highest;
        LX_SIMD for (int64_t j = 0; j < width; ++j) {
          const bool better = tile[j] > best[first + j];
          best[first + j] = better ? tile[j] : best[first + j];
          place[first + j] = better ? static_cast<int32_t>(i) : place[first + j];
        }
        if (!(highest > most)) continue;
        most = highest;
        for (where = 0; tile[where] != highest;) ++where;
        where += first;
      }
      pred_score.write(i, where < 0 ? row.area * 0.0f : most);
      pred_index[i] = where;
    }
  });
  for (int64_t j = 0; j < m; ++j) {
    float most = -LARGEST;
    int64_t where = -1;
    for (int64_t stripe = 0; stripe < stripes; ++stripe)
      if (scores[stripe * m + j] > most)
        most = scores[stripe * m + j], where = places[stripe * m + j];
    target_score.write(j, where < 0 ? columns[j].area * 0.0f : most);
    target_index[j] = where;
  }
}

constexpr Function *MATCH_BY[] = {best_match_by<IOU>, best_match_by<GIOU>, best_match_by<DIOU>,
                                  best_match_by<CIOU>};

void best_match(const Call &call) { MATCH_BY[static_cast<int>(call.attributes[0])](call); }

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

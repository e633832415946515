// The kinds of boxes that are matched, and the exact overlap of oriented ones in float64:
// lossexport/boxes/oriented.py, operation by operation.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "pairs_index.h"

namespace lossexport {

// Numbers of a row: the box around it x, y, width, height; cx, cy, w, h, angle; its cosine and sine.
constexpr int ORIENTED_WIDTH = 11;

// Roundings of boxes with such sides are far smaller than what SPARE allows.
constexpr double LEAST_SIDE = 1e-140, THINNEST = 0x1p-30, SPARE = 1 - 0x1p-10;

inline double within(double value, double bound) {
  return std::max(std::min(value, bound), -bound);
}

// `value / whole` in [-1, 1]; 0 for a whole of 0.
inline double part_of(double value, double whole) {
  return within(value, std::abs(whole)) / (whole == 0 ? 1.0 : whole);
}

// How long two intervals overlap whose centres are `apart`; `own` and `other` are half of their
// lengths.
inline double common(double apart, double own, double other) {
  return std::min(own, apart + other) - std::max(-own, apart - other);
}

// The IoU of two rows, or 0 if it is below `threshold`; for a crowd the part of the prediction
// inside it.
inline double oriented_overlap(const double *pred, const double *ref, bool crowd,
                               double threshold) {
  const double pw = pred[6], ph = pred[7], pc = pred[9], ps = pred[10];
  const double rw = ref[6], rh = ref[7], rc = ref[9], rs = ref[10];
  if (!(pw > 0 && ph > 0 && rw > 0 && rh > 0)) return 0;
  const double area = pw * ph, ref_area = rw * rh;
  const auto sane = [&] {
    const auto [thin, wide] = std::minmax({pw, ph, rw, rh});
    return thin > LEAST_SIDE && thin > THINNEST * wide;
  };
  // No more is common to both than the smaller of them.
  const double enough = threshold * SPARE * (crowd ? area : std::max(area, ref_area));
  if (std::min(area, ref_area) < enough && sane()) return 0;
  // The prediction in the frame of the reference.
  const double cos = pc * rc + ps * rs, sin = ps * rc - pc * rs;
  const double dx = pred[4] - ref[4], dy = pred[5] - ref[5];
  const double x = rc * dx + rs * dy, y = rc * dy - rs * dx;
  const double half_w = pw * 0.5, half_h = ph * 0.5, width = rw * 0.5, height = rh * 0.5;
  const double c = std::abs(cos), s = std::abs(sin);
  // Along the axes of either box: how far the centres are apart, and half of the other box.
  const double x_apart = std::abs(x), x_other = half_w * c + half_h * s;
  const double y_apart = std::abs(y), y_other = half_w * s + half_h * c;
  const double w_apart = std::abs(cos * x + sin * y), w_other = width * c + height * s;
  const double h_apart = std::abs(cos * y - sin * x), h_other = width * s + height * c;
  // Most candidates are apart, or overlap too little: what is common to both boxes lies in the
  // rectangle of what is common along the axes of one.
  if (!(x_apart < width + x_other && y_apart < height + y_other && w_apart < half_w + w_other &&
        h_apart < half_h + h_other))
    return 0;
  const double most = std::min(common(x_apart, width, x_other) * common(y_apart, height, y_other),
                               common(w_apart, half_w, w_other) * common(h_apart, half_h, h_other));
  if (most < enough && sane()) return 0;
  const double wx = half_w * cos, wy = half_w * sin, hx = -half_h * sin, hy = half_h * cos;
  const double xs[] = {x + wx - hx, x + wx + hx, x - wx + hx, x - wx - hx};
  const double ys[] = {y + wy - hy, y + wy + hy, y - wy + hy, y - wy - hy};
  const double along_x[] = {2 * hx, -2 * wx, -2 * hx, 2 * wx};
  const double along_y[] = {2 * hy, -2 * wy, -2 * hy, 2 * wy};
  const double middle = within(x, width);
  double inside = 0;
  for (int k = 0; k < 4; ++k) {
    const double start = ys[k], end = ys[(k + 1) % 4], run_x = along_x[k], run_y = along_y[k];
    const double low = within(start, height), high = within(end, height);
    const double enter = part_of(low - start, run_y), leave = 1 + part_of(high - end, run_y);
    const double first = xs[k] + enter * run_x, span = (leave - enter) * run_x;
    const double last = first + span;
    const double left = within(first, width), right = within(last, width);
    const double cut = part_of((first - left) + (last - right), span);
    const double mean = ((left + right) + (right - left) * cut) * 0.5;
    inside = inside + (mean - middle) * (high - low);
  }
  if (!(inside > 0)) return 0;
  return std::min(inside / (crowd ? area : area + ref_area - inside), 1.0);
}

// Boxes x, y, width, height, whose overlap the index knows.
struct Plain {
  static constexpr int WIDTH = 4;
  template <typename Row>
  static void find(const Index &index, const double *box, double threshold, Row,
                   std::vector<Candidate> *found) {
    index.find(Edges(box), threshold, found);
  }
};

// Oriented boxes: the index finds those whose boxes around them overlap at all.
struct Oriented {
  static constexpr int WIDTH = ORIENTED_WIDTH;
  // `row` gives the numbers of a reference, and whether it is a crowd.
  template <typename Row>
  static void find(const Index &index, const double *box, double threshold, Row row,
                   std::vector<Candidate> *found) {
    index.find(Edges(box), std::numeric_limits<double>::min(), found);
    std::erase_if(*found, [&](Candidate &one) {
      const auto [ref, crowd] = row(one.ref);
      one.iou = oriented_overlap(box, ref, crowd, threshold);
      return !(one.iou >= threshold);
    });
  }
};

}  // namespace lossexport

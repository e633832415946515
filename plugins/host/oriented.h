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

inline double within(double value, double bound) {
  return std::max(std::min(value, bound), -bound);
}

// `value / whole` in [-1, 1]; 0 for a whole of 0.
inline double part_of(double value, double whole) {
  return within(value, std::abs(whole)) / (whole == 0 ? 1.0 : whole);
}

// The IoU of two rows; for a crowd the part of the prediction inside it.
inline double oriented_overlap(const double *pred, const double *ref, bool crowd) {
  const double pw = pred[6], ph = pred[7], pc = pred[9], ps = pred[10];
  const double rw = ref[6], rh = ref[7], rc = ref[9], rs = ref[10];
  if (!(pw > 0 && ph > 0 && rw > 0 && rh > 0)) return 0;
  // The prediction in the frame of the reference.
  const double cos = pc * rc + ps * rs, sin = ps * rc - pc * rs;
  const double dx = pred[4] - ref[4], dy = pred[5] - ref[5];
  const double x = rc * dx + rs * dy, y = rc * dy - rs * dx;
  const double half_w = pw * 0.5, half_h = ph * 0.5, width = rw * 0.5, height = rh * 0.5;
  const double c = std::abs(cos), s = std::abs(sin);
  // Most candidates are apart.
  if (!(std::abs(x) < width + (half_w * c + half_h * s) &&
        std::abs(y) < height + (half_w * s + half_h * c) &&
        std::abs(cos * x + sin * y) < half_w + (width * c + height * s) &&
        std::abs(cos * y - sin * x) < half_h + (width * s + height * c)))
    return 0;
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
  const double area = pw * ph;
  return std::min(inside / (crowd ? area : area + rw * rh - inside), 1.0);
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
      one.iou = oriented_overlap(box, ref, crowd);
      return !(one.iou >= threshold);
    });
  }
};

}  // namespace lossexport

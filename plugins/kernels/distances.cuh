// Boxes from distributions over the distances to their sides: the arithmetic of
// lossexport/families/distances/functions.py. Li et al. (arXiv 2006.04388), eq. 5.
//
// Macros: LX_T, LX_BINS. Launch: a thread a side in blocks of DISTANCES_THREADS.
#pragma once

#include "deltas.cuh"

namespace lossexport {

constexpr int DISTANCES_THREADS = 256;  // whole boxes

// The box around a point whose sides are these steps away from it.
LX_INLINE Corners box_around(float x, float y, Corners steps, float stride) {
  const float poison =
      poison_of(steps.x1, steps.y1, steps.x2, steps.y2) + ((x + y) + stride) * 0.0f;
  return {(x - steps.x1 * stride) + poison, (y - steps.y1 * stride) + poison,
          (x + steps.x2 * stride) + poison, (y + steps.y2 * stride) + poison};
}

}  // namespace lossexport

#ifdef LX_DEVICE
LX_KERNEL void decode_distances(const LX_T *distribution, const LX_T *points, const LX_T *stride,
                                int count, LX_T *boxes) {
  using namespace lossexport;
  LX_SHARED float mean[DISTANCES_THREADS];
  const int thread = static_cast<int>(threadIdx.x), side = thread % 4;
  const int box = static_cast<int>(blockIdx.x) * (DISTANCES_THREADS / 4) + thread / 4;
  if (box < count) {
    const LX_T *logits = distribution + (4ll * box + side) * LX_BINS;
    float highest = load(logits[0]), poison = 0.0f, sum = 0.0f, steps = 0.0f;
    for (int bin = 0; bin < LX_BINS; ++bin) {
      highest = at_least(load(logits[bin]), highest);
      poison += load(logits[bin]) * 0.0f;
    }
    for (int bin = 0; bin < LX_BINS; ++bin) {
      const float share = exponential(load(logits[bin]) - highest);
      sum += share, steps += share * static_cast<float>(bin);
    }
    mean[thread] = steps / sum + poison;
  }
  LX_SYNC();
  if (box < count && side == 0)
    store_row(boxes + 4ll * box, box_around(load(points[2ll * box]), load(points[2ll * box + 1]),
                                            load_corners(mean + thread), load(stride[box])));
}
#endif

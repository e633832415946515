// Boxes to and from deltas against anchors: the arithmetic of
// lossexport/families/deltas/functions.py. R-CNN, Girshick et al. (arXiv 1311.2524), appendix C.
//
// Macros: LX_T, LX_WEIGHTS ({x,y,w,h}), LX_ENCODE or LX_CLIP, and LX_GRADIENT where the gradient is
// written too. Launch: a thread a row in blocks of DELTAS_THREADS.
#pragma once

#include "portable.cuh"

namespace lossexport {

constexpr int DELTAS_THREADS = 256;
constexpr float LEAST_SIDE = 1e-7f;  // what a smaller one is encoded as

struct Corners {
  float x1, y1, x2, y2;
};

// Of deltas, or the weights that scale them.
struct Deltas {
  float x, y, w, h;
};

template <typename T>
LX_INLINE Corners load_corners(const T *from) {
  return {load(from[0]), load(from[1]), load(from[2]), load(from[3])};
}

template <typename T>
LX_INLINE Deltas load_deltas(const T *from) {
  return {load(from[0]), load(from[1]), load(from[2]), load(from[3])};
}

template <typename T>
LX_INLINE void store_row(T *to, Corners row) {
  store(to, row.x1), store(to + 1, row.y1), store(to + 2, row.x2), store(to + 3, row.y2);
}

template <typename T>
LX_INLINE void store_row(T *to, Deltas row) {
  store(to, row.x), store(to + 1, row.y), store(to + 2, row.w), store(to + 3, row.h);
}

// Zero, or NaN where a number is NaN or infinite.
LX_INLINE float poison_of(float a, float b, float c, float d) { return (((a + b) + c) + d) * 0.0f; }

LX_INLINE Deltas encode(Corners box, Corners anchor, Deltas weights) {
  const float anchor_w = at_least(anchor.x2 - anchor.x1, LEAST_SIDE);
  const float anchor_h = at_least(anchor.y2 - anchor.y1, LEAST_SIDE);
  const float w = at_least(box.x2 - box.x1, LEAST_SIDE);
  const float h = at_least(box.y2 - box.y1, LEAST_SIDE);
  const float x = ((box.x1 - anchor.x1) + (box.x2 - anchor.x2)) * 0.5f / anchor_w;
  const float y = ((box.y1 - anchor.y1) + (box.y2 - anchor.y2)) * 0.5f / anchor_h;
  const float poison = poison_of(box.x1, box.y1, box.x2, box.y2) +
                       poison_of(anchor.x1, anchor.y1, anchor.x2, anchor.y2);
  return {x * weights.x + poison, y * weights.y + poison,
          logarithm(w / anchor_w) * weights.w + poison,
          logarithm(h / anchor_h) * weights.h + poison};
}

// Of a side of the box and its anchor's.
LX_INLINE float ratio_of(float growth, float clip) { return exponential(at_most(growth, clip)); }

LX_INLINE Corners decode(Deltas deltas, Corners anchor, Deltas weights, float clip) {
  const float w = anchor.x2 - anchor.x1, h = anchor.y2 - anchor.y1;
  const float x = deltas.x / weights.x * w + (anchor.x1 + w * 0.5f);
  const float y = deltas.y / weights.y * h + (anchor.y1 + h * 0.5f);
  const float half_w = w * ratio_of(deltas.w / weights.w, clip) * 0.5f;
  const float half_h = h * ratio_of(deltas.h / weights.h, clip) * 0.5f;
  const float poison = poison_of(deltas.x, deltas.y, deltas.w, deltas.h) +
                       poison_of(anchor.x1, anchor.y1, anchor.x2, anchor.y2);
  return {(x - half_w) + poison, (y - half_h) + poison, (x + half_w) + poison,
          (y + half_h) + poison};
}

// Two opposite corners add up to twice the centre, so that the growth has no slope but where NaN or
// infinity in the side comes out as NaN.
LX_INLINE float growth_slope(float side, float growth, float clip, float weight) {
  return growth <= clip ? side * 0.0f * ratio_of(growth, clip) / weight : 0.0f;
}

// The gradient of the sum of a box's corners by its deltas.
LX_INLINE Deltas decode_slope(Deltas deltas, Corners anchor, Deltas weights, float clip) {
  const float w = anchor.x2 - anchor.x1, h = anchor.y2 - anchor.y1;
  return {2.0f * w / weights.x, 2.0f * h / weights.y,
          growth_slope(w, deltas.w / weights.w, clip, weights.w),
          growth_slope(h, deltas.h / weights.h, clip, weights.h)};
}

}  // namespace lossexport

#ifdef LX_DEVICE
#if defined(LX_ENCODE)
LX_KERNEL void encode_boxes(const LX_T *boxes, const LX_T *anchors, int count, LX_T *deltas) {
  using namespace lossexport;
  constexpr Deltas WEIGHTS = LX_WEIGHTS;
  // Unsigned: the last block may go beyond the largest int.
  const unsigned i = blockIdx.x * DELTAS_THREADS + threadIdx.x;
  if (i >= static_cast<unsigned>(count)) return;
  store_row(deltas + 4 * i,
            encode(load_corners(boxes + 4 * i), load_corners(anchors + 4 * i), WEIGHTS));
}
#elif defined(LX_CLIP)
LX_KERNEL void decode_boxes(const LX_T *deltas, const LX_T *anchors, int count, LX_T *boxes
#ifdef LX_GRADIENT
                            ,
                            LX_T *grad
#endif
) {
  using namespace lossexport;
  constexpr Deltas WEIGHTS = LX_WEIGHTS;
  const unsigned i = blockIdx.x * DELTAS_THREADS + threadIdx.x;
  if (i >= static_cast<unsigned>(count)) return;
  const Deltas given = load_deltas(deltas + 4 * i);
  const Corners anchor = load_corners(anchors + 4 * i);
  store_row(boxes + 4 * i, decode(given, anchor, WEIGHTS, LX_CLIP));
#ifdef LX_GRADIENT
  store_row(grad + 4 * i, decode_slope(given, anchor, WEIGHTS, LX_CLIP));
#endif
}
#endif
#endif

// What it costs to give each target to each query: the arithmetic of
// lossexport/families/assignment/functions.py. Carion et al. (arXiv 2005.12872), section 3.1; Zhu et
// al. (arXiv 2010.04159).
//
// Macros: LX_T, LX_SOFTMAX (0 or 1), LX_CLASS_WEIGHT, LX_BOX_WEIGHT, LX_GIOU_WEIGHT, LX_ALPHA,
// LX_GAMMA, LX_EPS. Launch: a block of COST_THREADS threads for each query.
#pragma once

#include "boxes.cuh"
#include "logistic.cuh"
#include "reduce.cuh"

namespace lossexport {

constexpr int COST_THREADS = 128;

// log(x) for positive x, subnormal too; minus infinity of 0.
LX_INLINE float logarithm_of_any(float x) {
  const float log = x < TINY ? logarithm(x * 16777216.0f) - 16.6355323f : logarithm(x);
  return x > 0 ? log : (x == 0 ? -from_bits(0x7f800000u) : x);
}

// The focal loss of target 1 less that of target 0; an eps is added inside of the logarithms.
template <Exponent E>
LX_INLINE float focal_cost(float logit, float alpha, float gamma, float eps) {
  const Logistic x = logistic(logit);
  const float hit = eps > 0 ? -logarithm_of_any(x.p + eps) : x.hit;
  const float miss = eps > 0 ? -logarithm_of_any(x.q + eps) : x.miss;
  return alpha * power_of<E>(x.q, gamma).value * hit -
         (1.0f - alpha) * power_of<E>(x.p, gamma).value * miss;
}

// A box cx, cy, w, h by its corners.
LX_INLINE Box box_around(float cx, float cy, float w, float h) {
  const float x = w * 0.5f, y = h * 0.5f;
  return make_box<GIOU>(cx - x, cy - y, cx + x, cy + y);
}

// The sum of the distances of the four numbers.
LX_INLINE float distance_of(const float *a, const float *b) {
  return ((magnitude(a[0] - b[0]) + magnitude(a[1] - b[1])) + magnitude(a[2] - b[2])) +
         magnitude(a[3] - b[3]);
}

}  // namespace lossexport

#if defined(LX_DEVICE) && defined(LX_CLASS_WEIGHT)
LX_KERNEL void detr_cost(const LX_T *logits, const LX_T *boxes, const long long *labels,
                         const LX_T *targets, int columns, int classes, LX_T *cost) {
  using namespace lossexport;
  constexpr Exponent E = exponent_of(LX_GAMMA);
  LX_SHARED float table[COST_THREADS];
  const int thread = static_cast<int>(threadIdx.x);
  const long long query = blockIdx.x;
  const LX_T *row = logits + query * classes;
  float poison = 0.0f;
  for (int k = thread; k < classes; k += COST_THREADS) poison += load(row[k]) * 0.0f;
  poison = total_of<COST_THREADS>(poison, table);
  float peak = 0.0f, total = 1.0f;
  if (LX_SOFTMAX) {
    peak = -LARGEST;
    for (int k = thread; k < classes; k += COST_THREADS) peak = at_least(load(row[k]), peak);
    peak = largest_of<COST_THREADS>(peak, table);
    total = 0.0f;
    for (int k = thread; k < classes; k += COST_THREADS) total += exponential(load(row[k]) - peak);
    total = total_of<COST_THREADS>(total, table);
  }
  float own[4];
  for (int i = 0; i < 4; ++i) own[i] = load(boxes[4 * query + i]);
  const Box box = box_around(own[0], own[1], own[2], own[3]);
  for (int j = thread; j < columns; j += COST_THREADS) {
    const long long label = labels[j];
    const bool known = label >= 0 && label < classes;
    const float logit = known ? load(row[label]) + poison : from_bits(0x7fc00000u);
    const float of_class = LX_SOFTMAX ? -(exponential(logit - peak) / total)
                                      : focal_cost<E>(logit, LX_ALPHA, LX_GAMMA, LX_EPS);
    float other[4];
    for (int i = 0; i < 4; ++i) other[i] = load(targets[4 * static_cast<long long>(j) + i]);
    const float giou = score<GIOU>(box, box_around(other[0], other[1], other[2], other[3]), 0.0f);
    store(cost + query * columns + j,
          LX_CLASS_WEIGHT * of_class +
              (LX_BOX_WEIGHT * distance_of(own, other) - LX_GIOU_WEIGHT * giou));
  }
}
#endif

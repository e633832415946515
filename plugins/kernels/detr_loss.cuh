// The loss of DETR and its descendants for an assignment, with the gradient: the arithmetic of
// lossexport/families/detection/detr.py. Carion et al. (arXiv 2005.12872), section 3.1.
//
// Macros: LX_T, LX_DETR_KIND, LX_CLASS_GAIN, LX_BOX_GAIN, LX_GIOU_GAIN, LX_ALPHA, LX_GAMMA,
// LX_NO_OBJECT, and LX_GRADIENT where the gradient is written too. Launch: one block of
// DETECTION_THREADS.
#pragma once

#include "detection.cuh"
#include "detr_cost.cuh"

namespace lossexport {

enum DetrKind { DETR_FOCAL = 0, DETR_SOFTMAX = 1, DETR_VARIFOCAL = 2 };

// The class loss of a logit; `own`: of the target's class, whose IoU is `quality`.
template <DetrKind K, Exponent E>
LX_INLINE Slope detr_class(float logit, bool own, float quality, float alpha, float gamma) {
  if (K == DETR_FOCAL) return sigmoid_focal<E>(logit, own ? 1.0f : 0.0f, alpha, gamma);
  const Logistic x = logistic(logit);
  const float target = own ? quality : 0.0f, other = 1.0f - target;
  const float weight = own ? quality : alpha * power_of<E>(x.p, gamma).value;
  return {weight * (target * x.hit + other * x.miss), weight * (other * x.p - target * x.q)};
}

// The distance of a query's box from its target, 1 - GIoU, IoU, and the gradient by the box.
struct DetrBox {
  float distance, apart, iou, slopes[4];
};

// `box_scale` and `giou_scale` are what distance and GIoU count in the gradient.
template <bool GRADIENT>
LX_INLINE DetrBox detr_box(const float *given, const float *wanted, float box_scale,
                           float giou_scale) {
  const Box box = box_around(given[0], given[1], given[2], given[3]);
  const Box target = box_around(wanted[0], wanted[1], wanted[2], wanted[3]);
  const BoxLoss giou = box_loss<GIOU, GRADIENT>(box, target, 0.0f, giou_scale);
  DetrBox found = {distance_of(given, wanted), giou.loss, score<IOU>(box, target, 0.0f), {}};
  if (!GRADIENT) return found;
  const float by_corners[] = {giou.x1 + giou.x2, giou.y1 + giou.y2, 0.5f * (giou.x2 - giou.x1),
                              0.5f * (giou.y2 - giou.y1)};
  for (int i = 0; i < 4; ++i) {
    const float apart = given[i] - wanted[i];
    found.slopes[i] =
        by_corners[i] + (apart > 0 ? box_scale : (apart < 0 ? -box_scale : apart * box_scale));
  }
  return found;
}

// 0, or NaN where a row has no softmax: minus infinity is that of a class with no share.
template <typename T>
LX_INLINE float softmax_poison(const T *logits, long long classes, long long own) {
  float sum = load(logits[own]) * 0.0f;
  for (long long k = 0; k < classes; ++k) sum += at_least(load(logits[k]), -LARGEST) * 0.0f;
  return sum;
}

// The sum of the weights of the queries, of which `taken` have a target.
LX_INLINE double detr_weights(double taken, double queries, float no_object) {
  return taken + (queries - taken) * no_object;
}

}  // namespace lossexport

#if defined(LX_DEVICE) && defined(LX_DETR_KIND)
namespace lossexport {

// The targets of all images, and the query of each.
struct Matched {
  const long long *labels;
  const LX_T *targets;
  const bool *valid;
  const long long *match;
  int count, queries, named;

  __device__ bool usable(long long t) const {
    return valid[t] && sound(targets + 4 * t, labels[t], named);
  }
  // Of a query of an image: the last target that has it, or -1.
  __device__ long long target(long long row) const {
    const long long image = row / queries, query = row % queries;
    for (long long t = (image + 1) * count; t-- > image * count;)
      if (match[t] == query && usable(t)) return t;
    return -1;
  }
};

}  // namespace lossexport

LX_KERNEL void LX_BOUNDS(lossexport::DETECTION_THREADS)
    detr_detection_loss(const LX_T *logits, const LX_T *boxes, const long long *labels,
                        const LX_T *targets, const bool *valid, const long long *match, int images,
                        int queries, int classes, int count, LX_T *loss, LX_T *parts
#ifdef LX_GRADIENT
                        ,
                        LX_T *grad_logits, LX_T *grad_boxes
#endif
    ) {
  using namespace lossexport;
  constexpr DetrKind K = static_cast<DetrKind>(LX_DETR_KIND);
  constexpr Exponent E = exponent_of(LX_GAMMA);
  constexpr bool SOFTMAX = K == DETR_SOFTMAX;
  LX_SHARED double table[DETECTION_THREADS];
  LX_SHARED long long own[DETECTION_THREADS];  // class of the target of a query, or -1
  LX_SHARED float quality[DETECTION_THREADS];
  const int thread = static_cast<int>(threadIdx.x);
  const auto all = [&](double mine) { return total_of<DETECTION_THREADS>(mine, table); };
  const long long rows = static_cast<long long>(images) * queries;
  const Matched told = {
      labels, targets, valid, match, count, queries, SOFTMAX ? classes - 1 : classes};

  double number = 0, taken = 0;
  float poison = 0.0f;
  for (long long t = thread; t < static_cast<long long>(images) * count; t += DETECTION_THREADS) {
    if (!valid[t]) continue;
    number += 1;
    if (!told.usable(t) || match[t] >= queries) poison = from_bits(0x7fc00000u);
  }
  for (long long row = thread; SOFTMAX && row < rows; row += DETECTION_THREADS)
    taken += told.target(row) >= 0;
  number = all(number), taken = all(taken);
  const float norm = static_cast<float>(number > 1 ? number : 1);
  const double weights = detr_weights(taken, static_cast<double>(rows), LX_NO_OBJECT);
  const float class_norm = SOFTMAX ? static_cast<float>(weights) : norm;

  double sums[3] = {};
  for (long long first = 0; first < rows; first += DETECTION_THREADS) {
    const long long row = first + thread;
    LX_SYNC();
    if (row < rows) {
      float given[4], wanted[4];
      for (int i = 0; i < 4; ++i) given[i] = load(boxes[4 * row + i]);
      const float spoilt = poison_in(given, 4);
      poison += spoilt;
      const long long place = told.target(row);
      DetrBox here = {0.0f, 0.0f, 0.0f, {spoilt, spoilt, spoilt, spoilt}};
      if (place >= 0) {
        for (int i = 0; i < 4; ++i) wanted[i] = load(targets[4 * place + i]);
        here = detr_box<GRADIENT>(given, wanted, LX_BOX_GAIN / norm, LX_GIOU_GAIN / norm);
      }
      sums[1] += here.distance, sums[2] += here.apart;
      own[thread] = place >= 0 ? labels[place] : -1;
      quality[thread] = here.iou;
#ifdef LX_GRADIENT
      for (int i = 0; i < 4; ++i) store(grad_boxes + 4 * row + i, here.slopes[i]);
#endif
      if (SOFTMAX) {
        Row scores(logits + row * classes, classes, place >= 0 ? labels[place] : classes - 1);
        scores.poison = softmax_poison(scores.logits, classes, scores.own);
        const Rivals rivals(scores);
        const Logistic z = logistic(rivals.margin());
        const float weight = place >= 0 ? 1.0f : LX_NO_OBJECT;
        poison += poison_in(scores.logits, classes);
        sums[0] += weight * z.hit;
#ifdef LX_GRADIENT
        const float slope = -(weight * z.q) * (LX_CLASS_GAIN / class_norm);
        for (int k = 0; k < classes; ++k)
          store(grad_logits + row * classes + k,
                k == scores.own ? slope : -slope * rivals.share(scores, k));
#endif
      }
    }
    LX_SYNC();
    const long long here = rows - first < DETECTION_THREADS ? rows - first : DETECTION_THREADS;
    for (long long i = thread; !SOFTMAX && i < here * classes; i += DETECTION_THREADS) {
      const int query = static_cast<int>(i / classes);
      const float logit = load(logits[first * classes + i]);
      const Slope found =
          detr_class<K, E>(logit, own[query] == i % classes, quality[query], LX_ALPHA, LX_GAMMA);
      poison += logit * 0.0f;
      sums[0] += found.loss;
#ifdef LX_GRADIENT
      store(grad_logits + first * classes + i, found.slope * (LX_CLASS_GAIN / class_norm));
#endif
    }
  }
  sums[0] /= class_norm, sums[1] /= norm, sums[2] /= norm;
  const float stray = static_cast<float>(all(poison));
  write_parts<3>(sums, {LX_CLASS_GAIN, LX_BOX_GAIN, LX_GIOU_GAIN}, stray, 1.0f, table, loss, parts);
}
#endif

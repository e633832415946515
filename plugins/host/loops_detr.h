// The loss of DETR.
#pragma once

#include "loops_detection.h"
#include "../kernels/detr_loss.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// Of queries, each with the class of its target, or -1, and the IoU with it.
struct DetrClasses {
  const Call &call;
  const Floats &logits;
  const Gradient &grad;
  int64_t rows, classes;
  const int64_t *own;
  const float *quality;
  float norm, gain, alpha, gamma, no_object;

  template <DetrKind K, Exponent E>
  double of_kind() const {
    const float a = alpha, g = gamma, s = 1.0f / norm;
    const float *iou = quality;
    return class_losses(
        call, logits, grad, classes, gain,
        [=](float x, bool mine, float target) { return detr_class<K, E>(x, mine, target, a, g); },
        owned_by_rows(own, classes, [=](int64_t row) { return iou[row]; }),
        [=](int64_t) { return s; });
  }
  template <DetrKind K>
  double raised() const {
    return with_exponent(gamma,
                         [&](auto exponent) { return of_kind<K, decltype(exponent)::value>(); });
  }
  double softmax() const {
    double taken = 0;
    for (int64_t row = 0; row < rows; ++row) taken += own[row] >= 0;
    const float weights =
        static_cast<float>(detr_weights(taken, static_cast<double>(rows), no_object));
    double sums[1] = {};
    add_up(call, rows, 40.0 * static_cast<double>(classes), sums, [&](int64_t i, double *sum) {
      Row row(logits.data() + i * classes, classes, own[i] >= 0 ? own[i] : classes - 1);
      if (row.known()) row.poison = softmax_poison(row.logits, classes, row.own);
      Buffer<float> scratch(classes);
      float *slope = grad.place(i * classes, scratch.data());
      const Rivals rivals(row, slope);
      const Logistic z = logistic(rivals.margin());
      const float weight = own[i] >= 0 ? 1.0f : no_object;
      sum[0] += weight * z.hit;
      const float at_own = -(weight * z.q) * (gain / weights), factor = -at_own / rivals.total;
      LX_SIMD for (int64_t k = 0; k < classes; ++k) slope[k] *= factor;
      if (row.known()) slope[row.own] = at_own;
      grad.flush(i * classes, classes, slope);
    });
    return sums[0] / weights;
  }
};

void detr_detection_loss(const Call &call) {
  const Floats logits(call.inputs[0]), boxes(call.inputs[1]);
  const int64_t *match = labels(call.inputs[5]);
  const int64_t queries = call.inputs[0].shape[1], classes = call.inputs[0].shape[2];
  const auto kind = static_cast<DetrKind>(static_cast<int>(call.attributes[0]));
  const Told told(call, 2, kind == DETR_SOFTMAX ? classes - 1 : classes);
  float number[7];
  for (int i = 1; i < 7; ++i) number[i] = static_cast<float>(call.attributes[i]);
  const float norm = static_cast<float>(told.number > 1 ? told.number : 1);
  const int64_t rows = told.images * queries;
  float stray = told.stray + poison_of_all(logits) + poison_of_all(boxes);

  Buffer<int64_t> place(rows), own(rows);
  for (int64_t row = 0; row < rows; ++row) place[row] = own[row] = -1;
  for (int64_t t = 0; t < told.images * told.count; ++t) {
    if (!told.usable[t] || match[t] < 0) continue;
    if (match[t] >= queries) {
      stray = from_bits(0x7fc00000u);
      continue;
    }
    const int64_t row = t / told.count * queries + match[t];
    place[row] = t, own[row] = told.label[t];
  }
  const Gradient by_logits(call, 2), by_boxes(call, 3);
  Buffer<float> quality(rows);
  double sums[3] = {};
  add_up(call, rows, 100.0, sums, [&](int64_t row, double *sum) {
    const float *given = boxes.data() + 4 * row, spoilt = poison_in(given, 4);
    DetrBox here = {0.0f, 0.0f, 0.0f, {spoilt, spoilt, spoilt, spoilt}};
    if (place[row] >= 0)
      here = detr_box<true>(given, told.target(place[row]), number[2] / norm, number[3] / norm);
    sum[1] += here.distance, sum[2] += here.apart;
    quality[row] = here.iou;
    float scratch[4], *slopes = by_boxes.place(4 * row, scratch);
    for (int i = 0; i < 4; ++i) slopes[i] = here.slopes[i];
    by_boxes.flush(4 * row, 4, slopes);
  });
  sums[1] /= norm, sums[2] /= norm;
  const DetrClasses of_class = {call,           logits, by_logits, rows,      classes,   own.data(),
                                quality.data(), norm,   number[1], number[4], number[5], number[6]};
  sums[0] = kind == DETR_FOCAL     ? of_class.raised<DETR_FOCAL>()
            : kind == DETR_SOFTMAX ? of_class.softmax()
                                   : of_class.raised<DETR_VARIFOCAL>();
  write_parts<3>(call, sums, {number[1], number[2], number[3]}, stray, 1.0f);
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

// Focal losses, with the gradient: the arithmetic of lossexport/families/focal/functions.py. Lin et
// al. (arXiv 1708.02002), eq. 5.
//
// Macros: LX_T, LX_REDUCTION, LX_GAMMA, LX_ALPHA or LX_WEIGHTS ({...}, one for each class), and
// LX_GRADIENT where the gradient is written too. Launch: a thread an element, or a row of classes,
// in blocks of FOCAL_THREADS, or one block where there is a reduction.
#pragma once

#include "logistic.cuh"
#include "reduce.cuh"
#include "rivals.cuh"

namespace lossexport {

constexpr int FOCAL_THREADS = 256;

template <Exponent E>
LX_INLINE Slope sigmoid_focal(float logit, float target, float alpha, float gamma) {
  const Logistic x = logistic(logit + logit * 0.0f);
  const float other = 1.0f - target;
  const float wrong = target * x.q + other * x.p;
  const float entropy = target * x.hit + other * x.miss;
  const float weight = alpha < 0 ? 1.0f : alpha * target + (1.0f - alpha) * other;
  const Power power = power_of<E>(wrong, gamma);
  const float moving = power.slope * (x.p * x.q);
  const float slope =
      (other * moving - target * moving) * entropy + power.value * (other * x.p - target * x.q);
  return {weight * (power.value * entropy), weight * slope};
}

// Of the logit of the own class's probability.
template <Exponent E>
LX_INLINE Slope softmax_focal(float margin, float weight, float gamma) {
  const Logistic z = logistic(margin);
  const Power power = power_of<E>(z.q, gamma);
  return {weight * power.value * z.hit,
          -weight * (power.slope * (z.p * z.q) * z.hit + power.value * z.q)};
}

}  // namespace lossexport

#ifdef LX_DEVICE
#if defined(LX_SIGMOID_FOCAL)
LX_KERNEL void sigmoid_focal_loss(const LX_T *logits, const LX_T *target, int count, LX_T *loss
#ifdef LX_GRADIENT
                                  ,
                                  LX_T *grad
#endif
) {
  using namespace lossexport;
  spread<FOCAL_THREADS>(count, loss, [=](unsigned i, float scale) {
    constexpr Exponent E = exponent_of(LX_GAMMA);
    const Slope here = sigmoid_focal<E>(load(logits[i]), load(target[i]), LX_ALPHA, LX_GAMMA);
#ifdef LX_GRADIENT
    store(grad + i, here.slope * scale);
#endif
    return here.loss;
  });
}
#elif defined(LX_SOFTMAX_FOCAL)
LX_KERNEL void softmax_focal_loss(const LX_T *logits, const long long *labels, int rows,
                                  int classes, LX_T *loss
#ifdef LX_GRADIENT
                                  ,
                                  LX_T *grad
#endif
) {
  using namespace lossexport;
  spread<FOCAL_THREADS>(rows, loss, [=](unsigned i, float scale) {
    constexpr Exponent E = exponent_of(LX_GAMMA);
    const Row row(logits + static_cast<long long>(i) * classes, classes, labels[i]);
    const Rivals rivals(row);
#ifdef LX_WEIGHTS
    constexpr float WEIGHTS[] = LX_WEIGHTS;
    const float weight = row.known ? WEIGHTS[row.own] : 0.0f;
#else
    const float weight = row.own == 0 ? LX_ALPHA : 1.0f - LX_ALPHA;
#endif
    const Slope here = softmax_focal<E>(rivals.margin(), weight, LX_GAMMA);
#ifdef LX_GRADIENT
    const float slope = here.slope * scale;
    for (int k = 0; k < classes; ++k)
      store(grad + static_cast<long long>(i) * classes + k,
            k == row.own ? slope : -slope * rivals.share(row, k));
#endif
    return here.loss;
  });
}
#endif
#endif

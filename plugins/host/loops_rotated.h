// Scores, losses and NMS of rotated boxes.
#pragma once

#include "loops_picks.h"
#include "../kernels/gaussians.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// The attributes of the ops, in their order.
template <Measure M>
Options options_of(const Call &call) {
  const Value *a = call.attributes;
  Options o;
  if (M == PROBIOU) {
    o.eps = static_cast<float>(a[0]), o.floor = static_cast<float>(a[1]);
  } else if (M == KLD || M == GWD) {
    const int first = M == KLD ? 2 : 1;
    if (M == KLD)
      o.direction = static_cast<int>(a[0]), o.root = a[1] != 0;
    else
      o.normalize = a[0] != 0;
    o.post = static_cast<int>(a[first]), o.tau = static_cast<float>(a[first + 1]);
  } else if (M == KFIOU) {
    o.form = static_cast<int>(a[0]);
  }
  return o;
}

template <Measure M>
void rotated_aligned(const Call &call) {
  const Floats pred(call.inputs[0]), target(call.inputs[1]);
  const Options options = options_of<M>(call);
  const float *p = pred.data(), *t = target.data();
  fill_output(call, 200.0, [=](int64_t i) {
    return rotated_score<M>(load_rotated(p + 5 * i), load_rotated(t + 5 * i), options);
  });
}

template <Measure M>
void rotated_pairwise(const Call &call) {
  const Floats pred(call.inputs[0]), target(call.inputs[1]);
  const Options options = options_of<M>(call);
  const int64_t m = target.size() / 5;
  Buffer<Rotated> columns(m);
  for (int64_t j = 0; j < m; ++j) columns[j] = load_rotated(target.data() + 5 * j);
  const Sink out(call.outputs[0]);
  each(pred.size() / 5, 200.0 * pred.size() * m, call.threads, [&](int64_t i) {
    float scratch[TILE];
    const Rotated row = load_rotated(pred.data() + 5 * i);
    for (int64_t first = 0; first < m; first += TILE) {
      const int64_t width = smaller(TILE, m - first), place = i * m + first;
      float *scores = out.place(place, scratch);
      for (int64_t j = 0; j < width; ++j)
        scores[j] = rotated_score<M>(row, columns.data()[first + j], options);
      out.flush(place, width, scratch);
    }
  });
}

template <Measure M, bool GRADIENT>
void rotated_losses(const Call &call, Reduction reduction, const Gradient &grad) {
  const Floats pred(call.inputs[0]), target(call.inputs[1]);
  const Options options = options_of<M>(call);
  const int64_t count = pred.size() / 5;
  const float scale = gradient_scale(reduction, count);
  losses(call, reduction, count, 300, [&](int64_t first, int64_t size, float *loss) {
    float scratch[5 * TILE], *slope = grad.place(5 * first, scratch);
    const float *p = pred.data() + 5 * first, *t = target.data() + 5 * first;
    for (int64_t i = 0; i < size; ++i) {
      const RotatedLoss here = rotated_loss<M, GRADIENT>(load_rotated(p + 5 * i),
                                                         load_rotated(t + 5 * i), options, scale);
      loss[i] = here.loss;
      if (!GRADIENT) continue;
      slope[5 * i] = here.x, slope[5 * i + 1] = here.y, slope[5 * i + 2] = here.w;
      slope[5 * i + 3] = here.h, slope[5 * i + 4] = here.angle;
    }
    if (GRADIENT) grad.flush(5 * first, 5 * size, slope);
  });
}

// The reduction is the last of the attributes.
template <Measure M>
void rotated_loss_of(const Call &call) {
  constexpr int LAST[] = {0, 2, 4, 3, 1};
  const Reduction reduction = reduction_of(call, LAST[M]);
  const Gradient grad(call, 1);
  return grad.wanted() ? rotated_losses<M, true>(call, reduction, grad)
                       : rotated_losses<M, false>(call, reduction, grad);
}

// Boxes by falling score, each compared with those that are kept.
void rotated_nms(const Call &call) {
  const Floats boxes(call.inputs[0]), scores(call.inputs[1]);
  const float threshold = static_cast<float>(call.attributes[0]);
  const float floor = static_cast<float>(call.attributes[1]);
  int64_t *indices = whole(call.outputs[0]);
  const int64_t room = call.outputs[0].shape[0];

  Buffer<Rival> rivals(scores.size());
  const int64_t count = rivals_among<5>(boxes, scores, floor, rivals.data());
  Buffer<Rotated> kept(smaller(room, count));
  int64_t picked = 0;
  Sorting sorting(rivals.data(), count);
  while (sorting.left() && picked < room) {
    const int64_t place = place_of(sorting.next());
    const Rotated box = load_rotated(boxes.data() + 5 * place);
    bool removed = false;
    for (int64_t i = 0; i < picked && !removed; ++i)
      removed = rotated_iou(kept.data()[i], box) > threshold;
    if (removed) continue;
    kept.data()[picked] = box;
    indices[picked++] = place;
  }
  finish(call, picked);
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

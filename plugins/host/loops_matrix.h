// Matrix NMS: each box against the better ones of its class.
#pragma once

#include "loops_picks.h"
#include "../kernels/matrix_nms.cuh"

namespace lossexport {
namespace LX_LEVEL {
namespace {

// The places of rivals by label, those of each label in the order of the rivals.
struct Groups {
  Groups(const Rival *rivals, int64_t all, const int64_t *label) : place(all), first(all + 1) {
    Buffer<Rival> names(all);
    for (int64_t i = 0; i < all; ++i) names[i] = static_cast<Rival>(label[place_of(rivals[i])]);
    sort_rivals(names.data(), names.data() + all, all);
    for (int64_t i = 0; i < all; ++i)
      if (i == 0 || names[i] != names[i - 1]) names[count++] = names[i];
    const auto group = [&](Rival rival) {
      const Rival name = static_cast<Rival>(label[place_of(rival)]);
      int64_t low = 0;
      for (int64_t high = count; high - low > 1;) {
        const int64_t middle = (low + high) / 2;
        (names[middle] < name ? high : low) = middle;
      }
      return low;
    };
    for (int64_t g = 0; g <= count; ++g) first[g] = 0;
    for (int64_t i = 0; i < all; ++i) ++first[group(rivals[i]) + 1];
    for (int64_t g = 0; g < count; ++g) first[g + 1] += first[g];
    Buffer<int64_t> next(count);
    for (int64_t g = 0; g < count; ++g) next[g] = first[g];
    for (int64_t i = 0; i < all; ++i) place[next[group(rivals[i])]++] = place_of(rivals[i]);
  }
  int64_t count = 0;
  Buffer<int64_t> place, first;  // of `count` groups and the end
};

// The scores of boxes of one class, the better ones first, after those before have lowered them.
template <bool LINEAR>
void lower(const Floats &boxes, const int64_t *place, int64_t count, float sigma, float *scores) {
  Planes planes(count);
  Buffer<float> nearest_of(count);
  float *most = nearest_of.data();
  for (int64_t j = 0; j < count; ++j) {
    const Box box = load_box<IOU>(boxes.data() + 4 * place[j]);
    float nearest = 0, worst = UNHARMED<LINEAR>;
#pragma omp simd reduction(max : nearest, worst)
    for (int64_t i = 0; i < j; ++i) {
      const float overlap = rivalry<IOU>(planes[i], box, 1.0f);
      const float here = harm<LINEAR>(overlap, most[i]);
      nearest = overlap > nearest ? overlap : nearest;
      worst = here > worst ? here : worst;
    }
    scores[place[j]] *= decay<LINEAR>(worst, sigma);
    planes.set(j, box);
    most[j] = nearest;
  }
}

void matrix_nms(const Call &call) {
  const Floats boxes(call.inputs[0]), given(call.inputs[1]);
  const bool linear = call.attributes[0] != 0;
  const float sigma = static_cast<float>(call.attributes[1]);
  const float floor = static_cast<float>(call.attributes[2]);
  const Sink new_scores(call.outputs[1]);

  Buffer<Rival> rivals(given.size());
  const int64_t count = rivals_among(boxes, given, floor, rivals.data());
  sort_rivals(rivals.data(), rivals.data() + count, count);
  Groups groups(rivals.data(), count, labels(call.inputs[2]));
  Buffer<float> faded(given.size());
  for (int64_t i = 0; i < given.size(); ++i) faded[i] = given[i];
  each(groups.count, static_cast<double>(count) * count, call.threads, [&](int64_t group) {
    const int64_t first = groups.first[group], size = groups.first[group + 1] - first;
    const int64_t *place = groups.place.data() + first;
    if (linear) return lower<true>(boxes, place, size, sigma, faded.data());
    lower<false>(boxes, place, size, sigma, faded.data());
  });
  int64_t kept = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t place = place_of(rivals[i]);
    if (faded[place] >= floor) rivals[kept++] = as_rival(faded[place], place);
  }
  const int64_t picked = smaller(kept, call.outputs[0].shape[0]);
  sort_rivals(rivals.data(), rivals.data() + kept, picked);
  for (int64_t slot = 0; slot < picked; ++slot) {
    const int64_t place = place_of(rivals[slot]);
    whole(call.outputs[0])[slot] = place;
    new_scores.write(slot, faded[place]);
  }
  finish(call, picked);
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

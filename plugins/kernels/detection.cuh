// What the kernels of the whole detection losses share: lossexport/families/detection/targets.py.
//
// On a GPU each is one block of DETECTION_THREADS threads, which takes as many predictions at a time.
#pragma once

#include "box_losses.cuh"
#include "focal.cuh"

namespace lossexport {

constexpr int DETECTION_THREADS = 512;

// Whether a target has finite numbers and one of the classes.
template <typename T>
LX_INLINE bool sound(const T *numbers, long long label, long long classes) {
  return poison_in(numbers, 4) == 0.0f && label >= 0 && label < classes;
}

// A part of the loss from the sum of its terms; NaN if `stray` is.
LX_INLINE float part_of(double sum, float gain, float stray) {
  return static_cast<float>(sum * gain) + stray;
}

}  // namespace lossexport

#ifdef LX_DEVICE
namespace lossexport {

// Writes the parts, of which every thread has `sums`, and `times` their total.
template <int PARTS>
__device__ inline void write_parts(const double (&sums)[PARTS], const float (&gains)[PARTS],
                                   float stray, float times, double *table, LX_T *loss,
                                   LX_T *parts) {
  double total = 0;
  for (int i = 0; i < PARTS; ++i) {
    const double sum = total_of<DETECTION_THREADS>(sums[i], table);
    total += sum * gains[i];
    if (threadIdx.x == 0) store(parts + i, part_of(sum, gains[i], stray));
  }
  if (threadIdx.x == 0) store(loss, part_of(total, times, stray));
}

}  // namespace lossexport
#endif

// A sum over the threads of a block, for kernels alone.
#pragma once

#include "portable.cuh"

#ifdef LX_DEVICE
namespace lossexport {

// The sum of what every one of `THREADS` threads has, for all of them. `table` has as many places.
template <int THREADS>
__device__ inline float total_of(float mine, float *table) {
  const int thread = static_cast<int>(threadIdx.x);
  LX_SYNC();
  table[thread] = mine;
  LX_SYNC();
  for (int step = THREADS / 2; step > 0; step /= 2) {
    if (thread < step) table[thread] += table[thread + step];
    LX_SYNC();
  }
  return table[0];
}

}  // namespace lossexport
#endif

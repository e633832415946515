// Sums and largest numbers over the threads of a block, for kernels alone.
#pragma once

#include "portable.cuh"

#ifdef LX_DEVICE
namespace lossexport {

// What `join` makes of two at a time of what every one of `THREADS` threads has, for all of them.
// `table` has as many places.
template <int THREADS, typename T, typename Join>
__device__ inline T joined(T mine, T *table, const Join &join) {
  const int thread = static_cast<int>(threadIdx.x);
  LX_SYNC();
  table[thread] = mine;
  LX_SYNC();
  for (int step = THREADS / 2; step > 0; step /= 2) {
    if (thread < step) table[thread] = join(table[thread], table[thread + step]);
    LX_SYNC();
  }
  return table[0];
}

template <int THREADS, typename T>
__device__ inline T total_of(T mine, T *table) {
  return joined<THREADS>(mine, table, [](T a, T b) { return a + b; });
}

template <int THREADS, typename T>
__device__ inline T largest_of(T mine, T *table) {
  return joined<THREADS>(mine, table, [](T a, T b) { return a < b ? b : a; });
}

#ifdef LX_REDUCTION
// Calls `value(i, scale)` for every i below `count` and writes what it gives to `out`: one number
// for each i or, by a single block, their sum (LX_REDUCTION 1) or mean (2). Gradients of the summed
// output are to be multiplied by `scale`.
template <int THREADS, typename Value>
__device__ inline void spread(int count, LX_T *out, const Value &value) {
  // Unsigned: the last step may go beyond the largest int.
  const unsigned all = static_cast<unsigned>(count);
  const unsigned thread = blockIdx.x * THREADS + threadIdx.x;
  if (!LX_REDUCTION) {
    if (thread < all) store(out + thread, value(thread, 1.0f));
    return;
  }
  LX_SHARED float table[THREADS];
  const float scale =
      LX_REDUCTION == 2 ? 1.0f / (count > 1 ? static_cast<float>(count) : 1.0f) : 1.0f;
  float sum = 0.0f;
  for (unsigned i = threadIdx.x; i < all; i += THREADS) sum += value(i, scale);
  sum = total_of<THREADS>(sum, table);
  if (threadIdx.x == 0) store(out, sum * scale);
}
#endif

}  // namespace lossexport
#endif

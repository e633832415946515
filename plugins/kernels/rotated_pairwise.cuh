// The score of every rotated prediction with every target.
//
// Macros: LX_T, those of gaussians.cuh. Launch: blocks of 128 columns (threads) and
// ROTATED_ROWS rows.
#pragma once

#include "gaussians.cuh"

namespace lossexport {
constexpr int ROTATED_ROWS = 16;
}

#ifdef LX_DEVICE
LX_KERNEL void rotated_pairwise(const LX_T *pred, const LX_T *target, int n, int m, LX_T *score) {
  using namespace lossexport;
  constexpr Measure M = static_cast<Measure>(LX_MEASURE);
  LX_SHARED Rotated rows[ROTATED_ROWS];
  const int first = static_cast<int>(blockIdx.y) * ROTATED_ROWS;
  const int count = n - first < ROTATED_ROWS ? n - first : ROTATED_ROWS;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < count) rows[thread] = load_rotated(pred + 5 * (first + thread));
  LX_SYNC();
  const int column = static_cast<int>(blockIdx.x * blockDim.x) + thread;
  if (column >= m) return;
  const Rotated box = load_rotated(target + 5 * column);
  LX_T *out = score + static_cast<long long>(first) * m + column;
  for (int row = 0; row < count; ++row, out += m)
    store(out, rotated_score<M>(rows[row], box, given()));
}
#endif

// The metric of every prediction with every reference: the matrix is written once, and nothing else
// goes through memory.
//
// Macros: LX_T, LX_METRIC, LX_EPS (the constant of NWD). Launch: blocks of 256 columns (threads) and PAIRWISE_ROWS rows.
#pragma once

#include "boxes.cuh"

namespace lossexport {
constexpr int PAIRWISE_ROWS = 16;
}

#ifdef LX_DEVICE
LX_KERNEL void pairwise(const LX_T *pred, const LX_T *target, int n, int m, LX_T *score) {
  using namespace lossexport;
  constexpr Metric M = static_cast<Metric>(LX_METRIC);
  LX_SHARED Box rows[PAIRWISE_ROWS];
  const int first = static_cast<int>(blockIdx.y) * PAIRWISE_ROWS;
  const int count = n - first < PAIRWISE_ROWS ? n - first : PAIRWISE_ROWS;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < count) rows[thread] = load_box<M>(pred + 4 * (first + thread));
  LX_SYNC();
  const int column = static_cast<int>(blockIdx.x * blockDim.x) + thread;
  if (column >= m) return;
  const Box box = load_box<M>(target + 4 * column);
  LX_T *out = score + static_cast<long long>(first) * m + column;
  for (int row = 0; row < count; ++row, out += m)
    store(out, lossexport::score<M>(rows[row], box, LX_EPS));
}
#endif

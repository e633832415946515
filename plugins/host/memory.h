// Asks for memory that lies anywhere, some time before it is read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace lossexport {

// So many rows ahead.
constexpr int64_t AHEAD = 16;

// Asks for `table[width * row[place + AHEAD]]` of `count` rows. What is no row is asked for in vain.
template <typename Row, typename T>
void prefetch(const T *table, const Row *row, int64_t place, int64_t count, uint64_t width = 1) {
  const auto there = static_cast<uint64_t>(row[std::min(place + AHEAD, count - 1)]);
  const auto address = reinterpret_cast<uintptr_t>(table) + sizeof(T) * width * there;
  __builtin_prefetch(reinterpret_cast<const void *>(address));
}

}  // namespace lossexport

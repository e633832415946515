// Numbers the ids of images and categories.
#include <new>
#include <vector>

#include "arguments.h"
#include "rows.h"

namespace lossexport {
namespace {

// Open addressing; a slot holds a number and one more, so that 0 is a free one.
int64_t number_ids(const int64_t *ids, int64_t count, int32_t *number, int64_t *distinct) {
  int64_t found = 0;
  int shift = 64 - 8;
  std::vector<int32_t> slots(std::size_t{1} << 8);
  const auto place = [&](int64_t id) {
    const std::size_t mask = slots.size() - 1;
    std::size_t slot = static_cast<uint64_t>(id) * 0x9E3779B97F4A7C15u >> shift;
    while (slots[slot] && distinct[slots[slot] - 1] != id) slot = (slot + 1) & mask;
    return slot;
  };
  for (int64_t i = 0; i < count; ++i) {
    if (i && ids[i] == ids[i - 1]) {
      number[i] = number[i - 1];
      continue;
    }
    std::size_t slot = place(ids[i]);
    if (!slots[slot]) {
      if (2 * static_cast<std::size_t>(found) >= slots.size()) {
        --shift;
        slots.assign(2 * slots.size(), 0);
        for (int64_t k = 0; k < found; ++k) slots[place(distinct[k])] = static_cast<int32_t>(k + 1);
        slot = place(ids[i]);
      }
      distinct[found++] = ids[i];
      slots[slot] = static_cast<int32_t>(found);
    }
    number[i] = slots[slot] - 1;
  }
  return found;
}

}  // namespace
}  // namespace lossexport

extern "C" {

int32_t lossexport_number_ids(const int64_t *ids, int64_t count, int32_t *number, int64_t *distinct,
                              int64_t *found) {
  using namespace lossexport;
  forget();
  if (count < 0 || count > INT32_MAX || (count && !(ids && number && distinct)) || !found)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "rows: ids are missing");
  try {
    *found = number_ids(ids, count, number, distinct);
  } catch (const std::bad_alloc &) {
    return fail(LOSSEXPORT_NO_MEMORY, "rows: not enough memory");
  }
  return LOSSEXPORT_OK;
}

}  // extern "C"

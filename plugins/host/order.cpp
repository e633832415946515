// The order in which boxes are matched.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <new>
#include <vector>

#include "arguments.h"
#include "coco.h"
#include "memory.h"

namespace lossexport {
namespace {

// Up to this length a run is put in order by insertion.
constexpr int64_t SHORT_RUN = 24;

struct Scored {
  double score;
  int64_t row;
};

// Rows by rising code, equal ones in the order of `from`, or of their numbers if that is null, and
// where those of each code end. False if a code is out of range.
bool by_code(const int32_t *code, int64_t count, int64_t codes, const int32_t *from, int32_t *to,
             std::vector<int64_t> *ends) {
  std::vector<int64_t> &next = *ends;
  next.assign(static_cast<std::size_t>(codes) + 1, 0);
  for (int64_t i = 0; i < count; ++i) {
    if (code[i] < 0 || code[i] >= codes) return false;
    ++next[static_cast<std::size_t>(code[i]) + 1];
  }
  for (std::size_t k = 1; k < next.size(); ++k) next[k] += next[k - 1];
  for (int64_t i = 0; i < count; ++i) {
    if (from) prefetch(code, from, i, count);
    const int32_t row = from ? from[i] : static_cast<int32_t>(i);
    to[next[static_cast<std::size_t>(code[row])]++] = row;
  }
  return true;
}

void by_falling_score(Scored *begin, Scored *end) {
  const auto before = [](const Scored &a, const Scored &b) { return a.score > b.score; };
  if (end - begin > SHORT_RUN) return std::stable_sort(begin, end, before);
  for (Scored *i = begin + 1; i < end; ++i) {
    const Scored one = *i;
    Scored *j = i;
    for (; j > begin && before(one, j[-1]); --j) *j = j[-1];
    *j = one;
  }
}

int32_t order(const int32_t *category, const int32_t *image, const double *score, int64_t count,
              int64_t categories, int64_t images, int64_t *row, int64_t *group, int64_t *rank) {
  std::vector<int32_t> by_image, by_both(static_cast<std::size_t>(count));
  std::vector<int64_t> ends;
  const bool sorted = std::is_sorted(image, image + count);
  if (!sorted) by_image.resize(by_both.size());
  const int32_t *const from = sorted ? nullptr : by_image.data();
  if ((sorted && count && (image[0] < 0 || image[count - 1] >= images)) ||
      (!sorted && !by_code(image, count, images, nullptr, by_image.data(), &ends)) ||
      !by_code(category, count, categories, from, by_both.data(), &ends))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "order: a code is out of range");
  std::vector<Scored> run;
  int64_t start = 0;
  for (int64_t kind = 0; kind < categories; ++kind) {
    for (const int64_t end = ends[static_cast<std::size_t>(kind)]; start < end;) {
      const int32_t here = image[by_both[static_cast<std::size_t>(start)]];
      int64_t stop = start;
      run.clear();
      for (; stop < end; ++stop) {
        prefetch(image, by_both.data(), stop, count);
        if (score) prefetch(score, by_both.data(), stop, count);
        const int64_t one = by_both[static_cast<std::size_t>(stop)];
        if (image[one] != here) break;
        run.push_back({score ? score[one] : 0, one});
      }
      if (score) by_falling_score(run.data(), run.data() + run.size());
      for (int64_t i = start; i < stop; ++i) {
        row[i] = run[static_cast<std::size_t>(i - start)].row;
        group[i] = kind * images + here;
        if (rank) rank[i] = i - start;
      }
      start = stop;
    }
  }
  return LOSSEXPORT_OK;
}

using Bits = std::array<uint64_t, 5>;

// How many of the boxes repeat one of the others.
int64_t repeats(std::vector<Bits> *boxes) {
  int64_t found = 0;
  if (static_cast<int64_t>(boxes->size()) <= SHORT_RUN) {
    for (std::size_t i = 1; i < boxes->size(); ++i) {
      std::size_t j = 0;
      while (j < i && (*boxes)[j] != (*boxes)[i]) ++j;
      found += j < i;
    }
    return found;
  }
  std::sort(boxes->begin(), boxes->end());
  for (std::size_t i = 1; i < boxes->size(); ++i) found += (*boxes)[i] == (*boxes)[i - 1];
  return found;
}

// Whether two of the numbers are equal, bit by bit.
bool any_equal(std::vector<uint64_t> *values) {
  if (static_cast<int64_t>(values->size()) > SHORT_RUN) {
    std::sort(values->begin(), values->end());
    return std::adjacent_find(values->begin(), values->end()) != values->end();
  }
  for (auto i = values->begin(); i != values->end(); ++i) {
    if (std::find(values->begin(), i, *i) != i) return true;
  }
  return false;
}

int32_t repeats(const int64_t *row, const int64_t *group, int64_t count, const double *box,
                const double *value, int64_t rows, int64_t *found) {
  std::vector<Bits> boxes;
  std::vector<uint64_t> values;
  *found = 0;
  for (int64_t start = 0, stop = 0; start < count; start = stop) {
    while (stop < count && group[stop] == group[start]) ++stop;
    if (stop - start == 1) continue;
    values.clear();
    for (int64_t i = start; i < stop; ++i) {
      if (row[i] < 0 || row[i] >= rows)
        return fail(LOSSEXPORT_BAD_ARGUMENT, "repeats: a row is out of range");
      prefetch(value, row, i, count);
      values.push_back(std::bit_cast<uint64_t>(value[row[i]]));
    }
    if (!any_equal(&values)) continue;
    boxes.clear();
    for (int64_t i = start; i < stop; ++i) {
      Bits bits;
      for (std::size_t k = 0; k < 4; ++k) {
        bits[k] = std::bit_cast<uint64_t>(box[4 * row[i] + static_cast<int64_t>(k)]);
      }
      bits[4] = std::bit_cast<uint64_t>(value[row[i]]);
      boxes.push_back(bits);
    }
    *found += repeats(&boxes);
  }
  return LOSSEXPORT_OK;
}

int32_t look(const double *box, const int32_t *image, int64_t count, const double *sizes,
             int64_t images, double spill, lossexport_survey *found) {
  *found = {0, 0, 0};
  const double far = 1 + spill, near = -spill;
  for (int64_t i = 0; i < count; ++i, box += 4) {
    for (int k = 0; k < 4; ++k) found->most = std::max(found->most, std::abs(box[k]));
    found->turned += box[2] > box[0] && box[3] > box[1];
    if (!sizes) continue;
    if (image[i] < 0 || image[i] >= images)
      return fail(LOSSEXPORT_BAD_ARGUMENT, "look: an image is out of range");
    const double *size = sizes + 2 * int64_t{image[i]};
    bool out = false;
    for (int k = 0; k < 2; ++k) {
      out |= box[k] + box[2 + k] > far * size[k] || box[k] < near * size[k];
    }
    found->beyond += out;
  }
  return LOSSEXPORT_OK;
}

}  // namespace
}  // namespace lossexport

extern "C" {

int32_t lossexport_order(const int32_t *category, const int32_t *image, const double *score,
                         int64_t count, int64_t categories, int64_t images, int64_t *row,
                         int64_t *group, int64_t *rank) {
  using namespace lossexport;
  forget();
  if (count < 0 || count > INT32_MAX || categories < 0 || categories > INT32_MAX || images < 0 ||
      images > INT32_MAX || (count && !(category && image && row && group)))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "order: boxes are missing");
  try {
    return order(category, image, score, count, categories, images, row, group, rank);
  } catch (const std::bad_alloc &) {
    return fail(LOSSEXPORT_NO_MEMORY, "order: not enough memory");
  }
}

int32_t lossexport_repeats(const int64_t *row, const int64_t *group, int64_t count,
                           const double *box, const double *value, int64_t rows, int64_t *found) {
  using namespace lossexport;
  forget();
  if (count < 0 || rows < 0 || (count && !(row && group && box && value)) || !found)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "repeats: boxes are missing");
  try {
    return repeats(row, group, count, box, value, rows, found);
  } catch (const std::bad_alloc &) {
    return fail(LOSSEXPORT_NO_MEMORY, "repeats: not enough memory");
  }
}

int32_t lossexport_inside(const int64_t *row, int64_t count, const double *size, int64_t rows,
                          const double *areas, int64_t area_count, uint8_t *inside) {
  using namespace lossexport;
  forget();
  if (count < 0 || rows < 0 || area_count < 0 || area_count > 8 || (area_count && !areas) ||
      (count && !(row && size && inside)))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "inside: areas are missing");
  for (int64_t i = 0; i < count; ++i) {
    if (row[i] < 0 || row[i] >= rows)
      return fail(LOSSEXPORT_BAD_ARGUMENT, "inside: a row is out of range");
    prefetch(size, row, i, count);
    const double here = size[row[i]];
    unsigned bits = 0;
    for (int64_t a = 0; a < area_count; ++a) {
      bits |= static_cast<unsigned>(!(here < areas[2 * a] || here > areas[2 * a + 1])) << a;
    }
    inside[i] = static_cast<uint8_t>(bits);
  }
  return LOSSEXPORT_OK;
}

int32_t lossexport_look(const double *box, const int32_t *image, int64_t count, const double *sizes,
                        int64_t images, double spill, lossexport_survey *found) {
  using namespace lossexport;
  forget();
  if (count < 0 || images < 0 || (count && !(box && image)) || !found)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "look: boxes are missing");
  return look(box, image, count, sizes, images, spill, found);
}

}  // extern "C"

// Recall and precision by the operations of the COCO API, in their order.
#include <algorithm>
#include <bit>
#include <limits>
#include <new>
#include <vector>

#include "arguments.h"
#include "coco.h"

namespace lossexport {
namespace {

constexpr int8_t TRUE = 1;
constexpr int64_t MOST_AREAS = 8, MOST_LANES = 1 << 16;

std::size_t at(int64_t place) { return static_cast<std::size_t>(place); }

// A prediction by its score: the lower the key, the higher the score.
struct Keyed {
  uint64_t key;
  int32_t place;
  int32_t row;  // of its outcomes, -1 without
  bool operator<(const Keyed &other) const {
    return key != other.key ? key < other.key : place < other.place;
  }
};

uint64_t key_of(double score) {
  const uint64_t bits = std::bit_cast<uint64_t>(score + 0.0);  // -0 becomes 0
  const uint64_t rising = bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
  return ~rising;
}

// Sorts by key, then by place, in which order they come: by digits of the leading bits, then what
// these do not tell apart.
class Sorter {
 public:
  void sort(std::vector<Keyed> *all) {
    if (all->size() < FEWEST) return std::sort(all->begin(), all->end());
    other_.resize(all->size());
    for (int shift = 64 - PASSES * DIGIT; shift < 64; shift += DIGIT) {
      std::fill(next_.begin(), next_.end(), 0);
      for (const Keyed &one : *all) ++next_[digit(one, shift) + 1];
      if (*std::max_element(next_.begin(), next_.end()) == all->size()) continue;
      for (std::size_t k = 1; k < next_.size(); ++k) next_[k] += next_[k - 1];
      for (const Keyed &one : *all) other_[next_[digit(one, shift)]++] = one;
      all->swap(other_);
    }
    for (auto begin = all->begin(); begin != all->end();) {
      const uint64_t lead = begin->key >> (64 - PASSES * DIGIT);
      auto end = begin + 1;
      while (end != all->end() && end->key >> (64 - PASSES * DIGIT) == lead) ++end;
      if (end - begin > 1) std::sort(begin, end);
      begin = end;
    }
  }

 private:
  static constexpr int DIGIT = 11, PASSES = 3;
  static constexpr std::size_t FEWEST = 1024;
  static std::size_t digit(const Keyed &one, int shift) {
    return one.key >> shift & ((1u << DIGIT) - 1);
  }
  std::vector<Keyed> other_;
  std::vector<std::size_t> next_ = std::vector<std::size_t>((std::size_t{1} << DIGIT) + 1);
};

bool usable(const lossexport_outcomes *given) {
  if (!given || given->count < 0 || given->count > INT32_MAX || given->placed < 0 ||
      given->placed > given->count || given->areas < 1 || given->areas > MOST_AREAS ||
      given->thresholds < 1 || given->thresholds > MOST_LANES || given->categories < 0)
    return false;
  if (given->count && !(given->category && given->rank && given->score && given->inside))
    return false;
  if (given->placed && !(given->place && given->outcome)) return false;
  for (int64_t i = 0; i < given->placed; ++i) {
    const int64_t least = i ? given->place[i - 1] + int64_t{1} : 0;
    if (given->place[i] < least || given->place[i] >= given->count) return false;
  }
  for (int64_t i = 0; i < given->count; ++i) {
    if (given->category[i] < (i ? given->category[i - 1] : 0)) return false;
  }
  return !given->count || given->category[given->count - 1] < given->categories;
}

class Curves {
 public:
  Curves(const lossexport_outcomes &given, const int64_t *positives, const double *recalls,
         int64_t recall_count, int64_t most, int64_t columns, double *precision)
      : given_(given),
        positives_(positives),
        recalls_(recalls),
        recall_count_(recall_count),
        most_(most),
        columns_(columns),
        precision_(precision),
        envelopes_(at(given.areas * given.thresholds)),
        spared_(envelopes_.size()),
        needed_(at(recall_count)),
        tile_(envelopes_.size() * at(recall_count * TILE)) {}

  // Of the predictions from `first` to `last`, and the outcomes from `row` on; returns the row of
  // the next category.
  int64_t category(int64_t k, int64_t first, int64_t last, int64_t row, int64_t column) {
    ranked_.clear();
    for (int64_t i = first; i < last; ++i) {
      const bool placed = row < given_.placed && given_.place[row] == i;
      if (given_.rank[i] < most_) {
        ranked_.push_back({key_of(given_.score[i]), static_cast<int32_t>(i),
                           placed ? static_cast<int32_t>(row) : -1});
      }
      row += placed;
    }
    if (column < 0) return row;
    begin(column);
    sorter_.sort(&ranked_);
    count();
    for (int64_t a = 0; a < given_.areas; ++a) {
      const int64_t wanted = positives_[a * given_.categories + k];
      if (wanted > 0) write(a, wanted, column);
    }
    return row;
  }

  // Writes what has been kept.
  void flush() {
    if (tile_column_ < 0) return;
    const int64_t rows = given_.areas * given_.thresholds * recall_count_;
    const int64_t width = std::min(TILE, columns_ - tile_column_);
    for (int64_t i = 0; i < rows; ++i) {
      std::copy_n(tile_.data() + i * TILE, width, precision_ + i * columns_ + tile_column_);
    }
  }

 private:
  static constexpr int64_t TILE = 8;

  // The precision at each hit of each lane.
  void count() {
    for (auto &envelope : envelopes_) envelope.clear();
    std::fill(spared_.begin(), spared_.end(), 0);
    int64_t wrong[MOST_AREAS] = {};
    for (const Keyed &one : ranked_) {
      const unsigned inside = given_.inside[one.place];
      for (int64_t a = 0; a < given_.areas; ++a) wrong[a] += inside >> a & 1;
      if (one.row < 0) continue;
      const int8_t *outcome = given_.outcome + one.row * given_.areas * given_.thresholds;
      for (int64_t a = 0; a < given_.areas; ++a) {
        const bool counts = inside >> a & 1;
        for (int64_t t = 0; t < given_.thresholds; ++t) {
          const std::size_t lane = at(a * given_.thresholds + t);
          const int8_t here = outcome[lane];
          spared_[lane] += counts && here;
          if (here != TRUE) continue;
          const double hits = static_cast<double>(envelopes_[lane].size() + 1);
          const double misses = static_cast<double>(wrong[a] - spared_[lane]);
          envelopes_[lane].push_back(hits /
                                     (misses + hits + std::numeric_limits<double>::epsilon()));
        }
      }
    }
  }

  void write(int64_t a, int64_t wanted, int64_t column) {
    int64_t most = wanted;
    for (int64_t t = 0; t < given_.thresholds; ++t) {
      most = std::max(most, static_cast<int64_t>(envelopes_[at(a * given_.thresholds + t)].size()));
    }
    for (int64_t r = 0; r < recall_count_; ++r) needed_[at(r)] = need(recalls_[r], wanted, most);
    for (int64_t t = 0; t < given_.thresholds; ++t) {
      const int64_t lane = a * given_.thresholds + t;
      std::vector<double> &envelope = envelopes_[at(lane)];
      for (std::size_t i = envelope.size(); i-- > 1;) {
        envelope[i - 1] = std::max(envelope[i - 1], envelope[i]);
      }
      double *out = tile(lane * recall_count_, column);
      bool reached = true;
      for (int64_t r = 0; r < recall_count_; ++r) {
        // A recall of 0 is reached with the first hit. The COCO API leaves out all recalls after
        // the first that is not reached.
        const int64_t hits = std::max<int64_t>(needed_[at(r)], 1);
        reached = reached && hits <= static_cast<int64_t>(envelope.size());
        out[r * TILE] = reached ? envelope[at(hits - 1)] : 0;
      }
    }
  }

  // Where a lane of a column, from `first` on, is kept until `flush`.
  double *tile(int64_t first, int64_t column) {
    return tile_.data() + first * TILE + (column - tile_column_);
  }

  // Begins with a column. Some columns are written at once, because those of a recall are adjacent.
  void begin(int64_t column) {
    if (column < tile_column_ + TILE && column >= tile_column_) return;
    flush();
    tile_column_ = column;
    const int64_t rows = given_.areas * given_.thresholds * recall_count_;
    const int64_t width = std::min(TILE, columns_ - column);
    for (int64_t i = 0; i < rows; ++i) {
      std::copy_n(precision_ + i * columns_ + column, width, tile_.data() + i * TILE);
    }
  }

  // The fewest hits, of up to `most`, whose share in `wanted` is `recall` or more.
  static int64_t need(double recall, int64_t wanted, int64_t most) {
    const auto reaches = [=](int64_t hits) {
      return static_cast<double>(hits) / static_cast<double>(wanted) >= recall;
    };
    int64_t low = 0, high = most + 1;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (reaches(middle))
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  }

  const lossexport_outcomes &given_;
  const int64_t *const positives_;
  const double *const recalls_;
  const int64_t recall_count_, most_, columns_;
  double *const precision_;
  std::vector<std::vector<double>> envelopes_;
  std::vector<int64_t> spared_, needed_;
  std::vector<double> tile_;
  int64_t tile_column_ = -TILE;
  std::vector<Keyed> ranked_;
  Sorter sorter_;
};

// The end of the category of the prediction at `place`.
int64_t category_end(const lossexport_outcomes &given, int64_t place) {
  const int32_t *begin = given.category + place, *end = given.category + given.count;
  return std::upper_bound(begin, end, *begin) - given.category;
}

}  // namespace
}  // namespace lossexport

extern "C" {

int32_t lossexport_hits(const lossexport_outcomes *given, const int64_t *most, int64_t limits,
                        int64_t *hits) {
  using namespace lossexport;
  forget();
  if (!usable(given) || limits < 0 || (limits && !(most && hits)))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "hits: outcomes are missing");
  const int64_t lanes = given->areas * given->thresholds;
  std::fill_n(hits, limits * lanes * given->categories, 0);
  try {
    std::vector<int64_t> here(at(limits * lanes));  // of one category
    for (int64_t row = 0; row < given->placed;) {
      const int32_t category = given->category[given->place[row]];
      std::fill(here.begin(), here.end(), 0);
      for (; row < given->placed && given->category[given->place[row]] == category; ++row) {
        const int8_t *outcome = given->outcome + row * lanes;
        for (int64_t limit = 0; limit < limits; ++limit) {
          if (given->rank[given->place[row]] >= most[limit]) continue;
          int64_t *out = here.data() + limit * lanes;
          for (int64_t lane = 0; lane < lanes; ++lane) out[lane] += outcome[lane] == TRUE;
        }
      }
      for (int64_t i = 0; i < limits * lanes; ++i) {
        hits[i * given->categories + category] = here[at(i)];
      }
    }
  } catch (const std::bad_alloc &) {
    return fail(LOSSEXPORT_NO_MEMORY, "hits: not enough memory");
  }
  return LOSSEXPORT_OK;
}

int32_t lossexport_precision(const lossexport_outcomes *given, const int64_t *positives,
                             const double *recalls, int64_t recall_count, int64_t most,
                             const int64_t *column, int64_t columns, double *precision) {
  using namespace lossexport;
  forget();
  if (!usable(given) || recall_count < 0 || columns < 0 || (recall_count && !recalls) ||
      (given->categories && !(positives && column)) || (columns && recall_count && !precision))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "precision: outcomes are missing");
  for (int64_t k = 0; k < given->categories; ++k) {
    if (column[k] >= columns) return fail(LOSSEXPORT_BAD_ARGUMENT, "precision: no such column");
  }
  try {
    Curves curves(*given, positives, recalls, recall_count, most, columns, precision);
    int64_t first = 0, row = 0;
    for (int64_t k = 0; k < given->categories; ++k) {
      const bool some = first < given->count && given->category[first] == k;
      const int64_t last = some ? category_end(*given, first) : first;
      row = curves.category(k, first, last, row, column[k]);
      first = last;
    }
    curves.flush();
  } catch (const std::bad_alloc &) {
    return fail(LOSSEXPORT_NO_MEMORY, "precision: not enough memory");
  }
  return LOSSEXPORT_OK;
}

}  // extern "C"

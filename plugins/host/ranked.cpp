// Predictions by falling score, all together and by category.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

#include "arguments.h"
#include "coco.h"
#include "memory.h"

namespace lossexport {
namespace {

constexpr int8_t MATCHED = 1, IGNORED = 2;
constexpr int DIGITS = 3, DIGIT_BITS = 11;

struct Keyed {
  uint32_t key;  // the first half of a number that rises as the score falls
  int32_t row;
};

// -0 has the key of 0.
uint32_t falling(double score) {
  const uint64_t bits = std::bit_cast<uint64_t>(score + 0.0);
  const uint64_t rising = bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
  return static_cast<uint32_t>(~rising >> 32);
}

// By rising key; equal ones keep their order.
void sort_by_key(std::vector<Keyed> *rows) {
  constexpr uint32_t MASK = (1u << DIGIT_BITS) - 1;
  std::array<std::array<uint32_t, MASK + 1>, DIGITS> next{};
  for (const Keyed &one : *rows) {
    for (std::size_t d = 0; d < DIGITS; ++d) ++next[d][one.key >> DIGIT_BITS * d & MASK];
  }
  std::vector<Keyed> other(rows->size());
  for (std::size_t d = 0; d < DIGITS; ++d) {
    if (std::find(next[d].begin(), next[d].end(), rows->size()) != next[d].end()) continue;
    uint32_t sum = 0;
    for (uint32_t &place : next[d]) sum += std::exchange(place, sum);
    for (const Keyed &one : *rows) other[next[d][one.key >> DIGIT_BITS * d & MASK]++] = one;
    rows->swap(other);
  }
}

// A set of rows, each with the number of members before it.
class Members {
 public:
  Members(const int8_t *status, int64_t count) : words_(static_cast<std::size_t>(count / 64 + 1)) {
    for (int64_t i = 0; i < count; ++i)
      words_[static_cast<std::size_t>(i / 64)].bits |= uint64_t{status[i] == MATCHED} << i % 64;
    for (Word &word : words_) {
      word.before = size_;
      size_ += std::popcount(word.bits);
    }
  }

  int64_t size() const { return size_; }
  bool has(int64_t row) const { return word(row).bits >> row % 64 & 1; }
  int64_t before(int64_t row) const {
    const uint64_t lower = (uint64_t{1} << row % 64) - 1;
    return word(row).before + std::popcount(word(row).bits & lower);
  }

 private:
  struct Word {
    uint64_t bits = 0;
    int64_t before = 0;
  };
  const Word &word(int64_t row) const { return words_[static_cast<std::size_t>(row / 64)]; }

  std::vector<Word> words_;
  int64_t size_ = 0;
};

struct Hit {
  float iou;
  int32_t category;
  int64_t of_category;  // its number among the matches by category
};

class Ranking {
 public:
  Ranking(const lossexport_outcome_rows &given, const lossexport_ranking &out)
      : given_(given), out_(out), next_(static_cast<std::size_t>(given.categories)) {}

  int32_t run() {
    const Members matched(given_.status, given_.count);
    std::vector<Keyed> rows;
    rows.reserve(static_cast<std::size_t>(out_.capacity));
    if (matched.size() != given_.matches || !begin(&rows))
      return fail(LOSSEXPORT_BAD_ARGUMENT, "rank: counts or categories are wrong");
    sort_by_key(&rows);
    for (std::size_t start = 0, stop; start < rows.size(); start = stop) {
      for (stop = start + 1; stop < rows.size() && rows[stop].key == rows[start].key;) ++stop;
      if (stop - start > 1) by_falling_score(rows.data() + start, rows.data() + stop);
      for (std::size_t i = start; i < stop; ++i) {
        take(rows, i, matched);
        // Of equal scores the overlaps rise.
        if (i + 1 == stop || score(rows[i]) != score(rows[i + 1])) take_hits(i + 1);
      }
    }
    return LOSSEXPORT_OK;
  }

 private:
  struct Next {
    int64_t place = 0, hit = 0, iou = 0;
  };

  // The rows that count, and where those of each category begin.
  bool begin(std::vector<Keyed> *rows) {
    for (int64_t i = 0; i < given_.count; ++i) {
      if (given_.status[i] == IGNORED) continue;
      const int32_t kind = given_.category[i];
      if (kind < 0 || kind >= given_.categories ||
          static_cast<int64_t>(rows->size()) == out_.capacity)
        return false;
      rows->push_back({falling(given_.score[i]), static_cast<int32_t>(i)});
      Next &next = next_[static_cast<std::size_t>(kind)];
      ++next.place;
      next.hit += given_.status[i] == MATCHED;
    }
    Next sum;
    for (std::size_t k = 0; k < next_.size(); ++k) {
      out_.first[k] = sum.place;
      const Next size = std::exchange(next_[k], sum);
      next_[k].iou = sum.hit;
      sum.place += size.place;
      sum.hit += size.hit;
    }
    out_.first[next_.size()] = sum.place;
    return sum.place == out_.capacity;
  }

  double score(const Keyed &one) const { return given_.score[one.row]; }

  // Rows of equal keys: mostly their scores are equal too.
  void by_falling_score(Keyed *begin, Keyed *end) const {
    const auto before = [&](const Keyed &a, const Keyed &b) { return score(a) > score(b); };
    if (!std::is_sorted(begin, end, before)) std::sort(begin, end, before);
  }

  void take(const std::vector<Keyed> &rows, std::size_t place, const Members &matched) {
    const std::size_t ahead = std::min(place + AHEAD, rows.size() - 1);
    __builtin_prefetch(given_.score + rows[ahead].row);
    __builtin_prefetch(given_.category + rows[ahead].row);
    const int32_t row = rows[place].row, kind = given_.category[row];
    Next &next = next_[static_cast<std::size_t>(kind)];
    out_.score[place] = out_.score_each[next.place] = given_.score[row];
    if (matched.has(row)) {
      hits_.push_back({given_.iou[matched.before(row)], kind, next.hit});
      out_.hit[hit_++] = static_cast<int64_t>(place);
      out_.hit_each[next.hit++] = next.place;
    }
    ++next.place;
  }

  // The matches of a score, after which the predictions with it end.
  void take_hits(std::size_t end) {
    if (hits_.empty()) return;
    std::fill(out_.end + iou_, out_.end + hit_, static_cast<int64_t>(end));
    if (hits_.size() > 1) {
      const auto lower = [](const Hit &a, const Hit &b) { return a.iou < b.iou; };
      std::sort(hits_.begin(), hits_.end(), lower);
    }
    for (const Hit &hit : hits_) {
      Next &next = next_[static_cast<std::size_t>(hit.category)];
      out_.end_each[hit.of_category] = next.place;
      out_.iou[iou_++] = out_.iou_each[next.iou++] = hit.iou;
    }
    hits_.clear();
  }

  const lossexport_outcome_rows &given_;
  const lossexport_ranking &out_;
  std::vector<Next> next_;
  std::vector<Hit> hits_;
  int64_t hit_ = 0, iou_ = 0;
};

}  // namespace
}  // namespace lossexport

extern "C" {

int32_t lossexport_rank(const lossexport_outcome_rows *given, const lossexport_ranking *out) {
  using namespace lossexport;
  forget();
  if (!given || given->count < 0 || given->count > INT32_MAX || given->matches < 0 ||
      given->categories < 0 ||
      (given->count && !(given->category && given->score && given->status)) ||
      (given->matches && !given->iou))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "rank: predictions are missing");
  if (!out || out->capacity < given->matches || !out->first ||
      (out->capacity && !(out->score && out->score_each)) ||
      (given->matches &&
       !(out->hit && out->end && out->iou && out->hit_each && out->end_each && out->iou_each)))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "rank: no memory to write to");
  try {
    return Ranking(*given, *out).run();
  } catch (const std::bad_alloc &) {
    return fail(LOSSEXPORT_NO_MEMORY, "rank: not enough memory");
  }
}

}  // extern "C"

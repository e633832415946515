// Pairs of overlapping boxes, and the greedy assignment over them.
#include "pairs.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>
#include <vector>

#include "arguments.h"
#include "memory.h"
#include "oriented.h"
#include "pairs_index.h"

namespace lossexport {
namespace {

std::size_t at(int64_t place) { return static_cast<std::size_t>(place); }

int32_t refuse(const char *what) { return fail(LOSSEXPORT_BAD_ARGUMENT, "pairs: %s", what); }

bool usable(const lossexport_boxes *boxes) {
  if (!boxes || boxes->count < 0 || boxes->count > INT32_MAX || boxes->rows < 0) return false;
  return !boxes->count || (boxes->box && boxes->row && boxes->group);
}

bool usable(const lossexport_rules *rules, int64_t refs) {
  return rules && rules->areas > 0 && rules->threshold_count > 0 && rules->areas < 1024 &&
         rules->threshold_count < 1024 && rules->thresholds &&
         (!refs || (rules->crowd && rules->ignored));
}

bool usable_pairs(const int32_t *pred, const int32_t *ref, const double *iou, int64_t count,
                  int64_t refs, int64_t predictions, const void *out) {
  return count >= 0 && count <= INT32_MAX && refs >= 0 && refs <= INT32_MAX && predictions >= 0 &&
         (!count || (pred && ref && iou)) && (!predictions || out);
}

// The box at a place, or null if there is none or it is not finite.
template <typename Kind>
const double *box_at(const lossexport_boxes &boxes, int64_t place) {
  const int64_t row = boxes.row[place];
  if (row < 0 || row >= boxes.rows) return nullptr;
  const double *box = boxes.box + Kind::WIDTH * row;
  for (int i = 0; i < Kind::WIDTH; ++i) {
    if (!std::isfinite(box[i])) return nullptr;
  }
  return box;
}

// The references of the group that comes next, in an index.
template <typename Kind>
class Group {
 public:
  Group(const lossexport_boxes &ref, const uint8_t *crowd) : ref_(ref), crowd_(crowd) {}

  // A group after those that were taken. False if a box is not usable.
  bool take(int64_t group) {
    // Groups rise, so that the next one is not far away.
    const int64_t *begin = ref_.group + first_ + count_, *end = ref_.group + ref_.count;
    for (int64_t step = 1; begin < end && *begin < group; step *= 2) {
      const int64_t *const after = begin + std::min<int64_t>(step, end - begin);
      if (after[-1] >= group) {
        begin = std::lower_bound(begin, after, group);
        break;
      }
      begin = after;
    }
    first_ = begin - ref_.group;
    count_ = 0;
    while (begin + count_ < end && begin[count_] == group) ++count_;
    if (!count_) return true;
    index_.clear(count_);
    for (int64_t i = 0; i < count_; ++i) {
      const double *box = box_at<Kind>(ref_, first_ + i);
      if (!box) return false;
      index_.add(Edges(box), crowd_[first_ + i], static_cast<int32_t>(i));
    }
    index_.build();
    return true;
  }

  // Replaces `found` by every reference that `box` overlaps by `threshold` or more, in no order.
  void find(const double *box, double threshold, std::vector<Candidate> *found) const {
    const auto row = [this](int32_t ref) {
      const int64_t place = first_ + ref;
      return std::pair(ref_.box + Kind::WIDTH * ref_.row[place], crowd_[place] != 0);
    };
    Kind::find(index_, box, threshold, row, found);
  }

  int64_t first() const { return first_; }
  int64_t count() const { return count_; }
  void remove(int32_t ref) { index_.remove(ref); }

 private:
  const lossexport_boxes &ref_;
  const uint8_t *crowd_;
  int64_t first_ = 0, count_ = 0;
  Index index_;
};

// Where the group of the prediction at `place` ends.
int64_t group_end(const lossexport_boxes &pred, int64_t place) {
  const int64_t group = pred.group[place];
  while (place < pred.count && pred.group[place] == group) ++place;
  return place;
}

bool worse(const Candidate &a, const Candidate &b) {
  return a.iou != b.iou ? a.iou < b.iou : a.ref < b.ref;
}

// Candidates by falling overlap, of which only those that are asked for are put in order.
class Ranked {
 public:
  explicit Ranked(std::vector<Candidate> *all) : all_(*all) {
    std::make_heap(all_.begin(), all_.end(), worse);
  }
  std::size_t size() const { return all_.size(); }
  const Candidate &operator[](std::size_t i) {
    for (; done_ <= i; ++done_) {
      std::pop_heap(all_.begin(), all_.end() - static_cast<std::ptrdiff_t>(done_), worse);
    }
    return all_[all_.size() - 1 - i];
  }

 private:
  std::vector<Candidate> &all_;
  std::size_t done_ = 0;
};

// Which references are used up, lane by lane.
class Lanes {
 public:
  explicit Lanes(const lossexport_rules &rules)
      : rules_(rules), lanes_(rules.areas * rules.threshold_count), words_((lanes_ + 63) / 64) {}

  int64_t count() const { return lanes_; }

  // Begins anew with `refs` references, whose rules are those from `first` on.
  void clear(int64_t first, int64_t refs) {
    first_ = first;
    taken_.assign(at(refs * words_), 0);
  }

  // Calls won(lane, candidate) for each lane that one of the candidates wins.
  template <typename Won>
  void choose(std::vector<Candidate> *all, Won won) {
    if (lanes_ == 1) {
      const Candidate *best = scan(*all);
      if (!best) return;
      if (!rules_.crowd[first_ + best->ref]) take(best->ref, 0);
      return won(0, *best);
    }
    Ranked ranked(all);
    for (int64_t area = 0; area < rules_.areas; ++area) {
      std::size_t counted = 0;
      for (const Candidate &one : *all) counted += !ignored(one, area);
      for (int64_t i = 0; i < rules_.threshold_count; ++i) {
        const int64_t lane = area * rules_.threshold_count + i;
        const Candidate *best = pick(&ranked, area, lane, counted, rules_.thresholds[i]);
        if (!best) continue;
        if (!rules_.crowd[first_ + best->ref]) take(best->ref, lane);
        won(lane, *best);
      }
    }
  }

  bool taken_in_all(int32_t ref) const {
    for (int64_t lane = 0; lane < lanes_; ++lane) {
      if (!taken(ref, lane)) return false;
    }
    return true;
  }

 private:
  bool ignored(const Candidate &one, int64_t area) const {
    return rules_.ignored[(first_ + one.ref) * rules_.areas + area];
  }
  bool taken(int32_t ref, int64_t lane) const {
    return taken_[at(ref * words_ + lane / 64)] >> (lane % 64) & 1;
  }
  void take(int32_t ref, int64_t lane) {
    taken_[at(ref * words_ + lane / 64)] |= uint64_t{1} << (lane % 64);
  }

  // The free candidate of highest overlap; an ignored one only if no other is free. `counted` are
  // not ignored.
  const Candidate *pick(Ranked *ranked, int64_t area, int64_t lane, std::size_t counted,
                        double threshold) {
    const Candidate *spare = nullptr;
    for (std::size_t i = 0; i < ranked->size(); ++i) {
      if (spare && !counted) break;
      const Candidate &one = (*ranked)[i];
      if (!(one.iou >= threshold)) break;
      const bool last = ignored(one, area);
      counted -= !last;
      if (taken(one.ref, lane)) continue;
      if (!last) return &one;
      if (!spare) spare = &one;
    }
    return spare;
  }

  // The same for a single lane, for which it is not worth while to put them in order.
  const Candidate *scan(const std::vector<Candidate> &all) const {
    const Candidate *best = nullptr;
    bool spare = true;
    for (const Candidate &one : all) {
      if (!spare && worse(one, *best)) continue;
      if (!(one.iou >= *rules_.thresholds) || taken(one.ref, 0)) continue;
      const bool last = ignored(one, 0);
      if (best && (last != spare ? last : worse(one, *best))) continue;
      best = &one;
      spare = last;
    }
    return best;
  }

  const lossexport_rules &rules_;
  const int64_t lanes_, words_;
  int64_t first_ = 0;
  std::vector<uint64_t> taken_;
};

template <typename Kind>
int32_t find(const lossexport_boxes &pred, const lossexport_boxes &ref, const uint8_t *crowd,
             double threshold, int64_t capacity, int32_t *pred_place, int32_t *ref_place,
             double *iou, int64_t *found, int64_t *next) {
  Group<Kind> group(ref, crowd);
  std::vector<Candidate> near;
  while (*next < pred.count) {
    const int64_t end = group_end(pred, *next);
    if (!group.take(pred.group[*next])) return refuse("a reference that is not usable");
    if (!group.count()) *next = end;
    for (; *next < end; ++*next) {
      prefetch(pred.box, pred.row, *next, pred.count, Kind::WIDTH);
      const double *box = box_at<Kind>(pred, *next);
      if (!box) return refuse("a prediction that is not usable");
      group.find(box, threshold, &near);
      if (static_cast<int64_t>(near.size()) > capacity - *found) return LOSSEXPORT_OK;
      std::sort(near.begin(), near.end(),
                [](const Candidate &a, const Candidate &b) { return a.ref < b.ref; });
      for (const Candidate &one : near) {
        pred_place[*found] = static_cast<int32_t>(*next);
        ref_place[*found] = static_cast<int32_t>(group.first()) + one.ref;
        iou[(*found)++] = one.iou;
      }
    }
  }
  return LOSSEXPORT_OK;
}

// Writes what `result` makes of the area and the candidate, or `none`, for each lane.
template <typename Result, typename Make>
int32_t assign_pairs(const int32_t *pred, const int32_t *ref, const double *iou, int64_t count,
                     int64_t low, int64_t refs, const lossexport_rules &rules, int64_t predictions,
                     Result none, Result *winner, Make make) {
  Lanes lanes(rules);
  lanes.clear(0, refs);
  std::fill_n(winner, predictions * lanes.count(), none);
  std::vector<Candidate> near;
  int64_t row = 0;
  for (int64_t i = 0; i < count; ++row) {
    if (row == predictions) return refuse("more predictions than rows");
    const int32_t here = pred[i];
    near.clear();
    for (; i < count && pred[i] == here; ++i) {
      const int64_t place = ref[i] - low;
      if (place < 0 || place >= refs) return refuse("a reference out of range");
      near.push_back({iou[i], static_cast<int32_t>(place), static_cast<int32_t>(i)});
    }
    Result *out = winner + row * lanes.count();
    lanes.choose(&near, [&](int64_t lane, const Candidate &one) { out[lane] = make(lane, one); });
  }
  return LOSSEXPORT_OK;
}

template <typename Kind>
int32_t assign_boxes(const lossexport_boxes &pred, const lossexport_boxes &ref,
                     const lossexport_rules &rules, double least, int32_t *winner) {
  Group<Kind> group(ref, rules.crowd);
  Lanes lanes(rules);
  std::fill_n(winner, pred.count * lanes.count(), -1);
  std::vector<Candidate> near;
  for (int64_t place = 0; place < pred.count;) {
    const int64_t end = group_end(pred, place);
    if (!group.take(pred.group[place])) return refuse("a reference that is not usable");
    if (!group.count()) place = end;
    lanes.clear(group.first(), group.count());
    for (; place < end; ++place) {
      const double *box = box_at<Kind>(pred, place);
      if (!box) return refuse("a prediction that is not usable");
      group.find(box, least, &near);
      int32_t *out = winner + place * lanes.count();
      const int32_t from = static_cast<int32_t>(group.first());
      lanes.choose(&near, [=](int64_t lane, const Candidate &one) { out[lane] = from + one.ref; });
      // What is used up in every lane is looked at no more.
      int32_t used = -1;
      for (int64_t lane = 0; lane < lanes.count(); ++lane) {
        if (out[lane] < 0 || out[lane] == used) continue;
        used = out[lane];
        if (lanes.taken_in_all(used - from)) group.remove(used - from);
      }
    }
  }
  return LOSSEXPORT_OK;
}

template <typename Body>
int32_t guarded(Body body) {
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return fail(LOSSEXPORT_NO_MEMORY, "pairs: not enough memory");
  }
}

template <typename Kind>
int32_t find_checked(const lossexport_boxes *pred, const lossexport_boxes *ref,
                     const uint8_t *crowd, double threshold, int64_t capacity, int32_t *pred_place,
                     int32_t *ref_place, double *iou, int64_t *found, int64_t *next) {
  forget();
  if (!usable(pred) || !usable(ref) || (ref->count && !crowd)) return refuse("boxes are missing");
  if (!(threshold > 0)) return refuse("the threshold must be above 0");
  if (!found || !next || *next < 0 || capacity < 0) return refuse("no place to begin with");
  if (capacity && !(pred_place && ref_place && iou)) return refuse("no memory to write to");
  return guarded([&] {
    *found = 0;
    return find<Kind>(*pred, *ref, crowd, threshold, capacity, pred_place, ref_place, iou, found,
                      next);
  });
}

template <typename Kind>
int32_t assign_checked(const lossexport_boxes *pred, const lossexport_boxes *ref,
                       const lossexport_rules *rules, double least, int32_t *winner) {
  forget();
  if (!usable(pred) || !usable(ref) || !usable(rules, ref->count))
    return refuse("boxes or rules are missing");
  if (!(least > 0)) return refuse("the threshold must be above 0");
  if (pred->count && !winner) return refuse("no memory to write to");
  return guarded([&] { return assign_boxes<Kind>(*pred, *ref, *rules, least, winner); });
}

}  // namespace
}  // namespace lossexport

extern "C" {

int32_t lossexport_find_pairs(const lossexport_boxes *pred, const lossexport_boxes *ref,
                              const uint8_t *crowd, double threshold, int64_t capacity,
                              int32_t *pred_place, int32_t *ref_place, double *iou, int64_t *found,
                              int64_t *next) {
  return lossexport::find_checked<lossexport::Plain>(pred, ref, crowd, threshold, capacity,
                                                     pred_place, ref_place, iou, found, next);
}

int32_t lossexport_find_oriented_pairs(const lossexport_boxes *pred, const lossexport_boxes *ref,
                                       const uint8_t *crowd, double threshold, int64_t capacity,
                                       int32_t *pred_place, int32_t *ref_place, double *iou,
                                       int64_t *found, int64_t *next) {
  return lossexport::find_checked<lossexport::Oriented>(pred, ref, crowd, threshold, capacity,
                                                        pred_place, ref_place, iou, found, next);
}

int32_t lossexport_assign_pairs(const int32_t *pred, const int32_t *ref, const double *iou,
                                int64_t count, int64_t low, int64_t refs,
                                const lossexport_rules *rules, int64_t predictions,
                                int64_t *winner) {
  using namespace lossexport;
  forget();
  if (!usable_pairs(pred, ref, iou, count, refs, predictions, winner))
    return refuse("pairs are missing");
  if (!usable(rules, refs)) return refuse("rules are missing");
  return guarded([&] {
    return assign_pairs(pred, ref, iou, count, low, refs, *rules, predictions, int64_t{-1}, winner,
                        [](int64_t, const Candidate &one) { return int64_t{one.id}; });
  });
}

int32_t lossexport_pair_outcomes(const int32_t *pred, const int32_t *ref, const double *iou,
                                 int64_t count, int64_t low, int64_t refs,
                                 const lossexport_rules *rules, const int8_t *kind,
                                 int64_t predictions, int8_t *outcome) {
  using namespace lossexport;
  forget();
  if (!usable_pairs(pred, ref, iou, count, refs, predictions, outcome) || (refs && !kind))
    return refuse("pairs are missing");
  if (!usable(rules, refs)) return refuse("rules are missing");
  return guarded([&] {
    const auto what = [=](int64_t lane, const Candidate &one) {
      return kind[one.ref * rules->areas + lane / rules->threshold_count];
    };
    return assign_pairs(pred, ref, iou, count, low, refs, *rules, predictions, int8_t{0}, outcome,
                        what);
  });
}

int32_t lossexport_assign_boxes(const lossexport_boxes *pred, const lossexport_boxes *ref,
                                const lossexport_rules *rules, double least, int32_t *winner) {
  return lossexport::assign_checked<lossexport::Plain>(pred, ref, rules, least, winner);
}

int32_t lossexport_assign_oriented_boxes(const lossexport_boxes *pred, const lossexport_boxes *ref,
                                         const lossexport_rules *rules, double least,
                                         int32_t *winner) {
  return lossexport::assign_checked<lossexport::Oriented>(pred, ref, rules, least, winner);
}

}  // extern "C"

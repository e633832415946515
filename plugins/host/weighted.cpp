// COCO's counts with a weight for each image, for many draws of weights from one matching.
#include "weighted.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "arguments.h"

namespace lossexport {
namespace {

// Draws that are counted at once: a cache line of weights for each image.
constexpr int64_t DRAWS = 16;
constexpr int64_t AREAS = 4, LEVELS = 10, LANES = AREAS * LEVELS, NUMBERS = 12;
constexpr int64_t MOST_THREADS = 256;
constexpr int8_t TRUE = 1;
constexpr double UNDEFINED = std::numeric_limits<double>::quiet_NaN();

std::size_t at(int64_t place) { return static_cast<std::size_t>(place); }

int64_t usable_threads(int32_t wanted) {
  if (wanted > 0) return wanted;
#if defined(__linux__)
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

// A number for each of some draws.
struct Counts {
  int32_t of[DRAWS] = {};
  void add(const Counts &other) {
    for (int64_t d = 0; d < DRAWS; ++d) of[d] += other.of[d];
  }
};

// The weights [images] of some draws, 0 beyond the last one.
class Batch {
 public:
  explicit Batch(const lossexport_weights &given) : given_(given), weight_(at(given.images)) {}
  void load(int64_t first) {
    const int64_t count = std::min(DRAWS, given_.draws - first);
    for (int64_t i = 0; i < given_.images; ++i) {
      Counts &here = weight_[at(i)];
      here = {};
      for (int64_t d = 0; d < count; ++d) {
        here.of[d] = given_.weight[(first + d) * given_.images + i];
      }
    }
  }
  const Counts &operator[](int32_t image) const { return weight_[at(image)]; }

 private:
  const lossexport_weights &given_;
  std::vector<Counts> weight_;
};

// Makes a Worker on each thread and calls it with one batch of draws after the other. A draw has
// the same numbers on any thread and in any batch.
template <class Worker, class... Given>
int32_t share(const lossexport_weights &weights, const Given &...given) {
  const int64_t batches = (weights.draws + DRAWS - 1) / DRAWS;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    try {
      Worker worker(given...);
      Batch batch(weights);
      for (int64_t i; (i = next.fetch_add(1)) < batches;) {
        batch.load(i * DRAWS);
        worker.run(batch, i * DRAWS, std::min(DRAWS, weights.draws - i * DRAWS));
      }
    } catch (const std::bad_alloc &) {
      failed = true;
    }
  };
  const int64_t threads = std::min({usable_threads(weights.threads), batches, MOST_THREADS});
  std::vector<std::thread> others;
  try {
    others.reserve(at(MOST_THREADS));
    while (static_cast<int64_t>(others.size()) + 1 < threads) others.emplace_back(work);
  } catch (const std::system_error &) {  // no more threads: those that run do all
  } catch (const std::bad_alloc &) {
  }
  work();
  for (std::thread &other : others) other.join();
  return failed ? fail(LOSSEXPORT_NO_MEMORY, "weighted: not enough memory") : LOSSEXPORT_OK;
}

// The hits of one range of areas at one threshold.
struct Lane {
  std::vector<Counts> hits;       // up to each hit and with it
  std::vector<double> precision;  // [hits,DRAWS] there
  Counts count, spared;

  void clear() {
    hits.clear();
    precision.clear();
    count = spared = {};
  }

  // Copies that follow each other have a rising precision, so that only the last one matters.
  void hit(const Counts &weight, const Counts &wrong) {
    count.add(weight);
    hits.push_back(count);
    precision.resize(precision.size() + at(DRAWS));
    double *here = precision.data() + precision.size() - DRAWS;
    for (int64_t d = 0; d < DRAWS; ++d) {
      const double right = count.of[d], misses = wrong.of[d] - spared.of[d];
      here[d] = right / (misses + right + std::numeric_limits<double>::epsilon());
    }
  }

  // The mean of each draw of the highest precision from a recall on. `reached` [DRAWS,width] is how
  // many of all recalls so many hits reach, and `wanted` the hits that reach all; the precision at
  // others is 0.
  void means(const std::vector<int32_t> &reached, int64_t width, const Counts &wanted,
             int64_t recalls, double *mean) const {
    const auto recalls_of = [&](const Counts &count, int64_t d) {
      return reached[at(d * width + std::min(count.of[d], wanted.of[d]))];
    };
    double highest[DRAWS] = {}, sum[DRAWS] = {};
    int32_t after[DRAWS];
    for (int64_t d = 0; d < DRAWS; ++d) after[d] = recalls_of(count, d);
    for (std::size_t i = hits.size(); i-- > 0;) {
      const double *here = precision.data() + i * at(DRAWS);
      const Counts before = i ? hits[i - 1] : Counts{};
      for (int64_t d = 0; d < DRAWS; ++d) {
        highest[d] = std::max(highest[d], here[d]);
        const int32_t upto = recalls_of(before, d);
        sum[d] += highest[d] * (after[d] - upto);
        after[d] = upto;
      }
    }
    for (int64_t d = 0; d < DRAWS; ++d) mean[d] = sum[d] / static_cast<double>(recalls);
  }
};

class Coco {
 public:
  Coco(const lossexport_ranked &given, const double *recalls, int64_t recall_count, double *numbers)
      : given_(given), recalls_(recalls), recall_count_(recall_count), numbers_(numbers) {}

  void run(const Batch &weight, int64_t first, int64_t draws) {
    for (int64_t k = 0; k < given_.categories; ++k) {
      clear();
      for (int64_t i = given_.ref_first[k]; i < given_.ref_first[k + 1]; ++i) {
        for (int64_t a = 0; a < AREAS; ++a) {
          if (given_.ref_counted[i] >> a & 1) wanted_[a].add(weight[given_.ref_image[i]]);
        }
      }
      for (int64_t i = given_.first[k]; i < given_.first[k + 1];) {
        int64_t end = i + 1;
        while (end < given_.first[k + 1] && given_.tied[end]) ++end;
        if (end == i + 1) {
          step(i, weight[given_.image[i]]);
        } else {
          copies(i, end, weight[given_.image[i]]);
        }
        i = end;
      }
      for (int64_t a = 0; a < AREAS; ++a) {
        reach(wanted_[a]);
        for (int64_t t = 0; t < LEVELS; ++t) {
          lanes_[a * LEVELS + t].means(reached_, width_, wanted_[a], recall_count_, means_[a][t]);
        }
      }
      for (int64_t d = 0; d < draws; ++d) {
        write(d, numbers_ + ((first + d) * given_.categories + k) * NUMBERS);
      }
    }
  }

 private:
  void clear() {
    for (Lane &lane : lanes_) lane.clear();
    for (auto &counts : early_) std::fill_n(counts, LEVELS, Counts{});
    std::fill_n(wrong_, AREAS, Counts{});
    std::fill_n(wanted_, AREAS, Counts{});
  }

  // Predictions of an image that share a score come as a block for each copy of the image.
  void copies(int64_t first, int64_t end, const Counts &weight) {
    const int32_t most = *std::max_element(weight.of, weight.of + DRAWS);
    for (int32_t copy = 0; copy < most; ++copy) {
      Counts once;
      for (int64_t d = 0; d < DRAWS; ++d) once.of[d] = weight.of[d] > copy;
      for (int64_t i = first; i < end; ++i) step(i, once);
    }
  }

  void step(int64_t i, const Counts &weight) {
    const unsigned inside = given_.inside[i];
    for (int64_t a = 0; a < AREAS; ++a) {
      if (inside >> a & 1) wrong_[a].add(weight);
    }
    if (given_.row[i] < 0) return;
    const int8_t *outcome = given_.outcome + given_.row[i] * LANES;
    for (int64_t a = 0; a < AREAS; ++a) {
      for (int64_t t = 0; t < LEVELS; ++t) {
        const int8_t here = outcome[a * LEVELS + t];
        if (!here) continue;
        Lane &lane = lanes_[a * LEVELS + t];
        if (inside >> a & 1) lane.spared.add(weight);
        if (here != TRUE) continue;
        lane.hit(weight, wrong_[a]);
        if (a) continue;
        for (int64_t limit = 0; limit < 2; ++limit) {
          if (given_.early[i] >> limit & 1) early_[limit][t].add(weight);
        }
      }
    }
  }

  void write(int64_t draw, double *out) {
    std::fill_n(out, NUMBERS, UNDEFINED);
    for (int64_t a = 0; a < AREAS; ++a) {
      const int64_t wanted = wanted_[a].of[draw];
      if (!wanted) continue;
      double sum = 0, found = 0, early[2] = {};
      for (int64_t t = 0; t < LEVELS; ++t) {
        const Lane &lane = lanes_[a * LEVELS + t];
        const double mean = means_[a][t][draw];
        sum += mean;
        found += recall(lane.count, draw, wanted);
        if (a) continue;
        if (t == 0) out[1] = mean;
        if (t == 5) out[2] = mean;
        for (int64_t limit = 0; limit < 2; ++limit) {
          early[limit] += recall(early_[limit][t], draw, wanted);
        }
      }
      out[a ? 2 + a : 0] = sum / LEVELS;
      out[8 + a] = found / LEVELS;
      if (a) continue;
      out[6] = early[0] / LEVELS;
      out[7] = early[1] / LEVELS;
    }
  }

  static double recall(const Counts &hits, int64_t draw, int64_t wanted) {
    return static_cast<double>(hits.of[draw]) / static_cast<double>(wanted);
  }

  // How many recalls are reached by each number of hits up to all. None is without a hit.
  void reach(const Counts &wanted) {
    width_ = *std::max_element(wanted.of, wanted.of + DRAWS) + int64_t{1};
    reached_.assign(at(DRAWS * width_), 0);
    for (int64_t d = 0; d < DRAWS; ++d) {
      int32_t count = 0;
      for (int64_t hits = 1; hits <= wanted.of[d]; ++hits) {
        const double recall = static_cast<double>(hits) / static_cast<double>(wanted.of[d]);
        while (count < recall_count_ && recall >= recalls_[count]) ++count;
        reached_[at(d * width_ + hits)] = count;
      }
    }
  }

  const lossexport_ranked &given_;
  const double *const recalls_;
  const int64_t recall_count_;
  std::vector<int32_t> reached_;
  int64_t width_ = 0;
  double *const numbers_;
  Lane lanes_[LANES];
  double means_[AREAS][LEVELS][DRAWS];
  Counts wrong_[AREAS], wanted_[AREAS], early_[2][LEVELS];
};

struct Cuts {
  const double *score;
  const int32_t *image;
  const uint8_t *right, *last;
  int64_t count;
  const int32_t *missed;
  int64_t missed_count;
};

class Best {
 public:
  Best(const Cuts &given, double *best) : given_(given), best_(best) {}

  void run(const Batch &weight, int64_t first, int64_t draws) {
    Counts seen, hits, wanted;
    for (int64_t i = 0; i < given_.missed_count; ++i) wanted.add(weight[given_.missed[i]]);
    for (int64_t i = 0; i < given_.count; ++i) {
      if (given_.right[i]) wanted.add(weight[given_.image[i]]);
    }
    double f1[DRAWS] = {};
    int64_t place[DRAWS];
    Counts at_hits, at_seen;
    std::fill_n(place, DRAWS, -1);
    bool some = false;  // a right one of this score: without, a lower cut raises no F1
    for (int64_t i = 0; i < given_.count; ++i) {
      const Counts &here = weight[given_.image[i]];
      seen.add(here);
      if (given_.right[i]) hits.add(here), some = true;
      if (!given_.last[i] || !some) continue;
      some = false;
      for (int64_t d = 0; d < DRAWS; ++d) {
        const double sum = static_cast<double>(seen.of[d]) + wanted.of[d];
        const double value = hits.of[d] ? 2.0 * hits.of[d] / sum : 0;
        if (value <= f1[d]) continue;
        f1[d] = value, place[d] = i;
        at_hits.of[d] = hits.of[d], at_seen.of[d] = seen.of[d];
      }
    }
    for (int64_t d = 0; d < draws; ++d) {
      double *out = best_ + (first + d) * 4;
      std::fill_n(out, 4, UNDEFINED);
      if (place[d] < 0) continue;
      out[0] = given_.score[place[d]];
      out[1] = static_cast<double>(at_hits.of[d]) / at_seen.of[d];
      out[2] = static_cast<double>(at_hits.of[d]) / wanted.of[d];
      out[3] = f1[d];
    }
  }

 private:
  const Cuts &given_;
  double *const best_;
};

bool usable(const lossexport_weights *given) {
  return given && given->draws >= 0 && given->images >= 0 && given->threads >= 0 &&
         (!given->draws || !given->images || given->weight);
}

bool all_below(const int32_t *values, int64_t count, int32_t least, int64_t most) {
  return std::all_of(values, values + count, [=](int32_t v) { return v >= least && v < most; });
}

bool rising(const int64_t *first, int64_t categories, int64_t count) {
  return first && first[0] == 0 && std::is_sorted(first, first + categories + 1) &&
         first[categories] == count;
}

}  // namespace
}  // namespace lossexport

extern "C" {

int32_t lossexport_weighted_coco(const lossexport_ranked *given, const lossexport_weights *weights,
                                 const double *recalls, int64_t recall_count, double *numbers) {
  using namespace lossexport;
  forget();
  if (!given || !usable(weights) || given->categories < 0 || given->count < 0 ||
      given->references < 0 || given->placed < 0 || recall_count < 1 || !recalls ||
      (given->count &&
       !(given->image && given->inside && given->early && given->tied && given->row)) ||
      (given->placed && !given->outcome) ||
      (given->references && !(given->ref_image && given->ref_counted)) ||
      (weights->draws && given->categories && !numbers))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "weighted_coco: an argument is missing");
  if (!rising(given->first, given->categories, given->count) ||
      !rising(given->ref_first, given->categories, given->references) ||
      !all_below(given->image, given->count, 0, weights->images) ||
      !all_below(given->ref_image, given->references, 0, weights->images) ||
      !all_below(given->row, given->count, -1, given->placed))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "weighted_coco: a place is out of range");
  return share<Coco>(*weights, *given, recalls, recall_count, numbers);
}

int32_t lossexport_weighted_best(const lossexport_weights *weights, const double *score,
                                 const int32_t *image, const uint8_t *right, const uint8_t *last,
                                 int64_t count, const int32_t *missed, int64_t missed_count,
                                 double *best) {
  using namespace lossexport;
  forget();
  if (!usable(weights) || count < 0 || missed_count < 0 ||
      (count && !(score && image && right && last)) || (missed_count && !missed) ||
      (weights->draws && !best))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "weighted_best: an argument is missing");
  if (!all_below(image, count, 0, weights->images) ||
      !all_below(missed, missed_count, 0, weights->images))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "weighted_best: a place is out of range");
  const Cuts cuts{score, image, right, last, count, missed, missed_count};
  return share<Best>(*weights, cuts, best);
}

}  // extern "C"

// What the loops need that is the same on every level: threads, sorting, exact edges.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "loops.h"

namespace lossexport {
namespace {

thread_local Pool *lent = nullptr;

// Sorts by the digits of the scores, the last digit first, and then runs of equal scores by place.
template <int BITS>
void by_digits(Rival *first, Rival *last) {
  constexpr int DIGITS = (32 + BITS - 1) / BITS;
  constexpr std::size_t SIZE = 1 << BITS;
  const auto digit = [](Rival rival, int k) {
    return SIZE - 1 - (rival >> (32 + k * BITS) & (SIZE - 1));  // the largest goes first
  };
  std::size_t starts[DIGITS][SIZE] = {};
  for (const Rival *rival = first; rival != last; ++rival)
    for (int k = 0; k < DIGITS; ++k) ++starts[k][digit(*rival, k)];
  const auto count = static_cast<std::size_t>(last - first);
  const std::unique_ptr<Rival[]> other(new Rival[count]);
  Rival *from = first, *to = other.get();
  for (int k = 0; k < DIGITS; ++k) {
    std::size_t sum = 0;
    for (std::size_t &start : starts[k]) sum += std::exchange(start, sum);
    for (std::size_t i = 0; i < count; ++i) to[starts[k][digit(from[i], k)]++] = from[i];
    std::swap(from, to);
  }
  if (from != first) std::copy(from, from + count, first);
  for (Rival *run = first; run != last;) {
    Rival *end = run + 1;
    while (end != last && *end >> 32 == *run >> 32) ++end;
    if (end - run > 1) std::sort(run, end, std::greater<Rival>());
    run = end;
  }
}

}  // namespace

Pool::Pool() : outer_(lent) { lent = this; }

Pool::~Pool() { lent = outer_; }

void in_parallel(int64_t tasks, int threads, void (*task)(void *, int64_t), void *context) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  const auto work = [&] {
    try {
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) task(context, i);
    } catch (...) {
      next = tasks;
      if (!failed.exchange(true)) error = std::current_exception();
    }
  };
  const int64_t workers = std::min<int64_t>(threads, tasks);
  if (lent && workers > 1) {
    auto job = [](void *given, std::size_t) { (*static_cast<decltype(work) *>(given))(); };
    lent->run(workers, job, const_cast<void *>(static_cast<const void *>(&work)));
  } else {
    std::vector<std::thread> others;
    others.reserve(static_cast<std::size_t>(std::max(threads - 1, 0)));
    for (int64_t i = 1; i < workers; ++i) {
      try {
        others.emplace_back(work);
      } catch (const std::exception &) {
        break;  // no thread or no memory for one: those that run share the tasks
      }
    }
    work();
    for (std::thread &thread : others) thread.join();
  }
  if (error) std::rethrow_exception(error);
}

void sort_rivals(Rival *first, Rival *last, int64_t wanted) {
  Rival *middle = last - first > wanted ? first + wanted : last;
  if (middle != last) std::nth_element(first, middle, last, std::greater<Rival>());
  if (middle - first < 128) return std::sort(first, middle, std::greater<Rival>());
  if (middle - first < 16384) return by_digits<8>(first, middle);
  by_digits<11>(first, middle);
}

float rounded_up(double x) {
  const float rounded = static_cast<float>(x);
  return static_cast<double>(rounded) < x
             ? std::nextafter(rounded, std::numeric_limits<float>::infinity())
             : rounded;
}

double logit_of(int i, int of) {
  return std::log(static_cast<double>(i) / static_cast<double>(of - i));
}

}  // namespace lossexport

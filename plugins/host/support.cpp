// What the loops need that is the same on every level: threads, sorting, exact edges.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <functional>
#include <limits>
#include <thread>
#include <vector>

#include "loops.h"

namespace lossexport {
namespace {

thread_local Pool *lent = nullptr;

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
  std::sort(first, middle, std::greater<Rival>());
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

// What the parts of the library share: the loops, compiled once for each level of the processor,
// and the functions they call that are compiled only once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "lossexport.h"

namespace lossexport {

// An attribute: a number, or a list of as many as its declaration says.
struct Value {
  double number;
  const double *list;
  int64_t count;  // of the list

  operator double() const { return number; }
};

// A call whose arguments have been checked.
struct Call {
  const Value *attributes;
  const lossexport_tensor *inputs;
  const lossexport_tensor *outputs;
  int output_count;
  int threads;
};

using Function = void(const Call &);

// The threads of a caller, which this one uses in place of threads of its own until the end of the
// scope.
class Pool {
 public:
  Pool();
  virtual ~Pool();
  Pool(const Pool &) = delete;
  Pool &operator=(const Pool &) = delete;
  // Runs task(context, i) for every i below `tasks`; the task lets no exception out.
  virtual void run(int64_t tasks, void (*task)(void *, std::size_t), void *context) = 0;

 private:
  Pool *outer_;
};

// Runs task(context, i) for every i below `tasks` on at most `threads` threads.
void in_parallel(int64_t tasks, int threads, void (*task)(void *, int64_t), void *context);

// A score and its place, as one number: rivals go by falling score, then rising place.
using Rival = uint64_t;

// Brings the first `wanted` of the rivals from `first` to `last` to the front, in order.
void sort_rivals(Rival *first, Rival *last, int64_t wanted);

// The smallest float that is not below x: a float reaches it exactly if it reaches x.
float rounded_up(double x);

// The logit of the probability i / of.
double logit_of(int i, int of);

namespace {

// Memory of its own, aligned for any vector. It is in an unnamed namespace, and not a std::vector,
// because the linker could choose one level's copy of the functions for all levels.
template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t count) : count_(count) {
    const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    data_ = static_cast<T *>(std::aligned_alloc(64, bytes ? bytes : 64));
    if (!data_) throw std::bad_alloc();
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  T &operator[](int64_t i) { return data_[i]; }
  T *data() { return data_; }
  int64_t size() const { return count_; }

 private:
  T *data_;
  int64_t count_;
};

}  // namespace

}  // namespace lossexport

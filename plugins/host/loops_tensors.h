// Tensors of any element type as rows of floats, and loops over their elements. As every header of
// loops it is compiled once for each level of the processor, LX_LEVEL, whose instructions the
// compiler may use there and nowhere else.
#pragma once

#include "loops.h"
#include "../kernels/portable.cuh"

#ifndef LX_LEVEL
#define LX_LEVEL base
#endif

#define LX_SIMD _Pragma("omp simd")
#define LX_ADD(sum) _Pragma(LX_TEXT(omp simd reduction(+ : sum)))
#define LX_TEXT(x) #x

namespace lossexport {
namespace LX_LEVEL {
namespace {

constexpr int64_t TILE = 512;  // elements whose data stay in the first cache

int64_t elements(const lossexport_tensor &tensor) {
  int64_t count = 1;
  for (int axis = 0; axis < tensor.rank; ++axis) count *= tensor.shape[axis];
  return count;
}

template <typename T>
void widen(const void *data, int64_t first, int64_t count, float *out) {
  const T *from = static_cast<const T *>(data) + first;
  LX_SIMD for (int64_t i = 0; i < count; ++i) out[i] = load(from[i]);
}

template <typename T>
void narrow(void *data, int64_t first, int64_t count, const float *in) {
  T *to = static_cast<T *>(data) + first;
  LX_SIMD for (int64_t i = 0; i < count; ++i) store(to + i, in[i]);
}

// A float input: its own memory, or a copy that was widened.
class Floats {
 public:
  explicit Floats(const lossexport_tensor &tensor)
      : size_(elements(tensor)), wide_(tensor.type == LOSSEXPORT_FLOAT32 ? 0 : size_) {
    if (tensor.type == LOSSEXPORT_FLOAT16) widen<Half>(tensor.data, 0, size_, wide_.data());
    if (tensor.type == LOSSEXPORT_BFLOAT16) widen<BFloat16>(tensor.data, 0, size_, wide_.data());
    data_ =
        tensor.type == LOSSEXPORT_FLOAT32 ? static_cast<const float *>(tensor.data) : wide_.data();
  }
  const float *data() const { return data_; }
  float operator[](int64_t i) const { return data_[i]; }
  int64_t size() const { return size_; }

 private:
  int64_t size_;
  Buffer<float> wide_;
  const float *data_;
};

// Where floats of an output are written: its own memory, or `scratch`, from which `flush` rounds.
class Sink {
 public:
  explicit Sink(const lossexport_tensor &tensor) : tensor_(tensor) {}
  float *place(int64_t first, float *scratch) const {
    return direct() ? static_cast<float *>(tensor_.data) + first : scratch;
  }
  void flush(int64_t first, int64_t count, const float *scratch) const {
    if (tensor_.type == LOSSEXPORT_FLOAT16) narrow<Half>(tensor_.data, first, count, scratch);
    if (tensor_.type == LOSSEXPORT_BFLOAT16) narrow<BFloat16>(tensor_.data, first, count, scratch);
  }
  void write(int64_t place, float value) const {
    if (direct()) static_cast<float *>(tensor_.data)[place] = value;
    flush(place, 1, &value);
  }

 private:
  bool direct() const { return tensor_.type == LOSSEXPORT_FLOAT32; }
  const lossexport_tensor &tensor_;
};

// Where a gradient is written, if the call wants one: else to scratch, which nobody reads.
class Gradient {
 public:
  Gradient(const Call &call, int output)
      : wanted_(output < call.output_count), sink_(call.outputs[wanted_ ? output : 0]) {}
  float *place(int64_t first, float *scratch) const {
    return wanted_ ? sink_.place(first, scratch) : scratch;
  }
  void flush(int64_t first, int64_t count, const float *scratch) const {
    if (wanted_) sink_.flush(first, count, scratch);
  }
  bool wanted() const { return wanted_; }

 private:
  bool wanted_;
  Sink sink_;
};

int64_t *whole(const lossexport_tensor &tensor) { return static_cast<int64_t *>(tensor.data); }
const int64_t *labels(const lossexport_tensor &tensor) {
  return static_cast<const int64_t *>(tensor.data);
}

const uint8_t *truths(const lossexport_tensor &tensor) {
  return static_cast<const uint8_t *>(tensor.data);
}

// Runs `body(task)` for every task below `tasks`, on several threads where `work` elementary steps
// are worth it.
template <typename Body>
void each(int64_t tasks, double work, int threads, const Body &body) {
  const double worth = work / 1000000;  // starting a thread takes some 100,000 steps
  const int useful = worth < threads ? static_cast<int>(worth) + 1 : threads;
  in_parallel(
      tasks, useful, [](void *context, int64_t i) { (*static_cast<const Body *>(context))(i); },
      const_cast<Body *>(&body));
}

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

LX_INLINE Rival as_rival(float score, int64_t place) {
  // Bits in the order of the numbers: those of negative ones fall as their magnitude rises.
  const uint32_t bits = bits_of(score + 0.0f), sign = 0x80000000u;
  const uint32_t rank = bits & sign ? ~bits : bits | sign;
  return static_cast<Rival>(rank) << 32 | (0xffffffffu - static_cast<uint32_t>(place));
}
LX_INLINE int64_t place_of(Rival rival) { return 0xffffffffu - static_cast<uint32_t>(rival); }

// Writes `value(i)`, which takes `steps` elementary steps, to every element of the one output.
template <typename Value>
void fill_output(const Call &call, double steps, const Value &value) {
  const Sink out(call.outputs[0]);
  const int64_t count = elements(call.outputs[0]);
  each((count + TILE - 1) / TILE, steps * count, call.threads, [&](int64_t tile) {
    float scratch[TILE];
    const int64_t first = tile * TILE, size = smaller(TILE, count - first);
    float *row = out.place(first, scratch);
    LX_SIMD for (int64_t i = 0; i < size; ++i) row[i] = value(first + i);
    out.flush(first, size, scratch);
  });
}

enum Reduction { NONE, SUM, MEAN };

Reduction reduction_of(const Call &call, int attribute) {
  return static_cast<Reduction>(static_cast<int>(call.attributes[attribute]));
}

// What gradients of a loss of `count` elements are to be multiplied by.
float gradient_scale(Reduction reduction, int64_t count) {
  return reduction == MEAN ? 1.0f / static_cast<float>(count > 1 ? count : 1) : 1.0f;
}

// Calls `fill(first, size, row)`, which takes `steps` elementary steps an element, for every tile of
// `count` losses and writes them to the first output, or their sum or mean. Sums of tiles are added
// in their order, so that the number of threads changes no bit.
template <typename Fill>
void losses(const Call &call, Reduction reduction, int64_t count, double steps, const Fill &fill) {
  const Sink out(call.outputs[0]);
  const int64_t tiles = (count + TILE - 1) / TILE;
  Buffer<double> sums(reduction == NONE ? 0 : tiles);
  each(tiles, steps * count, call.threads, [&](int64_t tile) {
    float scratch[TILE];
    const int64_t first = tile * TILE, size = smaller(TILE, count - first);
    float *row = reduction == NONE ? out.place(first, scratch) : scratch;
    fill(first, size, row);
    if (reduction == NONE) return out.flush(first, size, row);
    double sum = 0;
    LX_ADD(sum) for (int64_t i = 0; i < size; ++i) sum += row[i];
    sums[tile] = sum;
  });
  if (reduction == NONE) return;
  double total = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) total += sums[tile];
  out.write(0, static_cast<float>(reduction == MEAN ? total / (count > 1 ? count : 1) : total));
}

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

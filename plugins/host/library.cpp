// The C ABI: the checks of a call, and the level that runs it.
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "ops.h"

#if defined(__linux__)
#include <sched.h>
#endif
#include <thread>

namespace lossexport {
namespace {

constexpr int32_t MOST_THREADS = 1024;

thread_local char message[512];

__attribute__((format(printf, 2, 3))) int32_t fail(int32_t code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  return code;
}

// Checks one tensor; `sizes` has what the letters of a call mean so far, `type` its boundary type.
int32_t check(const Kernel &kernel, const Tensor &spec, const lossexport_tensor &tensor,
              int64_t *sizes, int32_t *type) {
  const int32_t allowed = spec.type == INT64 ? LOSSEXPORT_INT64 : LOSSEXPORT_FLOAT32;
  if (spec.type == FLOAT) {
    if (!*type) *type = tensor.type;
    if (tensor.type < LOSSEXPORT_FLOAT32 || tensor.type > LOSSEXPORT_BFLOAT16 ||
        tensor.type != *type)
      return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has type %d, expected %s", kernel.name, spec.name,
                  static_cast<int>(tensor.type), "the float type of the other tensors");
  } else if (tensor.type != allowed) {
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has type %d, expected %d", kernel.name, spec.name,
                static_cast<int>(tensor.type), static_cast<int>(allowed));
  }
  const int rank = spec.shape.rank;
  if (tensor.rank != rank)
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has rank %d, expected %d", kernel.name, spec.name,
                static_cast<int>(tensor.rank), rank);
  int64_t elements = 1, stride = 1;
  for (int axis = 0; axis < rank; ++axis) {
    const int64_t size = tensor.shape[axis];
    const char letter = spec.shape.dims[axis];
    if (size < 0)
      return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has size %lld on axis %d", kernel.name, spec.name,
                  static_cast<long long>(size), axis);
    if (size > MOST)
      return fail(LOSSEXPORT_TOO_LARGE, "%s: %s has size %lld on axis %d, at most %lld is possible",
                  kernel.name, spec.name, static_cast<long long>(size), axis,
                  static_cast<long long>(MOST));
    int64_t expected = letter - '0';
    if (letter > '9') {
      int64_t &known = sizes[letter - 'A'];
      if (known < 0) known = size;
      expected = known;
    }
    if (size != expected)
      return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has size %lld on axis %d, expected %lld",
                  kernel.name, spec.name, static_cast<long long>(size), axis,
                  static_cast<long long>(expected));
    elements *= size;  // two factors of at most 2^31
  }
  if (elements > MOST)
    return fail(LOSSEXPORT_TOO_LARGE, "%s: %s has %lld elements, at most %lld are possible",
                kernel.name, spec.name, static_cast<long long>(elements),
                static_cast<long long>(MOST));
  for (int axis = rank; axis-- > 0 && elements;) {
    if (tensor.shape[axis] > 1 && tensor.strides[axis] != stride)
      return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has stride %lld on axis %d, expected %lld",
                  kernel.name, spec.name, static_cast<long long>(tensor.strides[axis]), axis,
                  static_cast<long long>(stride));
    stride *= tensor.shape[axis];
  }
  const uint64_t width = tensor.type == LOSSEXPORT_INT64     ? 8
                         : tensor.type == LOSSEXPORT_FLOAT32 ? 4
                                                             : 2;
  if (!elements) return LOSSEXPORT_OK;
  if (!tensor.data)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: %s has no data", kernel.name, spec.name);
  if (tensor.bytes < width * static_cast<uint64_t>(elements))
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has %llu bytes, expected %llu", kernel.name,
                spec.name, static_cast<unsigned long long>(tensor.bytes),
                static_cast<unsigned long long>(width * static_cast<uint64_t>(elements)));
  if (reinterpret_cast<uintptr_t>(tensor.data) % width)
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s is not aligned to %llu bytes", kernel.name,
                spec.name, static_cast<unsigned long long>(width));
  return LOSSEXPORT_OK;
}

int32_t check_all(const Kernel &kernel, const Tensors &specs, int expected, const char *kind,
                  const lossexport_tensor *tensors, int32_t count, int64_t *sizes, int32_t *type) {
  if (count != expected)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: %d %ss, expected %d", kernel.name,
                static_cast<int>(count), kind, expected);
  if (!tensors) return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: %ss are null", kernel.name, kind);
  for (int i = 0; i < expected; ++i)
    if (const int32_t code = check(kernel, specs.items[i], tensors[i], sizes, type)) return code;
  return LOSSEXPORT_OK;
}

int32_t check_attributes(const Kernel &kernel, const double *values, int32_t count,
                         const int64_t *sizes) {
  const Attributes &specs = kernel.op->attributes;
  if (count != specs.count)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: %d attributes, expected %d", kernel.name,
                static_cast<int>(count), specs.count);
  if (count && !values)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attributes are null", kernel.name);
  for (const Attribute &spec : specs) {
    const double value = *values++;
    if (!std::isfinite(value))
      return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %s is not a finite number", kernel.name,
                  spec.name);
    if (spec.choices && (value < 0 || value >= spec.choices || value != std::floor(value)))
      return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %s is %g, expected a choice below %d",
                  kernel.name, spec.name, value, spec.choices);
    if (!spec.size) continue;
    const int64_t size = sizes[spec.size - 'A'];
    if (value != static_cast<double>(size))
      return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %s is %g, the tensors have %lld",
                  kernel.name, spec.name, value, static_cast<long long>(size));
    if (size < spec.least || size > spec.most)
      return fail(LOSSEXPORT_BAD_TENSOR, "%s: the tensors have %lld %s, expected %lld to %lld",
                  kernel.name, static_cast<long long>(size), spec.name,
                  static_cast<long long>(spec.least), static_cast<long long>(spec.most));
  }
  return LOSSEXPORT_OK;
}

struct Level {
  const char *name;
  const Kernels &kernels;
};

// The level of the processor, or a lower one that LOSSEXPORT_LEVEL names.
Level best_level() {
#if defined(__x86_64__)
  const char *wanted = std::getenv("LOSSEXPORT_LEVEL");
  const auto skipped = [wanted](const char *name) {
    return wanted && *wanted && std::strcmp(wanted, name);
  };
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool wide = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
  if (wide && !skipped("x86-64-v4")) return {"x86-64-v4", v4::KERNELS};
  if (v3 && !skipped("x86-64-v3")) return {"x86-64-v3", v3::KERNELS};
  return {"x86-64", base::KERNELS};
#elif defined(__aarch64__)
  return {"aarch64", base::KERNELS};
#else
  return {"generic", base::KERNELS};
#endif
}

const Level &level() {
  static const Level found = best_level();
  return found;
}

int usable_threads(int32_t wanted) {
  if (wanted > 0) return wanted < MOST_THREADS ? wanted : MOST_THREADS;
#if defined(__linux__)
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
  const int all = static_cast<int>(std::thread::hardware_concurrency());
  return all ? all : 1;
}

}  // namespace
}  // namespace lossexport

extern "C" {

int32_t lossexport_abi(void) { return LOSSEXPORT_ABI; }

const char *lossexport_level(void) { return lossexport::level().name; }

const char *lossexport_op(int32_t index) {
  const lossexport::Kernels &all = lossexport::level().kernels;
  return index >= 0 && index < all.count ? all.first[index].name : nullptr;
}

const char *lossexport_message(void) { return lossexport::message; }

int32_t lossexport_run(const char *name, const double *attributes, int32_t attribute_count,
                       const lossexport_tensor *inputs, int32_t input_count,
                       const lossexport_tensor *outputs, int32_t output_count, int32_t threads) {
  using namespace lossexport;
  message[0] = 0;
  if (!name) return fail(LOSSEXPORT_BAD_ARGUMENT, "op is null");
  const Kernel *kernel = level().kernels.begin(), *end = level().kernels.end();
  while (kernel != end && std::strcmp(kernel->name, name)) ++kernel;
  if (kernel == end) return fail(LOSSEXPORT_UNKNOWN_OP, "%.64s: no such op", name);
  const Op &op = *kernel->op;
  int64_t sizes[26];
  for (int64_t &size : sizes) size = -1;
  int32_t type = 0;
  if (const int32_t code = check_all(*kernel, op.inputs, op.inputs.count, "input", inputs,
                                     input_count, sizes, &type))
    return code;
  if (const int32_t code = check_all(*kernel, op.outputs, kernel->outputs, "output", outputs,
                                     output_count, sizes, &type))
    return code;
  if (const int32_t code = check_attributes(*kernel, attributes, attribute_count, sizes))
    return code;
  try {
    op.loop(Call{attributes, inputs, outputs, output_count, usable_threads(threads)});
  } catch (const std::bad_alloc &) {
    return fail(LOSSEXPORT_NO_MEMORY, "%s: not enough memory", kernel->name);
  }
  return LOSSEXPORT_OK;
}

}  // extern "C"

// The C ABI: what every op takes, the checks of a call, and the level that runs it.
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "loops.h"

#if defined(__linux__)
#include <sched.h>
#endif
#include <thread>

namespace lossexport {
namespace {

// A tensor by name. Type: 'f' the boundary type of the call, 's' float32, 'i' int64. A dimension is
// a digit, or a letter that means one size throughout a call.
struct TensorSpec {
  const char *name;
  char type;
  const char *shape;
};

// Inputs and outputs end where a name is null. `choices` is the number of values of the attribute
// of that position that is a choice, 0 where there is none. The size that the letter `sized` means
// is stated by the attribute at `size` too.
struct OpSpec {
  const char *name;
  TensorSpec inputs[5];
  TensorSpec outputs[5];
  int attributes;
  int choice, choices;
  Op op;
  char sized = 0;
  int size = 0;
};

#define PAIRED(NAME, OP, SHAPE, REST) \
  {NAME, {{"pred", 'f', "N4"}, {"target", 'f', REST}}, {{"score", 'f', SHAPE}}, 1, 0, 0, OP}
#define PICKED(NAME, OP, ATTRIBUTES, CHOICE, CHOICES) \
  {NAME,                                              \
   {{"boxes", 'f', "N4"}, {"scores", 'f', "N"}},      \
   {{"indices", 'i', "O"}, {"count", 'i', ""}},       \
   ATTRIBUTES,                                        \
   CHOICE,                                            \
   CHOICES,                                           \
   OP,                                                \
   'O',                                               \
   2}
#define RANKED(NAME, ...)                           \
  {                                                 \
      NAME,                                         \
      {{"logits", 'f', "K"}, {"target", 'i', "K"}}, \
      {{"loss", 'f', ""}, __VA_ARGS__},             \
      2,                                            \
      0,                                            \
      0,                                            \
      AP_LOSS}
#define HARMONISED(NAME, OP, A, SHAPE, ATTRIBUTES, ...)                                        \
  {NAME,                                                                                       \
   {{A, 'f', SHAPE}, {"target", 'f', SHAPE}, {"weight", 'f', SHAPE}, {"bin_count", 's', "B"}}, \
   {{"loss", 'f', ""}, {"new_bin_count", 's', "B"}, __VA_ARGS__},                              \
   ATTRIBUTES,                                                                                 \
   0,                                                                                          \
   0,                                                                                          \
   OP,                                                                                         \
   'B',                                                                                        \
   0}

constexpr OpSpec OPS[] = {
    PAIRED("box_iou", BOX_IOU, "N", "N4"),
    PAIRED("box_giou", BOX_GIOU, "N", "N4"),
    PAIRED("box_diou", BOX_DIOU, "N", "N4"),
    PAIRED("box_ciou", BOX_CIOU, "N", "N4"),
    PAIRED("pairwise_iou", PAIRWISE_IOU, "NM", "M4"),
    PAIRED("pairwise_giou", PAIRWISE_GIOU, "NM", "M4"),
    PAIRED("pairwise_diou", PAIRWISE_DIOU, "NM", "M4"),
    PAIRED("pairwise_ciou", PAIRWISE_CIOU, "NM", "M4"),
    {"best_match",
     {{"pred", 'f', "N4"}, {"target", 'f', "M4"}},
     {{"pred_score", 'f', "N"},
      {"pred_index", 'i', "N"},
      {"target_score", 'f', "M"},
      {"target_index", 'i', "M"}},
     2,
     0,
     4,
     BEST_MATCH},
    {"localization_confidence",
     {{"boxes", 'f', "N4"}, {"log_variance", 'f', "N4"}},
     {{"quality", 'f', "N"}},
     0,
     0,
     0,
     LOCALIZATION},
    PICKED("nms", NMS, 4, 0, 0),
    PICKED("diou_nms", DIOU_NMS, 4, 0, 0),
    PICKED("cluster_nms", CLUSTER_NMS, 5, 4, 2),
    {"soft_nms",
     {{"boxes", 'f', "N4"}, {"scores", 'f', "N"}},
     {{"indices", 'i', "O"}, {"new_scores", 'f', "O"}, {"count", 'i', ""}},
     3,
     0,
     0,
     SOFT_NMS,
     'O',
     2},
    {"variance_voting",
     {{"boxes", 'f', "N4"}, {"scores", 'f', "N"}, {"log_variance", 'f', "N4"}},
     {{"indices", 'i', "O"},
      {"new_boxes", 'f', "O4"},
      {"new_scores", 'f', "O"},
      {"count", 'i', ""}},
     8,
     0,
     2,
     VARIANCE_VOTING,
     'O',
     7},
    RANKED("ap_loss", {}),
    RANKED("ap_loss.grad", {"grad_logits", 'f', "K"}),
    HARMONISED("ghm_c_loss", GHM_C, "logits", "NC", 2, {}),
    HARMONISED("ghm_c_loss.grad", GHM_C, "logits", "NC", 2, {"grad_logits", 'f', "NC"}),
    HARMONISED("ghm_r_loss", GHM_R, "pred", "N4", 3, {}),
    HARMONISED("ghm_r_loss.grad", GHM_R, "pred", "N4", 3, {"grad_pred", 'f', "N4"}),
};
constexpr int OP_SPECS = sizeof OPS / sizeof *OPS;
constexpr int64_t MOST = 2147483647;  // of elements, as TensorRT counts them too
constexpr int64_t MAX_BINS = 512;
constexpr int32_t MOST_THREADS = 1024;

thread_local char message[512];

__attribute__((format(printf, 2, 3))) int32_t fail(int32_t code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  return code;
}

int rank_of(const TensorSpec &spec) { return static_cast<int>(std::strlen(spec.shape)); }

int count_of(const TensorSpec *tensors) {
  int count = 0;
  while (count < 5 && tensors[count].name) ++count;
  return count;
}

// Checks one tensor; `sizes` has what the letters of a call mean so far, `type` its boundary type.
int32_t check(const OpSpec &op, const TensorSpec &spec, const lossexport_tensor &tensor,
              int64_t *sizes, int32_t *type) {
  const int32_t allowed = spec.type == 'i' ? LOSSEXPORT_INT64 : LOSSEXPORT_FLOAT32;
  if (spec.type == 'f') {
    if (!*type) *type = tensor.type;
    if (tensor.type < LOSSEXPORT_FLOAT32 || tensor.type > LOSSEXPORT_BFLOAT16 ||
        tensor.type != *type)
      return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has type %d, expected %s", op.name, spec.name,
                  static_cast<int>(tensor.type), "the float type of the other tensors");
  } else if (tensor.type != allowed) {
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has type %d, expected %d", op.name, spec.name,
                static_cast<int>(tensor.type), static_cast<int>(allowed));
  }
  const int rank = rank_of(spec);
  if (tensor.rank != rank)
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has rank %d, expected %d", op.name, spec.name,
                static_cast<int>(tensor.rank), rank);
  int64_t elements = 1, stride = 1;
  for (int axis = 0; axis < rank; ++axis) {
    const int64_t size = tensor.shape[axis];
    const char letter = spec.shape[axis];
    if (size < 0)
      return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has size %lld on axis %d", op.name, spec.name,
                  static_cast<long long>(size), axis);
    if (size > MOST)
      return fail(LOSSEXPORT_TOO_LARGE, "%s: %s has size %lld on axis %d, at most %lld is possible",
                  op.name, spec.name, static_cast<long long>(size), axis,
                  static_cast<long long>(MOST));
    int64_t expected = letter - '0';
    if (letter > '9') {
      int64_t &known = sizes[letter - 'A'];
      if (known < 0) known = size;
      expected = known;
    }
    if (size != expected)
      return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has size %lld on axis %d, expected %lld", op.name,
                  spec.name, static_cast<long long>(size), axis, static_cast<long long>(expected));
    elements *= size;  // two factors of at most 2^31
  }
  if (elements > MOST)
    return fail(LOSSEXPORT_TOO_LARGE, "%s: %s has %lld elements, at most %lld are possible",
                op.name, spec.name, static_cast<long long>(elements), static_cast<long long>(MOST));
  for (int axis = rank; axis-- > 0 && elements;) {
    if (tensor.shape[axis] > 1 && tensor.strides[axis] != stride)
      return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has stride %lld on axis %d, expected %lld",
                  op.name, spec.name, static_cast<long long>(tensor.strides[axis]), axis,
                  static_cast<long long>(stride));
    stride *= tensor.shape[axis];
  }
  const uint64_t width = tensor.type == LOSSEXPORT_INT64     ? 8
                         : tensor.type == LOSSEXPORT_FLOAT32 ? 4
                                                             : 2;
  if (!elements) return LOSSEXPORT_OK;
  if (!tensor.data) return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: %s has no data", op.name, spec.name);
  if (tensor.bytes < width * static_cast<uint64_t>(elements))
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has %llu bytes, expected %llu", op.name, spec.name,
                static_cast<unsigned long long>(tensor.bytes),
                static_cast<unsigned long long>(width * static_cast<uint64_t>(elements)));
  if (reinterpret_cast<uintptr_t>(tensor.data) % width)
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s is not aligned to %llu bytes", op.name, spec.name,
                static_cast<unsigned long long>(width));
  return LOSSEXPORT_OK;
}

int32_t check_all(const OpSpec &op, const TensorSpec *specs, const char *kind,
                  const lossexport_tensor *tensors, int32_t count, int64_t *sizes, int32_t *type) {
  const int expected = count_of(specs);
  if (count != expected)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: %d %ss, expected %d", op.name,
                static_cast<int>(count), kind, expected);
  if (!tensors) return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: %ss are null", op.name, kind);
  for (int i = 0; i < expected; ++i)
    if (const int32_t code = check(op, specs[i], tensors[i], sizes, type)) return code;
  return LOSSEXPORT_OK;
}

int32_t check_attributes(const OpSpec &op, const double *attributes, int32_t count,
                         const int64_t *sizes) {
  if (count != op.attributes)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: %d attributes, expected %d", op.name,
                static_cast<int>(count), op.attributes);
  if (count && !attributes)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attributes are null", op.name);
  for (int i = 0; i < count; ++i)
    if (!std::isfinite(attributes[i]))
      return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %d is not a finite number", op.name, i);
  if (op.choices) {
    const double choice = attributes[op.choice];
    if (choice < 0 || choice >= op.choices || choice != std::floor(choice))
      return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %d is %g, expected a choice below %d",
                  op.name, op.choice, choice, op.choices);
  }
  if (op.sized && attributes[op.size] != static_cast<double>(sizes[op.sized - 'A']))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %d is %g, the tensors have %lld", op.name,
                op.size, attributes[op.size], static_cast<long long>(sizes[op.sized - 'A']));
  const int64_t bins = sizes['B' - 'A'];
  if (bins >= 0 && (bins < 1 || bins > MAX_BINS))
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: bin_count has %lld bins, expected 1 to %lld", op.name,
                static_cast<long long>(bins), static_cast<long long>(MAX_BINS));
  return LOSSEXPORT_OK;
}

struct Level {
  const char *name;
  const Function *loops;
};

// What the processor has, or less where LOSSEXPORT_LEVEL names it.
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
  if (wide && !skipped("x86-64-v4")) return {"x86-64-v4", v4::LOOPS};
  if (v3 && !skipped("x86-64-v3")) return {"x86-64-v3", v3::LOOPS};
  return {"x86-64", base::LOOPS};
#elif defined(__aarch64__)
  return {"aarch64", base::LOOPS};
#else
  return {"generic", base::LOOPS};
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
  return index >= 0 && index < lossexport::OP_SPECS ? lossexport::OPS[index].name : nullptr;
}

const char *lossexport_message(void) { return lossexport::message; }

int32_t lossexport_run(const char *name, const double *attributes, int32_t attribute_count,
                       const lossexport_tensor *inputs, int32_t input_count,
                       const lossexport_tensor *outputs, int32_t output_count, int32_t threads) {
  using namespace lossexport;
  message[0] = 0;
  if (!name) return fail(LOSSEXPORT_BAD_ARGUMENT, "op is null");
  const OpSpec *op = OPS;
  while (op < OPS + OP_SPECS && std::strcmp(op->name, name)) ++op;
  if (op == OPS + OP_SPECS) return fail(LOSSEXPORT_UNKNOWN_OP, "%.64s: no such op", name);
  int64_t sizes[26];
  for (int64_t &size : sizes) size = -1;
  int32_t type = 0;
  if (const int32_t code = check_all(*op, op->inputs, "input", inputs, input_count, sizes, &type))
    return code;
  if (const int32_t code =
          check_all(*op, op->outputs, "output", outputs, output_count, sizes, &type))
    return code;
  if (const int32_t code = check_attributes(*op, attributes, attribute_count, sizes)) return code;
  try {
    level().loops[op->op](Call{attributes, inputs, outputs, output_count, usable_threads(threads)});
  } catch (const std::bad_alloc &) {
    return fail(LOSSEXPORT_NO_MEMORY, "%s: not enough memory", op->name);
  }
  return LOSSEXPORT_OK;
}

}  // extern "C"

#include "arguments.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace lossexport {
namespace {

thread_local char said[512];

long long number(int64_t x) { return static_cast<long long>(x); }

// The type of a tensor whose type does not depend on the call.
int32_t fixed_type(Type type) {
  return type == INT64 ? LOSSEXPORT_INT64 : type == BOOL ? LOSSEXPORT_BOOL : LOSSEXPORT_FLOAT32;
}

// Bytes of an element.
uint64_t width_of(int32_t type) {
  switch (type) {
    case LOSSEXPORT_INT64:
      return 8;
    case LOSSEXPORT_FLOAT32:
      return 4;
    case LOSSEXPORT_BOOL:
      return 1;
    default:
      return 2;
  }
}

// The place of a choice by its name, or -1.
int place_of(const Attribute &spec, const char *text) {
  for (int i = 0; i < spec.choices.count; ++i)
    if (!std::strcmp(spec.choices.items[i], text)) return i;
  return -1;
}

}  // namespace

const char *message() { return said; }

void forget() { said[0] = 0; }

int32_t fail(int32_t code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(said, sizeof said, format, arguments);
  va_end(arguments);
  return code;
}

void set_strides(lossexport_tensor *tensor) {
  uint64_t stride = 1;  // of sizes that are yet unchecked
  for (int axis = tensor->rank; axis-- > 0; stride *= static_cast<uint64_t>(tensor->shape[axis]))
    tensor->strides[axis] = static_cast<int64_t>(stride);
}

Arguments::Arguments(const Kernel &kernel) : kernel_(kernel), specs_(kernel.op->attributes) {
  for (int64_t &size : sizes_) size = -1;
  for (int i = 0; i < specs_.count; ++i) values_[i] = {specs_.items[i].value, nullptr, 0};
}

int32_t Arguments::take_inputs(const lossexport_tensor *inputs, int32_t count) {
  const Tensors &specs = kernel_.op->inputs;
  return check_tensors(specs, specs.count, 0, "input", inputs, count);
}

int32_t Arguments::check_outputs(const lossexport_tensor *outputs, int32_t count) {
  const int single = reduced() ? kernel_.values() : 0;
  if (const int32_t code =
          check_tensors(kernel_.op->outputs, kernel_.outputs, single, "output", outputs, count))
    return code;
  for (int place = 0; place < specs_.count; ++place)
    if (const int32_t code = fit(place)) return code;
  return LOSSEXPORT_OK;
}

int32_t Arguments::describe_output(int place, lossexport_tensor *output) {
  const Tensor &spec = kernel_.op->outputs.items[place];
  output->type = spec.type == FLOAT ? type_ : fixed_type(spec.type);
  output->rank = reduced() && place < kernel_.values() ? 0 : spec.shape.rank;
  for (int axis = 0; axis < output->rank; ++axis) {
    const char dim = spec.shape.dims[axis];
    int64_t size = dim > '9' ? sizes_[dim - 'A'] : dim - '0';
    for (int i = 0; i < specs_.count && size < 0; ++i)
      if (specs_.items[i].size == dim) {
        const double wanted = values_[i];
        if (wanted < 0 || wanted > static_cast<double>(MOST) || wanted != std::floor(wanted))
          return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %s is %g, expected 0 to %lld",
                      kernel_.name, specs_.items[i].name, wanted, number(MOST));
        size = static_cast<int64_t>(wanted);
      }
    output->shape[axis] = size;
  }
  set_strides(output);
  int64_t elements = 1;
  return check_shape(spec, *output, &elements);
}

// Of the tensors the first `reduced` are single numbers.
int32_t Arguments::check_tensors(const Tensors &specs, int expected, int reduced, const char *kind,
                                 const lossexport_tensor *tensors, int32_t count) {
  if (count != expected)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: %d %ss, expected %d", kernel_.name,
                static_cast<int>(count), kind, expected);
  if (!tensors) return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: %ss are null", kernel_.name, kind);
  for (int i = 0; i < expected; ++i) {
    const Tensor &spec = specs.items[i];
    const int rank = i < reduced ? 0 : spec.shape.rank;
    if (const int32_t code = check_tensor(spec, tensors[i], rank)) return code;
  }
  return LOSSEXPORT_OK;
}

int32_t Arguments::check_tensor(const Tensor &spec, const lossexport_tensor &tensor, int rank) {
  if (const int32_t code = check_type(spec, tensor)) return code;
  if (tensor.rank != rank)
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has rank %d, expected %d", kernel_.name, spec.name,
                static_cast<int>(tensor.rank), rank);
  int64_t elements = 1;
  if (const int32_t code = check_shape(spec, tensor, &elements)) return code;
  const uint64_t width = width_of(tensor.type);
  if (!elements) return LOSSEXPORT_OK;
  if (!tensor.data)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: %s has no data", kernel_.name, spec.name);
  if (tensor.bytes < width * static_cast<uint64_t>(elements))
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has %llu bytes, expected %llu", kernel_.name,
                spec.name, static_cast<unsigned long long>(tensor.bytes),
                static_cast<unsigned long long>(width * static_cast<uint64_t>(elements)));
  if (reinterpret_cast<uintptr_t>(tensor.data) % width)
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s is not aligned to %llu bytes", kernel_.name,
                spec.name, static_cast<unsigned long long>(width));
  return LOSSEXPORT_OK;
}

int32_t Arguments::check_type(const Tensor &spec, const lossexport_tensor &tensor) {
  if (spec.type == FLOAT) {
    if (!type_) type_ = tensor.type;
    if (tensor.type < LOSSEXPORT_FLOAT32 || tensor.type > LOSSEXPORT_BFLOAT16 ||
        tensor.type != type_)
      return fail(LOSSEXPORT_BAD_TENSOR,
                  "%s: %s has type %d, expected the float type of the other tensors", kernel_.name,
                  spec.name, static_cast<int>(tensor.type));
    return LOSSEXPORT_OK;
  }
  const int32_t allowed = fixed_type(spec.type);
  if (tensor.type != allowed)
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has type %d, expected %d", kernel_.name, spec.name,
                static_cast<int>(tensor.type), static_cast<int>(allowed));
  return LOSSEXPORT_OK;
}

int32_t Arguments::check_shape(const Tensor &spec, const lossexport_tensor &tensor,
                               int64_t *elements) {
  for (int axis = 0; axis < tensor.rank; ++axis) {
    const int64_t size = tensor.shape[axis];
    if (size < 0)
      return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has size %lld on axis %d", kernel_.name, spec.name,
                  number(size), axis);
    if (size > MOST)
      return fail(LOSSEXPORT_TOO_LARGE, "%s: %s has size %lld on axis %d, at most %lld is possible",
                  kernel_.name, spec.name, number(size), axis, number(MOST));
    const char letter = spec.shape.dims[axis];
    int64_t expected = letter - '0';
    if (letter > '9') {
      int64_t &known = sizes_[letter - 'A'];
      if (known < 0) known = size;
      expected = known;
    }
    if (size != expected)
      return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has size %lld on axis %d, expected %lld",
                  kernel_.name, spec.name, number(size), axis, number(expected));
    *elements *= size;  // two factors of at most 2^31
    if (*elements > MOST)
      return fail(LOSSEXPORT_TOO_LARGE, "%s: %s has more than %lld elements", kernel_.name,
                  spec.name, number(MOST));
  }
  int64_t stride = 1;
  for (int axis = tensor.rank; axis-- > 0 && *elements;) {
    if (tensor.shape[axis] > 1 && tensor.strides[axis] != stride)
      return fail(LOSSEXPORT_BAD_TENSOR, "%s: %s has stride %lld on axis %d, expected %lld",
                  kernel_.name, spec.name, number(tensor.strides[axis]), axis, number(stride));
    stride *= tensor.shape[axis];
  }
  return LOSSEXPORT_OK;
}

int32_t Arguments::take_attributes(const lossexport_attribute *given, int32_t count) {
  if (count < 0 || count > specs_.count)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: %d attributes, expected 0 to %d", kernel_.name,
                static_cast<int>(count), specs_.count);
  if (count && !given)
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attributes are null", kernel_.name);
  for (int i = 0; i < count; ++i)
    if (const int32_t code = take(given[i], i)) return code;
  return LOSSEXPORT_OK;
}

int32_t Arguments::take(const lossexport_attribute &given, int place) {
  if (given.name) {
    for (place = 0; place < specs_.count; ++place)
      if (!std::strcmp(specs_.items[place].name, given.name)) break;
    if (place == specs_.count)
      return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: there is no attribute %.64s", kernel_.name,
                  given.name);
  }
  const Attribute &spec = specs_.items[place];
  if (given_[place])
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %s is given twice", kernel_.name,
                spec.name);
  given_[place] = true;
  if (given.list) {
    if (!spec.list.rank)
      return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %s is a list, expected a number",
                  kernel_.name, spec.name);
    values_[place].list = given.list;
    values_[place].count = given.count;
    return LOSSEXPORT_OK;
  }
  const int choices = spec.choices.count;
  double value = given.number;
  if (given.text) {
    value = place_of(spec, given.text);
    if (value < 0)
      return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %s is \"%.64s\", which is no choice",
                  kernel_.name, spec.name, given.text);
  }
  if (!std::isfinite(value))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %s is not a finite number", kernel_.name,
                spec.name);
  if (choices && (value < 0 || value >= choices || value != std::floor(value)))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %s is %g, expected a choice below %d",
                kernel_.name, spec.name, value, choices);
  values_[place].number = value;
  return LOSSEXPORT_OK;
}

// Whether the values of the op become one number each.
bool Arguments::reduced() const {
  const int last = specs_.count - 1;
  return last >= 0 && !std::strcmp(specs_.items[last].name, REDUCTION.name) && values_[last];
}

// Compares an attribute that is a size, or a list of some size, with the tensors.
int32_t Arguments::fit(int place) {
  const Attribute &spec = specs_.items[place];
  Value &value = values_[place];
  if (value.list) {
    const char dim = spec.list.dims[0];
    int64_t expected = dim > '9' ? sizes_[dim - 'A'] : dim - '0';
    if (expected < 0) expected = value.count > 0 ? value.count : 1;  // the size of no tensor
    if (value.count != expected)
      return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %s has %lld numbers, expected %lld",
                  kernel_.name, spec.name, number(value.count), number(expected));
    for (int64_t i = 0; i < expected; ++i)
      if (!std::isfinite(value.list[i]))
        return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %s is not of finite numbers",
                    kernel_.name, spec.name);
  }
  if (!spec.size) return LOSSEXPORT_OK;
  const int64_t size = sizes_[spec.size - 'A'];
  if (!given_[place]) value.number = static_cast<double>(size);
  if (value.number != static_cast<double>(size))
    return fail(LOSSEXPORT_BAD_ARGUMENT, "%s: attribute %s is %g, the tensors have %lld",
                kernel_.name, spec.name, value.number, number(size));
  if (size < spec.least || size > spec.most)
    return fail(LOSSEXPORT_BAD_TENSOR, "%s: the tensors have %lld %s, expected %lld to %lld",
                kernel_.name, number(size), spec.name, number(spec.least), number(spec.most));
  return LOSSEXPORT_OK;
}

}  // namespace lossexport

// How an op is declared: its tensors, its attributes and the loop that computes it.
#pragma once

#include <initializer_list>

#include "loops.h"

namespace lossexport {

constexpr int64_t MOST = 2147483647;  // of elements, as TensorRT counts them too
constexpr int MOST_AXES = LOSSEXPORT_MOST_AXES;

// A few items in place; more than there is room for do not compile.
template <typename T, int ROOM>
struct List {
  T items[ROOM] = {};
  int count = 0;

  constexpr List(std::initializer_list<T> given) {
    for (const T &item : given) add(item);
  }
  constexpr void add(const T &item) { items[count++] = item; }
  constexpr const T *begin() const { return items; }
  constexpr const T *end() const { return items + count; }
};

// A dimension is a digit, or a capital letter that means one size throughout a call.
struct Shape {
  char dims[MOST_AXES] = {};
  int rank = 0;

  constexpr Shape(const char *text = "") {
    for (; *text; ++text) {
      const bool known = (*text >= '0' && *text <= '9') || (*text >= 'A' && *text <= 'Z');
      dims[rank++] = known ? *text : throw "neither a digit nor a capital letter";
    }
  }
};

// FLOAT is the type at the boundary, the same for all such tensors of a call.
enum Type { FLOAT, FLOAT32, INT64, BOOL };

struct Tensor {
  const char *name;
  Shape shape;
  Type type = FLOAT;
};

// A finite number, `value` where a call does not give it. With `choices` it is the place of one of
// them; with `size` it is what that letter means in the shapes of the call, from `least` to `most`.
// With `list` it may also be several numbers, as many as that dimension has, or any number if no
// tensor has it.
struct Attribute {
  const char *name;
  double value = 0;
  List<const char *, 4> choices = {};
  bool whole = false;
  char size = 0;
  int64_t least = 0, most = MOST;
  Shape list = "";
};

// The attribute that makes one number of each value, but not of the gradients.
constexpr Attribute REDUCTION = {.name = "reduction", .choices = {"none", "sum", "mean"}};

using Tensors = List<Tensor, 8>;
constexpr int MOST_ATTRIBUTES = 8;
using Attributes = List<Attribute, MOST_ATTRIBUTES>;

// `node` is its type in an ONNX graph. Of the outputs the last `gradients` are those of "NAME.grad"
// alone, whose node is of the type "NODEWithGrad".
struct Op {
  const char *name, *node;
  Function &loop;
  Tensors inputs, outputs;
  int gradients = 0;
  Attributes attributes = {};
};

// An op, or an op with its gradients.
struct Kernel {
  char name[48], node[48];
  const Op *op;
  int outputs;

  // How many of the outputs, the first ones, `reduction` makes one number of.
  constexpr int values() const { return op->outputs.count - op->gradients; }
};

struct Kernels {
  const Kernel *first;
  int count;

  constexpr const Kernel *begin() const { return first; }
  constexpr const Kernel *end() const { return first + count; }
};

constexpr void join(char *to, const char *first, const char *second) {
  for (const char *part : {first, second})
    while (*part) *to++ = *part++;
}

constexpr Kernel kernel(const Op &op, bool gradients) {
  Kernel found = {{}, {}, &op, op.outputs.count - (gradients ? 0 : op.gradients)};
  join(found.name, op.name, gradients ? ".grad" : "");
  join(found.node, op.node, gradients ? "WithGrad" : "");
  return found;
}

// The names of the ops, in order.
template <int COUNT>
constexpr List<Kernel, 2 * COUNT> kernels_of(const Op (&ops)[COUNT]) {
  List<Kernel, 2 * COUNT> found = {};
  for (const Op &op : ops) {
    found.add(kernel(op, false));
    if (op.gradients) found.add(kernel(op, true));
  }
  return found;
}

// The lists of all levels of the processor, which differ only in their loops.
namespace v4 {
extern const Kernels KERNELS;
}
namespace v3 {
extern const Kernels KERNELS;
}
namespace base {
extern const Kernels KERNELS;
}

// Those of the level that this machine runs.
const Kernels &kernels();

}  // namespace lossexport

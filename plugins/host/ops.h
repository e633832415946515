// How an op is declared: its tensors, its attributes and the loop that computes it.
#pragma once

#include <initializer_list>
#include <type_traits>

#include "loops.h"

namespace lossexport {

constexpr int64_t MOST = 2147483647;  // of elements, as TensorRT counts them too
constexpr int MOST_AXES = std::extent_v<decltype(lossexport_tensor::shape)>;

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
enum Type { FLOAT, FLOAT32, INT64 };

struct Tensor {
  const char *name;
  Shape shape;
  Type type = FLOAT;
};

// A finite number. With `choices` it is a whole one below; with `size` it is what that letter means
// in the shapes of the call, from `least` to `most`.
struct Attribute {
  const char *name;
  int choices = 0;
  char size = 0;
  int64_t least = 0, most = MOST;
};

using Tensors = List<Tensor, 5>;
using Attributes = List<Attribute, 8>;

// Of the outputs the last `gradients` are those of "NAME.grad" alone.
struct Op {
  const char *name;
  Function &loop;
  Tensors inputs, outputs;
  int gradients = 0;
  Attributes attributes = {};
};

// An op, or an op with its gradients.
struct Kernel {
  char name[48];
  const Op *op;
  int outputs;
};

struct Kernels {
  const Kernel *first;
  int count;

  constexpr const Kernel *begin() const { return first; }
  constexpr const Kernel *end() const { return first + count; }
};

constexpr Kernel kernel(const Op &op, const char *suffix, int outputs) {
  Kernel found = {{}, &op, outputs};
  int length = 0;
  for (const char *part : {op.name, suffix})
    while (*part) found.name[length++] = *part++;
  return found;
}

// The names of the ops, in order.
template <int COUNT>
constexpr List<Kernel, 2 * COUNT> kernels_of(const Op (&ops)[COUNT]) {
  List<Kernel, 2 * COUNT> found = {};
  for (const Op &op : ops) {
    found.add(kernel(op, "", op.outputs.count - op.gradients));
    if (op.gradients) found.add(kernel(op, ".grad", op.outputs.count));
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

}  // namespace lossexport

// The shapes that the kernels give, as far as onnxruntime can know them while it loads a graph.
#include <cstring>
#include <string>

#include "onnxruntime_offer.h"

namespace lossexport::onnxruntime {
namespace {

// A dimension while a graph is loaded: a size, a name or, with neither, unknown.
struct Dimension {
  int64_t size = -1;
  std::string name;

  bool known() const { return size >= 0 || !name.empty(); }
};

// What is known of the shapes of a node while a graph is loaded.
class Shapes {
 public:
  Shapes(const Api *api, const Op &op, ShapeInferContext *context)
      : api_(api), op_(op), context_(context) {
    for (int i = 0; i < op.inputs.count; ++i) take(op.inputs.items[i], static_cast<size_t>(i));
    for (const Attribute &spec : op.attributes) take(spec);
  }

  // Tells onnxruntime the outputs, but those of which a dimension is unknown.
  void infer(const Kernel &kernel) const {
    for (int i = 0; i < kernel.outputs; ++i) {
      const Tensor &spec = op_.outputs.items[i];
      const int rank = reduced_ && i < kernel.values() ? 0 : spec.shape.rank;
      int64_t sizes[MOST_AXES] = {};
      const char *names[MOST_AXES] = {};
      bool known = element_ || spec.type != FLOAT;
      for (int axis = 0; axis < rank; ++axis) {
        const char dim = spec.shape.dims[axis];
        sizes[axis] = dim - '0';
        names[axis] = "";
        if (dim <= '9') continue;
        const Dimension &found = dims_[dim - 'A'];
        known &= found.known();
        sizes[axis] = found.size;
        names[axis] = found.name.c_str();
      }
      if (known) tell(i, spec, rank, sizes, names);
    }
  }

 private:
  void take(const Tensor &spec, size_t place) {
    TensorInfo *info = nullptr;  // the context's
    must(get_input_info(api_, context_, place, &info));
    size_t rank = 0;
    must(get_rank(api_, info, &rank));
    if (spec.type == FLOAT) must(get_element_type(api_, info, &element_));
    if (rank != static_cast<size_t>(spec.shape.rank)) return;
    int64_t sizes[MOST_AXES] = {};
    const char *names[MOST_AXES] = {};
    must(get_dimensions(api_, info, sizes, rank));
    must(get_symbolic_dimensions(api_, info, names, rank));
    for (size_t axis = 0; axis < rank; ++axis) {
      const char dim = spec.shape.dims[axis];
      if (dim <= '9' || dims_[dim - 'A'].size >= 0) continue;
      dims_[dim - 'A'] = {sizes[axis], names[axis] ? names[axis] : ""};
    }
  }

  void take(const Attribute &spec) {
    const OpAttribute *attribute = nullptr;
    const bool given = went_well(api_, get_attribute(api_, context_, spec.name, &attribute));
    size_t size = 0;
    if (spec.size && !dims_[spec.size - 'A'].known()) {
      int64_t value = static_cast<int64_t>(spec.value);
      if (given) must(read_attribute(api_, attribute, ATTRIBUTE_INT, &value, sizeof value, &size));
      if (value >= 0) dims_[spec.size - 'A'].size = value;
    }
    if (given && !std::strcmp(spec.name, REDUCTION.name)) {
      char text[8] = {};
      must(read_attribute(api_, attribute, ATTRIBUTE_STRING, text, sizeof text - 1, &size));
      reduced_ = std::strcmp(text, REDUCTION.choices.items[0]);
    }
  }

  void tell(int place, const Tensor &spec, int rank, const int64_t *sizes,
            const char **names) const {
    TensorInfo *made = nullptr;
    must(create_tensor_info(api_, &made));
    const Info info(made, {api_});
    must(set_element_type(api_, info.get(), element_of(spec.type, element_)));
    must(set_dimensions(api_, info.get(), sizes, static_cast<size_t>(rank)));
    must(set_symbolic_dimensions(api_, info.get(), names, static_cast<size_t>(rank)));
    must(set_output_info(api_, context_, static_cast<size_t>(place), info.get()));
  }

  const Api *api_;
  const Op &op_;
  ShapeInferContext *context_;
  Dimension dims_[26];
  int element_ = 0;  // onnxruntime asks one offer of a kernel for the shapes of all
  bool reduced_ = false;
};

}  // namespace

// What is not inferred is not known before the node runs: onnxruntime heeds no status here.
Status *infer_shapes(const CustomOp *op, ShapeInferContext *context) {
  const Kernel &kernel = *offer(op).kernel;
  const Api *api = offer(op).api;
  went_well(api, guarded(api, [&] { Shapes(api, *kernel.op, context).infer(kernel); }));
  return nullptr;
}

}  // namespace lossexport::onnxruntime

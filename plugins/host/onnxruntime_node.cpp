// A node of a session of onnxruntime that is one of the kernels: its attributes, and a run of it.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "arguments.h"
#include "onnxruntime_offer.h"

namespace lossexport::onnxruntime {
namespace {

constexpr int MOST_INPUTS = sizeof(Tensors::items) / sizeof(Tensor), MOST_OUTPUTS = MOST_INPUTS;

// Throws the message of this thread where arguments do not fit the kernel.
void must_fit(const Api *api, int32_t code) {
  if (code)
    throw Failure{
        create_status(api, code == LOSSEXPORT_NO_MEMORY ? FAIL : INVALID_ARGUMENT, message())};
}

int32_t type_of(int element) {
  switch (element) {
    case ELEMENT_FLOAT:
      return LOSSEXPORT_FLOAT32;
    case ELEMENT_FLOAT16:
      return LOSSEXPORT_FLOAT16;
    case ELEMENT_BFLOAT16:
      return LOSSEXPORT_BFLOAT16;
    case ELEMENT_INT64:
      return LOSSEXPORT_INT64;
    case ELEMENT_BOOL:
      return LOSSEXPORT_BOOL;
    default:
      return 0;
  }
}

// The shortest decimal number that rounds to a float: 0.02 and not 0.0199999996, as it was meant.
double meant(float value) {
  char text[32];
  for (int digits = 1; digits <= 9; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, static_cast<double>(value));
    if (std::strtof(text, nullptr) == value) break;
  }
  return std::strtod(text, nullptr);
}

// The attributes of a node that the op knows, of whatever type they are.
class Given {
 public:
  Given(const Api *api, const KernelInfo *info, const Attributes &specs) {
    for (const Attribute &spec : specs) {
      lossexport_attribute &found = items_[count_] = {};
      found.name = spec.name;
      if (read(api, info, spec.name, found)) ++count_;
    }
  }

  const lossexport_attribute *items() const { return items_; }
  int32_t count() const { return count_; }

 private:
  bool read(const Api *api, const KernelInfo *info, const char *name, lossexport_attribute &found) {
    float real;
    int64_t whole;
    size_t size = 0;
    if (went_well(api, get_float(api, info, name, &real))) {
      found.number = meant(real);
    } else if (went_well(api, get_int(api, info, name, &whole))) {
      found.number = static_cast<double>(whole);
    } else if (went_well(api, get_string(api, info, name, static_cast<char *>(nullptr), &size))) {
      std::string &text = texts_[count_];
      text.resize(size);
      must(get_string(api, info, name, text.data(), &size));
      found.text = text.c_str();
    } else {
      std::vector<double> &list = lists_[count_];
      if (!read(api, info, name, list)) return false;
      found.list = list.data();
      found.count = static_cast<int64_t>(list.size());
    }
    return true;
  }

  bool read(const Api *api, const KernelInfo *info, const char *name, std::vector<double> &list) {
    size_t count = 0;
    if (!went_well(api, get_floats(api, info, name, static_cast<float *>(nullptr), &count)))
      return false;
    std::vector<float> reals(count);
    list.reserve(count + 1);  // so that its data are never null
    if (count) must(get_floats(api, info, name, reals.data(), &count));
    for (const float real : reals) list.push_back(meant(real));
    if (count) return true;
    must(get_ints(api, info, name, static_cast<int64_t *>(nullptr), &count));
    std::vector<int64_t> wholes(count);
    if (count) must(get_ints(api, info, name, wholes.data(), &count));
    list.assign(wholes.begin(), wholes.end());
    return true;
  }

  lossexport_attribute items_[MOST_ATTRIBUTES];
  int32_t count_ = 0;
  std::string texts_[MOST_ATTRIBUTES];
  std::vector<double> lists_[MOST_ATTRIBUTES];
};

// The threads of the session that a node runs in, as many as its options say.
class SessionPool : public Pool {
 public:
  SessionPool(const Api *api, const KernelContext *context) : api_(api), context_(context) {}
  void run(int64_t tasks, void (*task)(void *, size_t), void *context) override {
    must(parallel_for(api_, context_, task, static_cast<size_t>(tasks), size_t{0}, context));
  }

 private:
  const Api *api_;
  const KernelContext *context_;
};

// A node of a session. Several threads may run it at a time.
class Node {
 public:
  Node(const Offer &op, const Api *api, const KernelInfo *info)
      : op_(op), api_(api), given_(api, info, op.kernel->op->attributes) {
    Arguments arguments(*op_.kernel);
    must_fit(api_, arguments.take_attributes(given_.items(), given_.count()));
  }

  const Api *api() const { return api_; }

  void run(KernelContext *context) const {
    const Kernel &kernel = *op_.kernel;
    const int count = kernel.op->inputs.count;
    lossexport_tensor inputs[MOST_INPUTS] = {}, outputs[MOST_OUTPUTS] = {};
    for (int i = 0; i < count; ++i) inputs[i] = input(context, i);
    Arguments arguments(kernel);
    must_fit(api_, arguments.take_inputs(inputs, count));
    must_fit(api_, arguments.take_attributes(given_.items(), given_.count()));
    for (int i = 0; i < kernel.outputs; ++i) {
      must_fit(api_, arguments.describe_output(i, &outputs[i]));
      Value *value = nullptr;
      must(get_output(api_, context, static_cast<size_t>(i), outputs[i].shape,
                      static_cast<size_t>(outputs[i].rank), &value));
      if (value) must(get_tensor_data(api_, value, &outputs[i].data));
      outputs[i].bytes = UINT64_MAX;  // as many as onnxruntime gives to that shape
    }
    must_fit(api_, arguments.check_outputs(outputs, kernel.outputs));
    SessionPool pool(api_, context);
    must_fit(api_, compute(kernel, arguments, inputs, outputs, 0));
  }

 private:
  lossexport_tensor input(const KernelContext *context, int place) const {
    const Value *value = nullptr;
    must(get_input(api_, context, static_cast<size_t>(place), &value));
    lossexport_tensor found = {};
    if (!value) return found;
    TensorInfo *made = nullptr;
    must(get_tensor_info(api_, value, &made));
    const Info info(made, {api_});
    int element = 0;
    size_t rank = 0;
    must(get_element_type(api_, info.get(), &element));
    must(get_rank(api_, info.get(), &rank));
    found.type = type_of(element);
    found.rank = static_cast<int32_t>(rank);
    if (rank <= MOST_AXES) {
      must(get_dimensions(api_, info.get(), found.shape, rank));
      set_strides(&found);
    }
    must(get_tensor_data(api_, const_cast<Value *>(value), &found.data));
    found.bytes = UINT64_MAX;
    return found;
  }

  const Offer &op_;
  const Api *api_;
  const Given given_;
};

}  // namespace

Status *create_node(const CustomOp *op, const Api *api, const KernelInfo *info, void **kernel) {
  return guarded(api, [&] { *kernel = new Node(offer(op), api, info); });
}

Status *run_node(void *kernel, KernelContext *context) {
  const Node &node = *static_cast<Node *>(kernel);
  return guarded(node.api(), [&] { node.run(context); });
}

void destroy_node(void *kernel) { delete static_cast<Node *>(kernel); }

}  // namespace lossexport::onnxruntime

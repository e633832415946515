// The kernels as custom ops of onnxruntime, which takes them for the nodes of exported files in place
// of the functions in the file.
#include <memory>
#include <mutex>
#include <vector>

#include "onnxruntime_offer.h"

namespace lossexport::onnxruntime {
namespace {

int input_type(const CustomOp *op, size_t place) {
  return element_of(offer(op).kernel->op->inputs.items[place].type, offer(op).element);
}

int output_type(const CustomOp *op, size_t place) {
  return element_of(offer(op).kernel->op->outputs.items[place].type, offer(op).element);
}

Offer make_offer(const Api *api, const Kernel &kernel, int element) {
  Offer made = {};
  made.version = API_VERSION;
  made.create_kernel_v1 = [](const CustomOp *, const Api *, const KernelInfo *) -> void * {
    return nullptr;
  };
  made.name = [](const CustomOp *op) -> const char * { return offer(op).kernel->node; };
  made.provider = [](const CustomOp *) { return "CPUExecutionProvider"; };
  made.input_type = input_type;
  made.input_count = [](const CustomOp *op) -> size_t {
    return static_cast<size_t>(offer(op).kernel->op->inputs.count);
  };
  made.output_type = output_type;
  made.output_count = [](const CustomOp *op) -> size_t {
    return static_cast<size_t>(offer(op).kernel->outputs);
  };
  made.compute_v1 = [](void *, KernelContext *) {};
  made.destroy_kernel = destroy_node;
  // Of outputs too: the shape of one that a node lacks would be written beyond onnxruntime's own.
  made.input_characteristic =
      made.output_characteristic = [](const CustomOp *, size_t) -> int { return REQUIRED; };
  made.input_memory = [](const CustomOp *, size_t) { return 0; };
  made.variadic_input_least = made.variadic_output_least = [](const CustomOp *) { return 0; };
  made.variadic_input_homogeneous =
      made.variadic_output_homogeneous = [](const CustomOp *) { return 0; };
  made.create_kernel = create_node;
  made.compute = run_node;
  made.infer_shapes = infer_shapes;
  made.first_version = made.last_version = [](const CustomOp *) { return 1; };
  made.may_inplace = made.alias_map = [](int **, int **) -> size_t { return 0; };
  made.release_may_inplace = made.release_alias_map = [](int *, int *) {};
  made.api = api;
  made.kernel = &kernel;
  made.element = element;
  return made;
}

std::vector<Offer> all_offers(const Api *api) {
  std::vector<Offer> found;
  for (const Kernel &kernel : kernels()) {
    bool fixed = true;
    for (const Tensor &tensor : kernel.op->inputs) fixed &= tensor.type != FLOAT;
    found.push_back(make_offer(api, kernel, ELEMENT_FLOAT));
    if (fixed) continue;
    for (const int element : {ELEMENT_FLOAT16, ELEMENT_BFLOAT16})
      found.push_back(make_offer(api, kernel, element));
  }
  return found;
}

// The domain, made once for all sessions of an onnxruntime, which do not own it.
class Domain {
 public:
  explicit Domain(const Api *api) : api_(api), offers_(all_offers(api)) {
    must(create_custom_op_domain(api_, "lossexport", &domain_));
    for (const Offer &op : offers_)
      must(add_custom_op(api_, domain_, static_cast<const CustomOp *>(&op)));
  }
  ~Domain() { release_custom_op_domain(api_, domain_); }
  Domain(const Domain &) = delete;
  Domain &operator=(const Domain &) = delete;

  const Api *api() const { return api_; }
  void add_to(SessionOptions *options) const { must(add_custom_op_domain(api_, options, domain_)); }

 private:
  const Api *api_;
  std::vector<Offer> offers_;
  CustomOpDomain *domain_ = nullptr;
};

}  // namespace
}  // namespace lossexport::onnxruntime

// What onnxruntime calls when the library is registered with the options of a session.
extern "C" LOSSEXPORT_API lossexport::onnxruntime::Status *RegisterCustomOps(
    lossexport::onnxruntime::SessionOptions *options,
    const lossexport::onnxruntime::ApiBase *base) {
  using namespace lossexport::onnxruntime;
  const Api *api = base->get_api(API_VERSION);
  if (!api)
    return create_status(base->get_api(1), FAIL,
                         "lossexport: this onnxruntime is too old, 1.17 or later is needed");
  return guarded(api, [&] {
    static std::mutex mutex;
    static std::vector<std::unique_ptr<Domain>> domains;
    const std::lock_guard<std::mutex> lock(mutex);
    auto found = domains.begin();
    while (found != domains.end() && (*found)->api() != api) ++found;
    if (found == domains.end()) found = domains.insert(found, std::make_unique<Domain>(api));
    (*found)->add_to(options);
  });
}

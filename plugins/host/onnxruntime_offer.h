// What the parts share that make custom ops of the kernels.
#pragma once

#include <exception>
#include <memory>

#include "onnxruntime_api.h"
#include "ops.h"

namespace lossexport::onnxruntime {

// A kernel for one type at its boundary: a custom op has one type for each tensor.
struct Offer : CustomOp {
  const Api *api;
  const Kernel *kernel;
  int element;  // of the tensors of type FLOAT
};

inline const Offer &offer(const CustomOp *op) { return *static_cast<const Offer *>(op); }

inline int element_of(Type type, int element) {
  return type == FLOAT     ? element
         : type == FLOAT32 ? ELEMENT_FLOAT
         : type == BOOL    ? ELEMENT_BOOL
                           : ELEMENT_INT64;
}

// A status of onnxruntime's or of ours on its way to the caller.
struct Failure {
  Status *status;
};

// Throws where a call of the API failed.
inline void must(Status *status) {
  if (status) throw Failure{status};
}

// Whether a call of the API that may fail went well.
inline bool went_well(const Api *api, Status *status) {
  if (status) release_status(api, status);
  return !status;
}

// What `body` gives to onnxruntime: a status and never an exception.
template <typename Body>
Status *guarded(const Api *api, const Body &body) {
  try {
    body();
    return nullptr;
  } catch (const Failure &failure) {
    return failure.status;
  } catch (const std::exception &error) {
    return create_status(api, FAIL, error.what());
  } catch (...) {
    return create_status(api, FAIL, "lossexport: failed");
  }
}

struct ReleaseInfo {
  const Api *api;
  void operator()(TensorInfo *info) const { release_tensor_info(api, info); }
};
using Info = std::unique_ptr<TensorInfo, ReleaseInfo>;

// Callbacks of every offer.
Status *create_node(const CustomOp *op, const Api *api, const KernelInfo *info, void **kernel);
Status *run_node(void *kernel, KernelContext *context);
void destroy_node(void *kernel);
Status *infer_shapes(const CustomOp *op, ShapeInferContext *context);

}  // namespace lossexport::onnxruntime

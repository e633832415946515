// What the library needs of onnxruntime's C API, without its headers, which no package brings.
//
// The API is a table of functions to which releases only ever append, so a function is known by its
// place. Every place in use is there from version 17 (onnxruntime 1.17) on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lossexport::onnxruntime {

constexpr uint32_t API_VERSION = 17;

struct Status;
struct SessionOptions;
struct CustomOpDomain;
struct KernelInfo;
struct KernelContext;
struct ShapeInferContext;
struct Value;
struct TensorInfo;
struct OpAttribute;

struct Api {
  void (*places[1])();
};

struct ApiBase {
  const Api *(*get_api)(uint32_t version);  // null where the version is not known
  const char *(*version)();
};

enum Code { FAIL = 1, INVALID_ARGUMENT = 2 };
enum ElementType {
  ELEMENT_FLOAT = 1,
  ELEMENT_INT64 = 7,
  ELEMENT_BOOL = 9,
  ELEMENT_FLOAT16 = 10,
  ELEMENT_BFLOAT16 = 16
};
enum AttributeType { ATTRIBUTE_INT = 1, ATTRIBUTE_STRING = 5 };
enum Characteristic { REQUIRED = 0 };

template <int PLACE, typename Function>
struct Slot {
  template <typename... Arguments>
  auto operator()(const Api *api, Arguments... arguments) const {
    return reinterpret_cast<Function *>(api->places[PLACE])(arguments...);
  }
};

// Of those that give a status it is null after a success, and otherwise the caller's to release.
constexpr Slot<0, Status *(Code, const char *)> create_status{};
constexpr Slot<26, Status *(const char *, CustomOpDomain **)> create_custom_op_domain{};
constexpr Slot<27, Status *(CustomOpDomain *, const struct CustomOp *)> add_custom_op{};
constexpr Slot<28, Status *(SessionOptions *, CustomOpDomain *)> add_custom_op_domain{};
constexpr Slot<51, Status *(Value *, void **)> get_tensor_data{};
constexpr Slot<57, Status *(TensorInfo **)> create_tensor_info{};
constexpr Slot<58, Status *(TensorInfo *, int)> set_element_type{};
constexpr Slot<59, Status *(TensorInfo *, const int64_t *, size_t)> set_dimensions{};
constexpr Slot<60, Status *(const TensorInfo *, int *)> get_element_type{};
constexpr Slot<61, Status *(const TensorInfo *, size_t *)> get_rank{};
constexpr Slot<62, Status *(const TensorInfo *, int64_t *, size_t)> get_dimensions{};
constexpr Slot<63, Status *(const TensorInfo *, const char **, size_t)> get_symbolic_dimensions{};
constexpr Slot<65, Status *(const Value *, TensorInfo **)> get_tensor_info{};
constexpr Slot<85, Status *(const KernelInfo *, const char *, float *)> get_float{};
constexpr Slot<86, Status *(const KernelInfo *, const char *, int64_t *)> get_int{};
constexpr Slot<87, Status *(const KernelInfo *, const char *, char *, size_t *)> get_string{};
constexpr Slot<90, Status *(const KernelContext *, size_t, const Value **)> get_input{};
constexpr Slot<91, Status *(KernelContext *, size_t, const int64_t *, size_t, Value **)>
    get_output{};
constexpr Slot<93, void(Status *)> release_status{};
constexpr Slot<99, void(TensorInfo *)> release_tensor_info{};
constexpr Slot<101, void(CustomOpDomain *)> release_custom_op_domain{};
constexpr Slot<162, Status *(const KernelInfo *, const char *, float *, size_t *)> get_floats{};
constexpr Slot<163, Status *(const KernelInfo *, const char *, int64_t *, size_t *)> get_ints{};
constexpr Slot<268, Status *(const ShapeInferContext *, size_t, TensorInfo **)> get_input_info{};
constexpr Slot<269, Status *(const ShapeInferContext *, const char *, const OpAttribute **)>
    get_attribute{};
constexpr Slot<270, Status *(const ShapeInferContext *, size_t, const TensorInfo *)>
    set_output_info{};
constexpr Slot<271, Status *(TensorInfo *, const char **, size_t)> set_symbolic_dimensions{};
constexpr Slot<272, Status *(const OpAttribute *, AttributeType, void *, size_t, size_t *)>
    read_attribute{};
constexpr Slot<274,
               Status *(const KernelContext *, void (*)(void *, size_t), size_t, size_t, void *)>
    parallel_for{};

// Callbacks in the order of the struct. Some are called whatever `version` says, so none is null.
struct CustomOp {
  uint32_t version;
  void *(*create_kernel_v1)(const CustomOp *, const Api *, const KernelInfo *);
  const char *(*name)(const CustomOp *);
  const char *(*provider)(const CustomOp *);
  int (*input_type)(const CustomOp *, size_t);
  size_t (*input_count)(const CustomOp *);
  int (*output_type)(const CustomOp *, size_t);
  size_t (*output_count)(const CustomOp *);
  void (*compute_v1)(void *kernel, KernelContext *);
  void (*destroy_kernel)(void *kernel);
  int (*input_characteristic)(const CustomOp *, size_t);
  int (*output_characteristic)(const CustomOp *, size_t);
  int (*input_memory)(const CustomOp *, size_t);
  int (*variadic_input_least)(const CustomOp *);
  int (*variadic_input_homogeneous)(const CustomOp *);
  int (*variadic_output_least)(const CustomOp *);
  int (*variadic_output_homogeneous)(const CustomOp *);
  Status *(*create_kernel)(const CustomOp *, const Api *, const KernelInfo *, void **kernel);
  Status *(*compute)(void *kernel, KernelContext *);
  Status *(*infer_shapes)(const CustomOp *, ShapeInferContext *);
  int (*first_version)(const CustomOp *);
  int (*last_version)(const CustomOp *);
  size_t (*may_inplace)(int **, int **);
  void (*release_may_inplace)(int *, int *);
  size_t (*alias_map)(int **, int **);
  void (*release_alias_map)(int *, int *);
};

}  // namespace lossexport::onnxruntime

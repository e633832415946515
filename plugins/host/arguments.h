// The arguments of a call, checked against the declaration of its op.
#pragma once

#include "ops.h"

namespace lossexport {

// The reason that this thread gets for a failure: one line, or empty.
const char *message();
void forget();
__attribute__((format(printf, 2, 3))) int32_t fail(int32_t code, const char *format, ...);

// Those of a tensor without gaps, by its rank and shape.
void set_strides(lossexport_tensor *tensor);

class Arguments {
 public:
  explicit Arguments(const Kernel &kernel);

  // All give LOSSEXPORT_OK, or the code of what is wrong; then the message says what. Inputs and
  // attributes are taken first, in any order.
  int32_t take_inputs(const lossexport_tensor *inputs, int32_t count);
  int32_t take_attributes(const lossexport_attribute *attributes, int32_t count);
  int32_t check_outputs(const lossexport_tensor *outputs, int32_t count);

  // Type, rank and shape of the output at `place`, for who has yet to find the memory for it.
  int32_t describe_output(int place, lossexport_tensor *output);

  // Of the attributes in the order of the declaration, once they have been checked.
  const Value *values() const { return values_; }

 private:
  int32_t check_tensors(const Tensors &specs, int expected, int reduced, const char *kind,
                        const lossexport_tensor *tensors, int32_t count);
  int32_t check_tensor(const Tensor &spec, const lossexport_tensor &tensor, int rank);
  int32_t check_type(const Tensor &spec, const lossexport_tensor &tensor);
  int32_t check_shape(const Tensor &spec, const lossexport_tensor &tensor, int64_t *elements);
  int32_t take(const lossexport_attribute &given, int place);
  int32_t fit(int place);
  bool reduced() const;

  const Kernel &kernel_;
  const Attributes &specs_;
  int64_t sizes_[26];  // what the letters of the shapes mean, -1 where that is not known yet
  int32_t type_ = 0;   // of the tensors of type FLOAT
  Value values_[MOST_ATTRIBUTES] = {};
  bool given_[MOST_ATTRIBUTES] = {};
};

// Runs a kernel on arguments that have been checked, as `lossexport_run` does.
int32_t compute(const Kernel &kernel, const Arguments &given, const lossexport_tensor *inputs,
                const lossexport_tensor *outputs, int32_t threads);

}  // namespace lossexport

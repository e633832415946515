/* The C ABI of the CPU kernels: one entry point for every op.
 *
 *   lossexport_tensor boxes = {...}, scores = {...}, outputs[2] = {...};
 *   double attributes[] = {0.5, 0.0, 100, 1.0};
 *   if (lossexport_run("nms", attributes, 4, inputs, 2, outputs, 2, 0) != LOSSEXPORT_OK)
 *     fprintf(stderr, "%s\n", lossexport_message());
 *
 * Ops, their tensors and their attributes are those of the catalogue (`lossexport list`), in its
 * order; "ap_loss.grad" and the like give the value and the gradient. An attribute is a number; for
 * a choice it is the position among the choices. Every argument is checked before anything is
 * computed: a wrong one gives a code and a message and leaves the outputs unchanged.
 * It is safe to call this from several threads at a time. */
#ifndef LOSSEXPORT_H
#define LOSSEXPORT_H

#include <stdint.h>

#if defined(_WIN32)
#define LOSSEXPORT_API __declspec(dllexport)
#else
#define LOSSEXPORT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Rises with every change that a caller would notice. */
#define LOSSEXPORT_ABI 2

enum lossexport_type {
  LOSSEXPORT_FLOAT32 = 1,
  LOSSEXPORT_FLOAT16 = 2,
  LOSSEXPORT_BFLOAT16 = 3,
  LOSSEXPORT_INT64 = 4
};

enum lossexport_code {
  LOSSEXPORT_OK = 0,
  LOSSEXPORT_UNKNOWN_OP = 1,
  LOSSEXPORT_BAD_ARGUMENT = 2, /* a count, an attribute, a null pointer */
  LOSSEXPORT_BAD_TENSOR = 3,   /* type, rank, shape, strides, length, alignment */
  LOSSEXPORT_TOO_LARGE = 4,    /* 2^31 elements or more */
  LOSSEXPORT_NO_MEMORY = 5
};

/* A tensor in row-major order without gaps. `bytes` is the size of the memory at `data`, which may
 * be null if the tensor has no elements. Strides count elements; those of a dimension of size 0 or
 * 1 may have any value. */
typedef struct lossexport_tensor {
  void *data;
  uint64_t bytes;
  int32_t type;
  int32_t rank;
  int64_t shape[2];
  int64_t strides[2];
} lossexport_tensor;

LOSSEXPORT_API int32_t lossexport_abi(void);

/* "x86-64-v4", "x86-64-v3", "x86-64", "aarch64" or "generic": what this machine runs. On x86-64 the
 * environment variable LOSSEXPORT_LEVEL may name a lower one. All give the same bits, except for
 * the last bits of sums over many elements, whose order differs. */
LOSSEXPORT_API const char *lossexport_level(void);

/* Name of the op at `index`, null beyond the last. */
LOSSEXPORT_API const char *lossexport_op(int32_t index);

/* Computes on at most `threads` threads; 0 or less: as many as the process may run on. Their number
 * changes no bit. */
LOSSEXPORT_API int32_t lossexport_run(const char *op, const double *attributes,
                                      int32_t attribute_count, const lossexport_tensor *inputs,
                                      int32_t input_count, const lossexport_tensor *outputs,
                                      int32_t output_count, int32_t threads);

/* Why the last call of this thread failed: one line, empty after a success. */
LOSSEXPORT_API const char *lossexport_message(void);

#ifdef __cplusplus
}
#endif

#endif

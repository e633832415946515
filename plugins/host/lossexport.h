/* The C ABI of the CPU kernels: one entry point for every op.
 *
 *   lossexport_tensor inputs[2] = {...}, outputs[2] = {...};
 *   lossexport_attribute attributes[] = {{"iou_threshold", 0.6}, {"max_output", 300}};
 *   if (lossexport_run("nms", attributes, 2, inputs, 2, outputs, 2, 0) != LOSSEXPORT_OK)
 *     fprintf(stderr, "%s\n", lossexport_message());
 *
 * Ops, tensors and attributes are those of the catalogue (`lossexport list`), tensors in its order.
 * "OP.grad" gives the value and the gradient of an op that has one. All arguments are checked before
 * anything is computed: a wrong one gives a code and a message and leaves the outputs unchanged.
 * Several threads may call at a time. */
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
#define LOSSEXPORT_ABI 3

enum lossexport_type {
  LOSSEXPORT_FLOAT32 = 1,
  LOSSEXPORT_FLOAT16 = 2,
  LOSSEXPORT_BFLOAT16 = 3,
  LOSSEXPORT_INT64 = 4,
  LOSSEXPORT_BOOL = 5 /* a byte, 0 if false */
};

enum lossexport_code {
  LOSSEXPORT_OK = 0,
  LOSSEXPORT_UNKNOWN_OP = 1,
  LOSSEXPORT_BAD_ARGUMENT = 2, /* a count, an attribute, a null pointer */
  LOSSEXPORT_BAD_TENSOR = 3,   /* type, rank, shape, strides, length, alignment */
  LOSSEXPORT_TOO_LARGE = 4,    /* 2^31 elements or more */
  LOSSEXPORT_NO_MEMORY = 5
};

#define LOSSEXPORT_MOST_AXES 3

/* A tensor in row-major order without gaps. `bytes` is the size of the memory at `data`, which may
 * be null if the tensor has no elements. Strides count elements; those of a dimension of size 0 or
 * 1 may have any value. */
typedef struct lossexport_tensor {
  void *data;
  uint64_t bytes;
  int32_t type;
  int32_t rank;
  int64_t shape[LOSSEXPORT_MOST_AXES];
  int64_t strides[LOSSEXPORT_MOST_AXES];
} lossexport_tensor;

/* One attribute of a call. Without a name it is the attribute at its place in the catalogue's
 * order. An attribute that a call leaves out has its default, or is the size that the tensors have
 * ("max_output", "bins"). */
typedef struct lossexport_attribute {
  const char *name;   /* or null */
  double number;      /* of a choice its place among the choices, unless `text` names it */
  const char *text;   /* a choice by its name, or null */
  const double *list; /* of an attribute that may be a list its numbers, or null */
  int64_t count;      /* how many numbers there are in `list` */
} lossexport_attribute;

LOSSEXPORT_API int32_t lossexport_abi(void);

/* "x86-64-v4", "x86-64-v3", "x86-64", "aarch64" or "generic": what this machine runs. On x86-64 the
 * environment variable LOSSEXPORT_LEVEL may name a lower one. All give the same bits, except for
 * the last bits of sums over many elements, whose order differs. */
LOSSEXPORT_API const char *lossexport_level(void);

/* Name of the op at `index`, null beyond the last. */
LOSSEXPORT_API const char *lossexport_op(int32_t index);

/* Computes on at most `threads` threads; 0 or less: as many as the process may run on. Their number
 * changes no bit. */
LOSSEXPORT_API int32_t lossexport_run(const char *op, const lossexport_attribute *attributes,
                                      int32_t attribute_count, const lossexport_tensor *inputs,
                                      int32_t input_count, const lossexport_tensor *outputs,
                                      int32_t output_count, int32_t threads);

/* Calls work(context) on each of up to `threads` threads, one of them the caller's, and returns when
 * all are done. `flags` is 0. GOMP_parallel of an OpenMP runtime is such a function. */
typedef void (*lossexport_team)(void (*work)(void *context), void *context, unsigned threads,
                                unsigned flags);

/* The same on threads that the caller has already, in place of new ones. `team` may be null. */
LOSSEXPORT_API int32_t lossexport_run_on(lossexport_team team, const char *op,
                                         const lossexport_attribute *attributes,
                                         int32_t attribute_count, const lossexport_tensor *inputs,
                                         int32_t input_count, const lossexport_tensor *outputs,
                                         int32_t output_count, int32_t threads);

/* Writes to `column` [rows] the column of each row, or -1, in the assignment of `cost` [rows,columns]
 * that has the most pairs, and of those the least total cost; a cost that is NaN or infinite is that
 * of no pair. The rows, or the columns if they are fewer, join one by one in their order, each by
 * the cheapest chain of changes; of equal ones, by that to a free partner, then to the first one.
 * Time grows with the longer side times the square of the shorter one, memory with the sides. */
LOSSEXPORT_API int32_t lossexport_assign(const double *cost, int64_t rows, int64_t columns,
                                         int64_t *column);

/* Why the last call of this thread failed: one line, empty after a success. */
LOSSEXPORT_API const char *lossexport_message(void);

#ifdef __cplusplus
}
#endif

#endif

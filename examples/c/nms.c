/* Non-maximum suppression from C, and what happens to a call that is wrong. */
#include <inttypes.h>
#include <lossexport.h>
#include <stdio.h>

#define BOXES 4
#define MOST 3

static int run(const lossexport_attribute *attributes, int32_t count) {
  float boxes[BOXES][4] = {{0, 0, 10, 10}, {1, 1, 11, 11}, {20, 20, 30, 30}, {20, 20, 30, 31}};
  float scores[BOXES] = {0.9f, 0.8f, 0.3f, 0.6f};
  int64_t indices[MOST], kept;
  const lossexport_tensor inputs[] = {
      {boxes, sizeof boxes, LOSSEXPORT_FLOAT32, 2, {BOXES, 4}, {4, 1}},
      {scores, sizeof scores, LOSSEXPORT_FLOAT32, 1, {BOXES}, {1}},
  };
  const lossexport_tensor outputs[] = {
      {indices, sizeof indices, LOSSEXPORT_INT64, 1, {MOST}, {1}},
      {&kept, sizeof kept, LOSSEXPORT_INT64, 0, {0}, {0}},
  };
  int32_t code = lossexport_run("nms", attributes, count, inputs, 2, outputs, 2, 0);
  if (code != LOSSEXPORT_OK) {
    printf("code %" PRId32 ": %s\n", code, lossexport_message());
    return 1;
  }
  printf("kept %" PRId64 ":", kept);
  for (int64_t i = 0; i < kept; ++i) printf(" %" PRId64, indices[i]);
  printf("\n");
  return 0;
}

int main(void) {
  /* The loader has compared the ABI already. A program that opens the library itself, with dlopen,
   * has to do so before its first call. */
  if (lossexport_abi() != LOSSEXPORT_ABI) {
    fprintf(stderr, "ABI %d, compiled for %d\n", (int)lossexport_abi(), LOSSEXPORT_ABI);
    return 1;
  }
  const lossexport_attribute right[] = {{.name = "iou_threshold", .number = 0.6},
                                        {.name = "max_output", .number = MOST}};
  const lossexport_attribute swapped[] = {{.name = "max_output", .number = 0.6},
                                          {.name = "iou_threshold", .number = MOST}};
  const lossexport_attribute misspelt[] = {{.name = "iou_treshold", .number = 0.6}};
  int wrong = run(right, 2);
  wrong += !run(swapped, 2);
  wrong += !run(misspelt, 1);
  return wrong;
}

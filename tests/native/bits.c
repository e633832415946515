/* The bits of two ops on boxes that every processor draws alike, as a checksum per output. */
#include <inttypes.h>
#include <lossexport.h>
#include <stdio.h>

#define BOXES 4000
#define OTHERS 900

static float boxes[BOXES][4], scores[BOXES], matrix[BOXES][OTHERS];
static int64_t indices[BOXES], kept;

static float draw(void) {
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return (float)(state >> 8) / 16777216.0f;
}

static void show(const char *name, const void *data, uint64_t bytes) {
  uint64_t sum = 14695981039346656037u;
  for (uint64_t i = 0; i < bytes; ++i) sum = (sum ^ ((const uint8_t *)data)[i]) * 1099511628211u;
  printf("%s %016" PRIx64 "\n", name, sum);
}

static int run(const char *op, const lossexport_attribute *attribute, lossexport_tensor second,
               const lossexport_tensor *outputs, int32_t count) {
  const lossexport_tensor inputs[] = {
      {boxes, sizeof boxes, LOSSEXPORT_FLOAT32, 2, {BOXES, 4}, {4, 1}}, second};
  if (!lossexport_run(op, attribute, attribute != 0, inputs, 2, outputs, count, 4)) return 0;
  printf("%s\n", lossexport_message());
  return 1;
}

int main(void) {
  for (int i = 0; i < BOXES; ++i) {
    for (int k = 0; k < 2; ++k) boxes[i][k] = 400 * draw();
    for (int k = 2; k < 4; ++k) boxes[i][k] = boxes[i][k - 2] + 1 + 60 * draw();
    scores[i] = draw();
  }
  const lossexport_attribute threshold = {"iou_threshold", 0.6, 0, 0, 0};
  const lossexport_tensor found[] = {{indices, sizeof indices, LOSSEXPORT_INT64, 1, {BOXES}, {1}},
                                     {&kept, sizeof kept, LOSSEXPORT_INT64, 0, {0}, {0}}};
  const lossexport_tensor ciou = {matrix, sizeof matrix,   LOSSEXPORT_FLOAT32,
                                  2,      {BOXES, OTHERS}, {OTHERS, 1}};
  if (run("nms", &threshold,
          (lossexport_tensor){scores, sizeof scores, LOSSEXPORT_FLOAT32, 1, {BOXES}, {1}}, found,
          2) ||
      run("pairwise_ciou", 0,
          (lossexport_tensor){
              boxes, OTHERS * sizeof *boxes, LOSSEXPORT_FLOAT32, 2, {OTHERS, 4}, {4, 1}},
          &ciou, 1))
    return 1;
  printf("%s: %" PRId64 " of %d kept\n", lossexport_level(), kept, BOXES);
  show("nms", indices, sizeof indices);
  show("pairwise_ciou", matrix, sizeof matrix);
  return 0;
}

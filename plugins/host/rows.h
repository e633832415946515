/* The rows of COCO json as columns, for lossexport/runtime/rows.py alone: no part of the library's
 * interface. A function whose arguments change gets a new name. Codes and messages are those of
 * lossexport.h. */
#ifndef LOSSEXPORT_ROWS_H
#define LOSSEXPORT_ROWS_H

#include "lossexport.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Memory for `capacity` rows. `score` is null for annotations, and `id`, `area`, `crowd` and
 * `ignore` for detections. */
typedef struct lossexport_rows {
  int64_t capacity;
  double most_size;  /* largest size of a coordinate */
  double most_score; /* and of a score */
  int64_t *image;    /* [capacity] image_id */
  int64_t *category; /* [capacity] category_id */
  double *box;       /* [capacity,4] bbox */
  double *score;     /* [capacity] */
  int64_t *id;       /* [capacity] */
  double *area;      /* [capacity] width x height if it is not stated */
  uint8_t *crowd;    /* [capacity] iscrowd, 0 or 1 */
  uint8_t *ignore;   /* [capacity] whether the field `ignore` is set */
} lossexport_rows;

enum lossexport_rows_end {
  LOSSEXPORT_ROWS_CUT = 0,    /* the text ends before the next element does */
  LOSSEXPORT_ROWS_FULL = 1,   /* there is no room for a further row */
  LOSSEXPORT_ROWS_CLOSED = 2, /* the bracket that closes the array was taken */
  LOSSEXPORT_ROWS_ODD = 3     /* the next element is not a plain one: another reader decides */
};

/* Reads elements of a JSON array from `text` [length] on, which a NUL byte follows. `first`: no
 * element has been taken yet. Writes the number of `rows`, of bytes `used` with the comma or the
 * bracket after the last of them, and in `end` why it stopped.
 *
 * A plain element is an object of JSON (RFC 8259) that has every field, with whole ids of at most 18
 * digits and numbers in the range of a double, which are rounded correctly. The box and the score
 * are of at most the sizes above, and the width, height and area of an annotation not negative.
 * Other fields may hold anything. Keys and texts have no escapes. The encoding is not checked. */
LOSSEXPORT_API int32_t lossexport_take_rows(const char *text, int64_t length, int32_t first,
                                            const lossexport_rows *rows, int64_t *count,
                                            int64_t *used, int32_t *end);

/* Numbers the distinct `ids` [count] in the order of their first appearance. Writes the number of
 * each, and the `distinct` ones, for which there is room for `count`, and how many they are. */
LOSSEXPORT_API int32_t lossexport_number_ids(const int64_t *ids, int64_t count, int32_t *number,
                                             int64_t *distinct, int64_t *found);

#ifdef __cplusplus
}
#endif

#endif

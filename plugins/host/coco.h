/* The order of boxes and the counts of COCO's protocol, for lossexport/runtime/coco.py alone: no
 * part of the library's interface. A function whose arguments change gets a new name. Codes and
 * messages are those of lossexport.h. */
#ifndef LOSSEXPORT_COCO_H
#define LOSSEXPORT_COCO_H

#include "lossexport.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Orders boxes by category, image and, unless `score` is null, falling score; equal ones keep their
 * order. Writes to [count] the box at each place, its group, category * images + image, and, unless
 * `rank` is null, its place within the group. */
LOSSEXPORT_API int32_t lossexport_order(const int32_t *category, const int32_t *image,
                                        const double *score, int64_t count, int64_t categories,
                                        int64_t images, int64_t *row, int64_t *group,
                                        int64_t *rank);

/* How many of `count` boxes repeat an earlier one: those of equal group, x, y, width, height and
 * `value`, bit by bit. `row` and `group` are of an order, `box` [rows,4] and `value` [rows] of the
 * file. */
LOSSEXPORT_API int32_t lossexport_repeats(const int64_t *row, const int64_t *group, int64_t count,
                                          const double *box, const double *value, int64_t rows,
                                          int64_t *repeats);

/* Writes to `inside` [count] a bit for each of `areas` [area_count,2], at most 8, whose least and
 * largest area have the `size` [rows] of the box at each place between them. */
LOSSEXPORT_API int32_t lossexport_inside(const int64_t *row, int64_t count, const double *size,
                                         int64_t rows, const double *areas, int64_t area_count,
                                         uint8_t *inside);

typedef struct lossexport_survey {
  double most;    /* largest size of a coordinate */
  int64_t beyond; /* boxes that reach out of their image by more than a part of its side */
  int64_t turned; /* boxes whose third and fourth number are above the first and the second */
} lossexport_survey;

/* Looks at boxes [count,4] x, y, width, height. `sizes` [images,2] are width and height of the
 * images, NaN if unknown, or null; `spill` is the part of a side. */
LOSSEXPORT_API int32_t lossexport_look(const double *box, const int32_t *image, int64_t count,
                                       const double *sizes, int64_t images, double spill,
                                       lossexport_survey *found);

/* Of predictions in order: by rising category, then image, then falling score. `place` names those
 * that may have a match, rising; a lane is area * thresholds + threshold. */
typedef struct lossexport_outcomes {
  const int32_t *category; /* [count] */
  const int64_t *rank;     /* [count] within the image and category */
  const double *score;     /* [count] */
  const uint8_t *inside;   /* [count] a bit for each area: false if nothing matches */
  int64_t count;
  const int32_t *place;  /* [placed] */
  const int8_t *outcome; /* [placed,lanes] 1: true, 2: ignored, 0: no match */
  int64_t placed;
  int64_t areas; /* at most 8 */
  int64_t thresholds;
  int64_t categories;
} lossexport_outcomes;

/* Writes to `hits` [limits,lanes,categories] how many predictions of a rank below each of `most`
 * [limits] are true. */
LOSSEXPORT_API int32_t lossexport_hits(const lossexport_outcomes *given, const int64_t *most,
                                       int64_t limits, int64_t *hits);

/* Writes the precision of predictions of a rank below `most` at each of `recalls` [recall_count] to
 * `precision` [areas,thresholds,recall_count,columns], where `positives` [areas,categories] is not
 * 0. `column` [categories]: where a category is written to, or -1. */
LOSSEXPORT_API int32_t lossexport_precision(const lossexport_outcomes *given,
                                            const int64_t *positives, const double *recalls,
                                            int64_t recall_count, int64_t most,
                                            const int64_t *column, int64_t columns,
                                            double *precision);

/* Predictions in the order of their file, and the overlaps of the matches by rising row. */
typedef struct lossexport_outcome_rows {
  const int32_t *category; /* [count] */
  const double *score;     /* [count] */
  const int8_t *status;    /* [count] 0: unmatched, 1: matched, 2: does not count */
  const float *iou;        /* [matches] */
  int64_t count;
  int64_t matches;
  int64_t categories;
} lossexport_outcome_rows;

/* Memory for the predictions that count, by falling score, all as one and each category by itself.
 * Of equal scores the overlaps rise. */
typedef struct lossexport_ranking {
  int64_t capacity; /* how many predictions count */
  double *score;    /* [capacity] */
  int64_t *hit;     /* [matches] the places of the matches, rising */
  int64_t *end;     /* [matches] the place after the last prediction of the score of each */
  double *iou;      /* [matches] */
  int64_t *first;   /* [categories+1] where each category begins */
  double *score_each;
  int64_t *hit_each;
  int64_t *end_each;
  double *iou_each;
} lossexport_ranking;

LOSSEXPORT_API int32_t lossexport_rank(const lossexport_outcome_rows *given,
                                       const lossexport_ranking *out);

#ifdef __cplusplus
}
#endif

#endif

/* The counts of COCO's protocol with a weight for each image, for lossexport/runtime/weighted.py
 * alone: no part of the library's interface. A function whose arguments change gets a new name.
 * Codes and messages are those of lossexport.h. */
#ifndef LOSSEXPORT_WEIGHTED_H
#define LOSSEXPORT_WEIGHTED_H

#include "lossexport.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Weights of draws: how often each image is there. */
typedef struct lossexport_weights {
  const int32_t *weight; /* [draws,images], 0 or more */
  int64_t draws;
  int64_t images;
  int32_t threads; /* 0: as many as the process may */
} lossexport_weights;

/* Predictions of COCO's protocol by category, then falling score, then image, and the references
 * that count in some range of areas. There are four ranges and ten thresholds; a lane is
 * area * 10 + threshold. */
typedef struct lossexport_ranked {
  const int64_t *first;  /* [categories+1] where those of each category begin */
  const int32_t *image;  /* [count] */
  const uint8_t *inside; /* [count] a bit for each area: false if nothing matches */
  const uint8_t *early;  /* [count] bits: 1 if of a rank below 1, 2 if of a rank below 10 */
  const uint8_t *tied;   /* [count] 1: of the image and score of the one before it */
  const int32_t *row;    /* [count] of its outcomes, or -1 */
  int64_t count;
  const int8_t *outcome; /* [placed,lanes] 1: true, 2: ignored, 0: no match */
  int64_t placed;
  const int64_t *ref_first;   /* [categories+1] */
  const int32_t *ref_image;   /* [references] */
  const uint8_t *ref_counted; /* [references] a bit for each area */
  int64_t references;
  int64_t categories;
} lossexport_ranked;

/* Writes COCO's twelve numbers of each category to `numbers` [draws,categories,12], NaN if no
 * reference counts: precision over all thresholds, at the first and the sixth, over all of each
 * other area; recall with ranks below 1, below 10, of all, of all in each other area. They are
 * those of images that are there as often as their weight, copies of one next to each other.
 * `recalls` [recall_count] rise. */
LOSSEXPORT_API int32_t lossexport_weighted_coco(const lossexport_ranked *given,
                                                const lossexport_weights *weights,
                                                const double *recalls, int64_t recall_count,
                                                double *numbers);

/* Of predictions by falling score that are right or wrong, `last` where a score ends. Writes to
 * `best` [draws,4] the score to cut at for the highest F1, and precision, recall and F1 there, NaN
 * without a right one. `missed` [missed_count] are the images of references without a match. */
LOSSEXPORT_API int32_t lossexport_weighted_best(const lossexport_weights *weights,
                                                const double *score, const int32_t *image,
                                                const uint8_t *right, const uint8_t *last,
                                                int64_t count, const int32_t *missed,
                                                int64_t missed_count, double *best);

#ifdef __cplusplus
}
#endif

#endif

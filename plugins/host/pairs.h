/* The matching of two sets of boxes, for lossexport/runtime/pairs.py alone: no part of the
 * library's interface. A function whose arguments change gets a new name.
 *
 * A place is that of a box in the order of its set: by rising group, which is one image and
 * category. Codes and messages are those of lossexport.h. */
#ifndef LOSSEXPORT_PAIRS_H
#define LOSSEXPORT_PAIRS_H

#include "lossexport.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lossexport_boxes {
  const double *box; /* [rows,4] x, y, width, height, finite; oriented: [rows,11], oriented.h */
  int64_t rows;
  const int64_t *row;   /* [count] of the box at each place */
  const int64_t *group; /* [count] rising */
  int64_t count;
} lossexport_boxes;

/* How references are to be taken; `crowd` and `ignored` by place. A lane is an area and a
 * threshold: area * threshold_count + threshold. */
typedef struct lossexport_rules {
  const uint8_t *crowd;     /* [refs] 1: never used up; its overlap is the part of the box inside */
  const uint8_t *ignored;   /* [refs,areas] 1: taken only where no other is free */
  const double *thresholds; /* [threshold_count] */
  int64_t areas;
  int64_t threshold_count;
} lossexport_rules;

/* Writes the pairs of one group that overlap by `threshold` (> 0) or more, by prediction, then
 * reference: their places and the overlap. Begins with the prediction at `*next` and stops before
 * one whose pairs would exceed `capacity`, which `*next` then names. */
LOSSEXPORT_API int32_t lossexport_find_pairs(const lossexport_boxes *pred,
                                             const lossexport_boxes *ref, const uint8_t *crowd,
                                             double threshold, int64_t capacity,
                                             int32_t *pred_place, int32_t *ref_place, double *iou,
                                             int64_t *found, int64_t *next);

/* The same for oriented boxes. */
LOSSEXPORT_API int32_t lossexport_find_oriented_pairs(const lossexport_boxes *pred,
                                                      const lossexport_boxes *ref,
                                                      const uint8_t *crowd, double threshold,
                                                      int64_t capacity, int32_t *pred_place,
                                                      int32_t *ref_place, double *iou,
                                                      int64_t *found, int64_t *next);

/* Gives each prediction, in the order of the pairs, the free reference of highest overlap, of equal
 * ones the last. The pairs are by rising prediction, and their references are in [low, low + refs).
 * Writes the index of the pair, or -1, to `winner` [predictions,lanes]: a row for each prediction
 * that has a pair, of which there are `predictions`. `rules` are those of the references from `low`
 * on. */
LOSSEXPORT_API int32_t lossexport_assign_pairs(const int32_t *pred, const int32_t *ref,
                                               const double *iou, int64_t count, int64_t low,
                                               int64_t refs, const lossexport_rules *rules,
                                               int64_t predictions, int64_t *winner);

/* The same, but writes what the reference is: its number in `kind` [refs,areas], and 0 without. */
LOSSEXPORT_API int32_t lossexport_pair_outcomes(const int32_t *pred, const int32_t *ref,
                                                const double *iou, int64_t count, int64_t low,
                                                int64_t refs, const lossexport_rules *rules,
                                                const int8_t *kind, int64_t predictions,
                                                int8_t *outcome);

/* As assign_pairs, for whole sets without a list of pairs: writes the place of the reference, or -1, to
 * `winner` [predictions,lanes]. `least` (> 0): the smallest overlap of a pair. */
LOSSEXPORT_API int32_t lossexport_assign_boxes(const lossexport_boxes *pred,
                                               const lossexport_boxes *ref,
                                               const lossexport_rules *rules, double least,
                                               int32_t *winner);

/* The same for oriented boxes. */
LOSSEXPORT_API int32_t lossexport_assign_oriented_boxes(const lossexport_boxes *pred,
                                                        const lossexport_boxes *ref,
                                                        const lossexport_rules *rules, double least,
                                                        int32_t *winner);

#ifdef __cplusplus
}
#endif

#endif

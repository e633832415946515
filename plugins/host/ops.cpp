// The list of the ops: tensors and attributes as the catalogue declares them, and the loop.
// Compiled once for each level of the processor: every level has a list with its own loops.
#include "ops.h"

#include <iterator>

#include "loops_boxes.h"
#include "loops_losses.h"
#include "loops_picks.h"

namespace lossexport {
namespace LX_LEVEL {
namespace {

constexpr Attribute EPS = {"eps"};
constexpr Attribute MAX_OUTPUT = {.name = "max_output", .size = 'O'};
constexpr Attribute BINS = {.name = "bins", .size = 'B', .least = 1, .most = MAX_BINS};

constexpr Tensors CANDIDATES = {{"boxes", "N4"}, {"scores", "N"}};
constexpr Tensors PICKS = {{"indices", "O", INT64}, {"count", "", INT64}};

// A score of the boxes of each row, or of any two.
constexpr Op score_of(const char *name, Function &loop, Shape target, Shape score) {
  return {.name = name,
          .loop = loop,
          .inputs = {{"pred", "N4"}, {"target", target}},
          .outputs = {{"score", score}},
          .attributes = {EPS}};
}

constexpr Op OPS[] = {
    score_of("box_iou", aligned<IOU>, "N4", "N"),
    score_of("box_giou", aligned<GIOU>, "N4", "N"),
    score_of("box_diou", aligned<DIOU>, "N4", "N"),
    score_of("box_ciou", aligned<CIOU>, "N4", "N"),
    score_of("pairwise_iou", pairwise<IOU>, "M4", "NM"),
    score_of("pairwise_giou", pairwise<GIOU>, "M4", "NM"),
    score_of("pairwise_diou", pairwise<DIOU>, "M4", "NM"),
    score_of("pairwise_ciou", pairwise<CIOU>, "M4", "NM"),
    {.name = "best_match",
     .loop = best_match,
     .inputs = {{"pred", "N4"}, {"target", "M4"}},
     .outputs = {{"pred_score", "N"},
                 {"pred_index", "N", INT64},
                 {"target_score", "M"},
                 {"target_index", "M", INT64}},
     .attributes = {{.name = "metric", .choices = std::size(MATCH_BY)}, EPS}},
    {.name = "localization_confidence",
     .loop = confidence,
     .inputs = {{"boxes", "N4"}, {"log_variance", "N4"}},
     .outputs = {{"quality", "N"}}},
    {.name = "nms",
     .loop = nms<IOU>,
     .inputs = CANDIDATES,
     .outputs = PICKS,
     .attributes = {{"iou_threshold"}, {"score_threshold"}, MAX_OUTPUT, {"beta"}}},
    {.name = "diou_nms",
     .loop = nms<DIOU>,
     .inputs = CANDIDATES,
     .outputs = PICKS,
     .attributes = {{"iou_threshold"}, {"score_threshold"}, MAX_OUTPUT, {"beta"}}},
    {.name = "cluster_nms",
     .loop = cluster_nms,
     .inputs = CANDIDATES,
     .outputs = PICKS,
     .attributes = {{"iou_threshold"},
                    {"score_threshold"},
                    MAX_OUTPUT,
                    {"beta"},
                    {.name = "metric", .choices = 2}}},
    {.name = "soft_nms",
     .loop = soft_nms,
     .inputs = CANDIDATES,
     .outputs = {{"indices", "O", INT64}, {"new_scores", "O"}, {"count", "", INT64}},
     .attributes = {{"sigma"}, {"score_threshold"}, MAX_OUTPUT}},
    {.name = "variance_voting",
     .loop = variance_voting,
     .inputs = {{"boxes", "N4"}, {"scores", "N"}, {"log_variance", "N4"}},
     .outputs =
         {{"indices", "O", INT64}, {"new_boxes", "O4"}, {"new_scores", "O"}, {"count", "", INT64}},
     .attributes = {{.name = "method", .choices = 2},
                    {"sigma_t"},
                    {"soft_sigma"},
                    {"iou_threshold"},
                    {"vote_threshold"},
                    {"score_threshold"},
                    {"offset"},
                    MAX_OUTPUT}},
    {.name = "ap_loss",
     .loop = ap_loss,
     .inputs = {{"logits", "K"}, {"target", "K", INT64}},
     .outputs = {{"loss", ""}, {"grad_logits", "K"}},
     .gradients = 1,
     .attributes = {{"delta"}, {"max_positives"}}},
    {.name = "ghm_c_loss",
     .loop = ghm_loss<true>,
     .inputs = {{"logits", "NC"}, {"target", "NC"}, {"weight", "NC"}, {"bin_count", "B", FLOAT32}},
     .outputs = {{"loss", ""}, {"new_bin_count", "B", FLOAT32}, {"grad_logits", "NC"}},
     .gradients = 1,
     .attributes = {BINS, {"momentum"}}},
    {.name = "ghm_r_loss",
     .loop = ghm_loss<false>,
     .inputs = {{"pred", "N4"}, {"target", "N4"}, {"weight", "N4"}, {"bin_count", "B", FLOAT32}},
     .outputs = {{"loss", ""}, {"new_bin_count", "B", FLOAT32}, {"grad_pred", "N4"}},
     .gradients = 1,
     .attributes = {BINS, {"momentum"}, {"mu"}}},
};

constexpr auto NAMED = kernels_of(OPS);

}  // namespace

constexpr Kernels KERNELS = {NAMED.items, NAMED.count};

}  // namespace LX_LEVEL
}  // namespace lossexport

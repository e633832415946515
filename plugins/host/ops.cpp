// The list of the ops: tensors and attributes as the catalogue declares them, and the loop.
// Compiled once for each level of the processor: every level has a list with its own loops.
#include "ops.h"

#include "loops_align.h"
#include "loops_batched.h"
#include "loops_box_losses.h"
#include "loops_boxes.h"
#include "loops_classes.h"
#include "loops_costs.h"
#include "loops_deltas.h"
#include "loops_distributions.h"
#include "loops_focal.h"
#include "loops_fusion.h"
#include "loops_losses.h"
#include "loops_matrix.h"
#include "loops_nms.h"
#include "loops_picks.h"
#include "loops_quality.h"
#include "loops_regression.h"
#include "loops_reliability.h"
#include "loops_rotated.h"
#include "ops_detection.h"

namespace lossexport {
namespace LX_LEVEL {
namespace {

constexpr Attribute EPS = {"eps", 1e-7};
constexpr Attribute CONSTANT = {"constant", 12.8};
constexpr Attribute IOU_THRESHOLD = {"iou_threshold", 0.5};
constexpr Attribute BETA = {"beta", 1};
constexpr Attribute MAX_OUTPUT = {.name = "max_output", .value = 100, .whole = true, .size = 'O'};
constexpr Attribute BINS = {
    .name = "bins", .value = 10, .whole = true, .size = 'B', .least = 1, .most = MAX_BINS};

constexpr Tensors LABELLED = {{"logits", "NC"}, {"labels", "N", INT64}};
constexpr Attribute WEIGHTS = {.name = "weights", .value = 1, .list = "4"};

constexpr Tensors CANDIDATES = {{"boxes", "N4"}, {"scores", "N"}};
constexpr Tensors PICKS = {{"indices", "O", INT64}, {"count", "", INT64}};

// A score of the boxes of each row, or of any two.
constexpr Op score_of(const char *name, const char *node, Function &loop, Shape target, Shape score,
                      Attribute number = EPS) {
  return {.name = name,
          .node = node,
          .loop = loop,
          .inputs = {{"pred", "N4"}, {"target", target}},
          .outputs = {{"score", score}},
          .attributes = {number}};
}

// A loss of the boxes of each row.
constexpr Op loss_of(const char *name, const char *node, Function &loop, Attribute number = EPS) {
  return {.name = name,
          .node = node,
          .loop = loop,
          .inputs = {{"pred", "N4"}, {"target", "N4"}},
          .outputs = {{"loss", "N"}, {"grad_pred", "N4"}},
          .gradients = 1,
          .attributes = {number, REDUCTION}};
}

// A loss of each logit and the quality that it should have, `MATCHED` or for all elements.
constexpr Tensors TARGETED = {{"logits", "NC"}, {"target", "NC"}};
constexpr Tensors MATCHED = {{"logits", "NC"}, {"quality", "NC"}, {"matched", "NC", BOOL}};

constexpr Op quality_loss(const char *name, const char *node, Function &loop, Tensors inputs,
                          Attributes attributes) {
  return {.name = name,
          .node = node,
          .loop = loop,
          .inputs = inputs,
          .outputs = {{"loss", "NC"}, {"grad_logits", "NC"}},
          .gradients = 1,
          .attributes = attributes};
}

constexpr Attributes OF_PROBIOU = {EPS, {"floor"}};
constexpr Attribute POST = {.name = "post", .choices = {"log1p", "sqrt", "none"}};
constexpr Attribute TAU = {"tau", 1};

// The same of rotated boxes.
constexpr Op rotated_score_op(const char *name, const char *node, Function &loop, Shape target,
                              Shape score, Attributes attributes) {
  return {.name = name,
          .node = node,
          .loop = loop,
          .inputs = {{"pred", "N5"}, {"target", target}},
          .outputs = {{"score", score}},
          .attributes = attributes};
}

constexpr Op rotated_loss_op(const char *name, const char *node, Function &loop,
                             Attributes attributes) {
  return {.name = name,
          .node = node,
          .loop = loop,
          .inputs = {{"pred", "N5"}, {"target", "N5"}},
          .outputs = {{"loss", "N"}, {"grad_pred", "N5"}},
          .gradients = 1,
          .attributes = attributes};
}

constexpr Op OPS[] = {
    score_of("box_iou", "BoxIoU", aligned<IOU>, "N4", "N"),
    score_of("box_giou", "BoxGIoU", aligned<GIOU>, "N4", "N"),
    score_of("box_diou", "BoxDIoU", aligned<DIOU>, "N4", "N"),
    score_of("box_ciou", "BoxCIoU", aligned<CIOU>, "N4", "N"),
    score_of("box_eiou", "BoxEIoU", aligned<EIOU>, "N4", "N"),
    score_of("box_siou", "BoxSIoU", aligned<SIOU>, "N4", "N"),
    score_of("box_nwd", "BoxNWD", aligned<NWD>, "N4", "N", CONSTANT),
    score_of("pairwise_iou", "PairwiseIoU", pairwise<IOU>, "M4", "NM"),
    score_of("pairwise_giou", "PairwiseGIoU", pairwise<GIOU>, "M4", "NM"),
    score_of("pairwise_diou", "PairwiseDIoU", pairwise<DIOU>, "M4", "NM"),
    score_of("pairwise_ciou", "PairwiseCIoU", pairwise<CIOU>, "M4", "NM"),
    score_of("pairwise_eiou", "PairwiseEIoU", pairwise<EIOU>, "M4", "NM"),
    score_of("pairwise_siou", "PairwiseSIoU", pairwise<SIOU>, "M4", "NM"),
    score_of("pairwise_nwd", "PairwiseNWD", pairwise<NWD>, "M4", "NM", CONSTANT),
    loss_of("iou_loss", "IoULoss", box_loss<IOU>),
    loss_of("giou_loss", "GIoULoss", box_loss<GIOU>),
    loss_of("diou_loss", "DIoULoss", box_loss<DIOU>),
    loss_of("ciou_loss", "CIoULoss", box_loss<CIOU>),
    loss_of("eiou_loss", "EIoULoss", box_loss<EIOU>),
    loss_of("siou_loss", "SIoULoss", box_loss<SIOU>),
    loss_of("nwd_loss", "NWDLoss", box_loss<NWD>, CONSTANT),
    rotated_score_op("box_probiou", "BoxProbIoU", rotated_aligned<PROBIOU>, "N5", "N", OF_PROBIOU),
    rotated_score_op("pairwise_probiou", "PairwiseProbIoU", rotated_pairwise<PROBIOU>, "M5", "NM",
                     OF_PROBIOU),
    rotated_loss_op("probiou_loss", "ProbIoULoss", rotated_loss_of<PROBIOU>,
                    {EPS, {"floor", 0.01}, REDUCTION}),
    rotated_score_op("box_rotated_iou", "BoxRotatedIoU", rotated_aligned<ROTATED_IOU>, "N5", "N",
                     {}),
    rotated_score_op("pairwise_rotated_iou", "PairwiseRotatedIoU", rotated_pairwise<ROTATED_IOU>,
                     "M5", "NM", {}),
    rotated_loss_op("rotated_iou_loss", "RotatedIoULoss", rotated_loss_of<ROTATED_IOU>,
                    {REDUCTION}),
    rotated_loss_op("kld_loss", "KLDLoss", rotated_loss_of<KLD>,
                    {{.name = "direction", .choices = {"kld", "jd", "symmax", "symmin"}},
                     {"sqrt", 1},
                     POST,
                     TAU,
                     REDUCTION}),
    rotated_loss_op("gwd_loss", "GWDLoss", rotated_loss_of<GWD>,
                    {{"normalize", 1}, POST, TAU, REDUCTION}),
    rotated_loss_op("kfiou_loss", "KFIoULoss", rotated_loss_of<KFIOU>,
                    {{.name = "form", .choices = {"linear", "ln", "exp"}}, REDUCTION}),
    {.name = "best_match",
     .node = "BestMatch",
     .loop = best_match,
     .inputs = {{"pred", "N4"}, {"target", "M4"}},
     .outputs = {{"pred_score", "N"},
                 {"pred_index", "N", INT64},
                 {"target_score", "M"},
                 {"target_index", "M", INT64}},
     .attributes = {{.name = "metric", .choices = {"iou", "giou", "diou", "ciou"}}, EPS}},
    {.name = "detr_cost",
     .node = "DETRCost",
     .loop = detr_cost,
     .inputs = {{"logits", "NC"}, {"boxes", "N4"}, {"labels", "M", INT64}, {"targets", "M4"}},
     .outputs = {{"cost", "NM"}},
     .attributes = {{.name = "kind", .choices = {"focal", "softmax"}},
                    {"class_weight", 2},
                    {"box_weight", 5},
                    {"giou_weight", 2},
                    {"alpha", 0.25},
                    {"gamma", 2},
                    {"eps", 1e-8}}},
    {.name = "task_aligned_assign",
     .node = "TaskAlignedAssign",
     .loop = task_aligned_assign,
     .inputs = {{"scores", "AC"},
                {"boxes", "A4"},
                {"points", "A2"},
                {"labels", "T", INT64},
                {"targets", "T4"},
                {"valid", "T", BOOL}},
     .outputs = {{"assigned", "A", INT64}, {"target_scores", "AC"}},
     .attributes = {{"alpha", 0.5},
                    {"beta", 6},
                    {.name = "topk", .value = 10, .whole = true},
                    {"small_side", 16}}},
    {.name = "smooth_l1_loss",
     .node = "SmoothL1Loss",
     .loop = smooth_l1_loss,
     .inputs = {{"pred", "ND"}, {"target", "ND"}},
     .outputs = {{"loss", "ND"}, {"grad_pred", "ND"}},
     .gradients = 1,
     .attributes = {{"beta", 1}, REDUCTION}},
    {.name = "kl_loss",
     .node = "KLLoss",
     .loop = kl_loss,
     .inputs = {{"pred", "N4"}, {"log_variance", "N4"}, {"target", "N4"}},
     .outputs = {{"loss", "N4"}, {"grad_pred", "N4"}, {"grad_log_variance", "N4"}},
     .gradients = 2,
     .attributes = {REDUCTION}},
    {.name = "sigmoid_focal_loss",
     .node = "SigmoidFocalLoss",
     .loop = sigmoid_focal_loss,
     .inputs = {{"logits", "NC"}, {"target", "NC"}},
     .outputs = {{"loss", "NC"}, {"grad_logits", "NC"}},
     .gradients = 1,
     .attributes = {{"alpha", 0.25}, {"gamma", 2}, REDUCTION}},
    {.name = "softmax_focal_loss",
     .node = "SoftmaxFocalLoss",
     .loop = softmax_focal_loss,
     .inputs = LABELLED,
     .outputs = {{"loss", "N"}, {"grad_logits", "NC"}},
     .gradients = 1,
     .attributes = {{.name = "alpha", .value = 0.25, .list = "C"}, {"gamma", 2}, REDUCTION}},
    {.name = "distribution_focal_loss",
     .node = "DistributionFocalLoss",
     .loop = distribution_focal_loss,
     .inputs = {{"logits", "NK"}, {"target", "N"}},
     .outputs = {{"loss", "N"}, {"grad_logits", "NK"}},
     .gradients = 1,
     .attributes = {{"margin", 0.01}, REDUCTION}},
    quality_loss("quality_focal_loss", "QualityFocalLoss", quality_loss_of<QUALITY_FOCAL>, TARGETED,
                 {{"beta", 2}, REDUCTION}),
    quality_loss("varifocal_loss", "VarifocalLoss", quality_loss_of<VARIFOCAL>, TARGETED,
                 {{"alpha", 0.75}, {"gamma", 2}, {"iou_weighted", 1}, REDUCTION}),
    quality_loss("matched_varifocal_loss", "MatchedVarifocalLoss",
                 quality_loss_of<MATCHED_VARIFOCAL>, MATCHED,
                 {{"alpha", 0.75}, {"gamma", 2}, REDUCTION}),
    quality_loss("matchability_aware_loss", "MatchabilityAwareLoss",
                 quality_loss_of<MATCHABILITY_AWARE>, MATCHED,
                 {{"gamma", 1.5}, {"alpha", 1}, REDUCTION}),
    quality_loss("iou_aware_bce_loss", "IoUAwareBCELoss", quality_loss_of<IOU_AWARE>, MATCHED,
                 {{"alpha", 0.25}, REDUCTION}),
    {.name = "anchor_loss",
     .node = "AnchorLoss",
     .loop = anchor_loss,
     .inputs = LABELLED,
     .outputs = {{"loss", "N"}, {"grad_logits", "NC"}},
     .gradients = 1,
     .attributes = {{"gamma", 0.5},
                    {"slack", 0.05},
                    {.name = "anchor", .choices = {"neg", "pos"}},
                    REDUCTION}},
    {.name = "sce_loss",
     .node = "SCELoss",
     .loop = sce_loss,
     .inputs = LABELLED,
     .outputs = {{"loss", "N"}, {"grad_logits", "NC"}},
     .gradients = 1,
     .attributes =
         {{"alpha", 0.1}, {"beta", 1}, {"prob_floor", 1e-7}, {"label_floor", 1e-4}, REDUCTION}},
    {.name = "encode_boxes",
     .node = "EncodeBoxes",
     .loop = encode_boxes,
     .inputs = {{"boxes", "N4"}, {"anchors", "N4"}},
     .outputs = {{"deltas", "N4"}},
     .attributes = {WEIGHTS}},
    {.name = "decode_boxes",
     .node = "DecodeBoxes",
     .loop = decode_boxes,
     .inputs = {{"deltas", "N4"}, {"anchors", "N4"}},
     .outputs = {{"boxes", "N4"}, {"grad_deltas", "N4"}},
     .gradients = 1,
     .attributes = {WEIGHTS, {"clip", 4.135166556742356}}},
    {.name = "decode_distances",
     .node = "DecodeDistances",
     .loop = decode_distances,
     .inputs = {{"distribution", "N4B"}, {"points", "N2"}, {"stride", "N"}},
     .outputs = {{"boxes", "N4"}},
     .attributes =
         {{.name = "bins", .value = 16, .whole = true, .size = 'B', .least = 2, .most = 64}}},
    {.name = "localization_confidence",
     .node = "LocalizationConfidence",
     .loop = confidence,
     .inputs = {{"boxes", "N4"}, {"log_variance", "N4"}},
     .outputs = {{"quality", "N"}}},
    {.name = "nms",
     .node = "NMS",
     .loop = nms<IOU>,
     .inputs = CANDIDATES,
     .outputs = PICKS,
     .attributes = {IOU_THRESHOLD, {"score_threshold"}, MAX_OUTPUT, BETA}},
    {.name = "diou_nms",
     .node = "DIoUNMS",
     .loop = nms<DIOU>,
     .inputs = CANDIDATES,
     .outputs = PICKS,
     .attributes = {IOU_THRESHOLD, {"score_threshold"}, MAX_OUTPUT, BETA}},
    {.name = "rotated_nms",
     .node = "RotatedNMS",
     .loop = rotated_nms,
     .inputs = {{"boxes", "N5"}, {"scores", "N"}},
     .outputs = PICKS,
     .attributes = {IOU_THRESHOLD, {"score_threshold"}, MAX_OUTPUT, BETA}},
    {.name = "cluster_nms",
     .node = "ClusterNMS",
     .loop = cluster_nms,
     .inputs = CANDIDATES,
     .outputs = PICKS,
     .attributes = {IOU_THRESHOLD,
                    {"score_threshold"},
                    MAX_OUTPUT,
                    BETA,
                    {.name = "metric", .choices = {"iou", "diou"}}}},
    {.name = "soft_nms",
     .node = "SoftNMS",
     .loop = soft_nms,
     .inputs = CANDIDATES,
     .outputs = {{"indices", "O", INT64}, {"new_scores", "O"}, {"count", "", INT64}},
     .attributes = {{"sigma", 0.5}, {"score_threshold", 0.001}, MAX_OUTPUT}},
    {.name = "variance_voting",
     .node = "VarianceVoting",
     .loop = variance_voting,
     .inputs = {{"boxes", "N4"}, {"scores", "N"}, {"log_variance", "N4"}},
     .outputs =
         {{"indices", "O", INT64}, {"new_boxes", "O4"}, {"new_scores", "O"}, {"count", "", INT64}},
     .attributes = {{.name = "method", .choices = {"soft", "hard"}},
                    {"sigma_t", 0.02},
                    {"soft_sigma", 0.5},
                    IOU_THRESHOLD,
                    {"vote_threshold", 0.01},
                    {"score_threshold", 0.001},
                    {"offset"},
                    MAX_OUTPUT}},
    {.name = "batched_nms",
     .node = "BatchedNMS",
     .loop = batched_nms,
     .inputs = {{"boxes", "BN4"}, {"scores", "BNC"}},
     .outputs = {{"detections", "BO6"}, {"indices", "BO", INT64}, {"count", "B", INT64}},
     .attributes = {{"iou_threshold", 0.7},
                    {"score_threshold", 0.25},
                    {.name = "max_output", .value = 300, .whole = true, .size = 'O'},
                    {.name = "metric", .choices = {"iou", "diou"}},
                    {"class_aware", 1},
                    {"multi_label", 0},
                    {.name = "max_candidates", .value = 30000, .whole = true}}},
    {.name = "matrix_nms",
     .node = "MatrixNMS",
     .loop = matrix_nms,
     .inputs = {{"boxes", "N4"}, {"scores", "N"}, {"labels", "N", INT64}},
     .outputs = {{"indices", "O", INT64}, {"new_scores", "O"}, {"count", "", INT64}},
     .attributes = {{.name = "kernel", .choices = {"gaussian", "linear"}},
                    {"sigma", 2},
                    {"score_threshold", 0.001},
                    MAX_OUTPUT}},
    {.name = "weighted_boxes_fusion",
     .node = "WeightedBoxesFusion",
     .loop = weighted_boxes_fusion,
     .inputs = {{"boxes", "N4"}, {"scores", "N"}, {"labels", "N", INT64}, {"models", "N", INT64}},
     .outputs = {{"fused_boxes", "O4"},
                 {"fused_scores", "O"},
                 {"fused_labels", "O", INT64},
                 {"count", "", INT64}},
     .attributes = {{"iou_threshold", 0.55},
                    {"skip_threshold"},
                    {.name = "mode",
                     .choices = {"avg", "max", "box_and_model_avg", "absent_model_aware_avg"}},
                    {.name = "weights", .value = 1, .list = "W"},
                    {"allows_overflow"},
                    {.name = "max_output", .value = 300, .whole = true, .size = 'O'}}},
    YOLO_LOSS,
    RETINANET_LOSS,
    FCOS_LOSS,
    DETR_LOSS,
    {.name = "suppression_reliability",
     .node = "SuppressionReliability",
     .loop = suppression_reliability,
     .inputs = {{"boxes", "N4"}, {"scores", "N"}, {"indices", "K", INT64}},
     .outputs = {{"reliability", ""}, {"consistency", ""}},
     .attributes = {IOU_THRESHOLD, {"score_threshold", 0.05}, {"center", 0.4}}},
    {.name = "contrastive_confidence",
     .node = "ContrastiveConfidence",
     .loop = contrastive_confidence,
     .inputs = {{"scores", "NK"}},
     .outputs = {{"confidence", "N"}},
     .attributes = {{"score_threshold", 0.3}, {"weight", 5}}},
    {.name = "ap_loss",
     .node = "APLoss",
     .loop = ap_loss,
     .inputs = {{"logits", "K"}, {"target", "K", INT64}},
     .outputs = {{"loss", ""}, {"grad_logits", "K"}},
     .gradients = 1,
     .attributes = {{"delta", 1}, {.name = "max_positives", .value = 512, .whole = true}}},
    {.name = "dr_loss",
     .node = "DRLoss",
     .loop = dr_loss,
     .inputs = LABELLED,
     .outputs = {{"loss", ""}, {"grad_logits", "NC"}},
     .gradients = 1,
     .attributes = {{"pos_lambda", 1},
                    {"neg_lambda", 0.07982356001479281},
                    {"L", 6},
                    {"tau", 4},
                    {"margin", 0.5}}},
    {.name = "ghm_c_loss",
     .node = "GHMCLoss",
     .loop = ghm_loss<true>,
     .inputs = {{"logits", "NC"}, {"target", "NC"}, {"weight", "NC"}, {"bin_count", "B", FLOAT32}},
     .outputs = {{"loss", ""}, {"new_bin_count", "B", FLOAT32}, {"grad_logits", "NC"}},
     .gradients = 1,
     .attributes = {BINS, {"momentum"}}},
    {.name = "ghm_r_loss",
     .node = "GHMRLoss",
     .loop = ghm_loss<false>,
     .inputs = {{"pred", "N4"}, {"target", "N4"}, {"weight", "N4"}, {"bin_count", "B", FLOAT32}},
     .outputs = {{"loss", ""}, {"new_bin_count", "B", FLOAT32}, {"grad_pred", "N4"}},
     .gradients = 1,
     .attributes = {BINS, {"momentum"}, {"mu", 0.02}}},
};

constexpr auto NAMED = kernels_of(OPS);

}  // namespace

constexpr Kernels KERNELS = {NAMED.items, NAMED.count};

}  // namespace LX_LEVEL
}  // namespace lossexport

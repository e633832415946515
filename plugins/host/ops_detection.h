// The entries of the whole detection losses.
#pragma once

#include "loops_anchors.h"
#include "loops_detr.h"
#include "loops_yolo.h"
#include "ops.h"

namespace lossexport {
namespace LX_LEVEL {
namespace {

constexpr Op YOLO_LOSS = {.name = "yolo_detection_loss",
                          .node = "YOLODetectionLoss",
                          .loop = yolo_detection_loss,
                          .inputs = {{"box_logits", "BDA"},
                                     {"class_logits", "BCA"},
                                     {"points", "A2"},
                                     {"stride", "A"},
                                     {"labels", "BT", INT64},
                                     {"targets", "BT4"},
                                     {"valid", "BT", BOOL}},
                          .outputs = {{"loss", ""},
                                      {"parts", "3"},
                                      {"grad_box_logits", "BDA"},
                                      {"grad_class_logits", "BCA"}},
                          .gradients = 2,
                          .attributes = {{"box_gain", 7.5},
                                         {"class_gain", 0.5},
                                         {"dfl_gain", 1.5},
                                         {"alpha", 0.5},
                                         {"beta", 6},
                                         {.name = "topk", .value = 10, .whole = true},
                                         {"small_side", 16}}};

constexpr Op RETINANET_LOSS = {
    .name = "retinanet_loss",
    .node = "RetinaNetLoss",
    .loop = retinanet_loss,
    .inputs = {{"class_logits", "BAC"},
               {"deltas", "BA4"},
               {"anchors", "A4"},
               {"labels", "BT", INT64},
               {"targets", "BT4"},
               {"valid", "BT", BOOL}},
    .outputs = {{"loss", ""}, {"parts", "2"}, {"grad_class_logits", "BAC"}, {"grad_deltas", "BA4"}},
    .gradients = 2,
    .attributes = {{"fg_iou", 0.5},
                   {"bg_iou", 0.4},
                   {"rescue", 1},
                   {"alpha", 0.25},
                   {"gamma", 2},
                   {"beta", 0},
                   {"class_gain", 1},
                   {"box_gain", 1}}};

constexpr Op FCOS_LOSS = {.name = "fcos_loss",
                          .node = "FCOSLoss",
                          .loop = fcos_loss,
                          .inputs = {{"class_logits", "BAC"},
                                     {"distances", "BA4"},
                                     {"centre_logits", "BA"},
                                     {"points", "A2"},
                                     {"stride", "A"},
                                     {"labels", "BT", INT64},
                                     {"targets", "BT4"},
                                     {"valid", "BT", BOOL}},
                          .outputs = {{"loss", ""},
                                      {"parts", "3"},
                                      {"grad_class_logits", "BAC"},
                                      {"grad_distances", "BA4"},
                                      {"grad_centre_logits", "BA"}},
                          .gradients = 3,
                          .attributes = {{"radius", 1.5},
                                         {"alpha", 0.25},
                                         {"gamma", 2},
                                         {"eps", 1e-7},
                                         {"class_gain", 1},
                                         {"box_gain", 1},
                                         {"centre_gain", 1}}};

constexpr Op DETR_LOSS = {
    .name = "detr_detection_loss",
    .node = "DETRDetectionLoss",
    .loop = detr_detection_loss,
    .inputs = {{"logits", "BNC"},
               {"boxes", "BN4"},
               {"labels", "BT", INT64},
               {"targets", "BT4"},
               {"valid", "BT", BOOL},
               {"match", "BT", INT64}},
    .outputs = {{"loss", ""}, {"parts", "3"}, {"grad_logits", "BNC"}, {"grad_boxes", "BN4"}},
    .gradients = 2,
    .attributes = {{.name = "kind", .choices = {"focal", "softmax", "varifocal"}},
                   {"class_gain", 2},
                   {"box_gain", 5},
                   {"giou_gain", 2},
                   {"alpha", 0.25},
                   {"gamma", 2},
                   {"no_object", 0.1}}};

}  // namespace
}  // namespace LX_LEVEL
}  // namespace lossexport

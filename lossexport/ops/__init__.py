"""The ops, as pure torch functions: differentiable, exportable, one catalogue entry each."""

from lossexport.ops.classification import anchor_loss, sce_loss
from lossexport.ops.deltas import decode_boxes, encode_boxes
from lossexport.ops.distances import decode_distances
from lossexport.ops.focal import sigmoid_focal_loss, softmax_focal_loss
from lossexport.ops.ghm import ghm_c_loss, ghm_r_loss
from lossexport.ops.iou import (
    box_ciou,
    box_diou,
    box_giou,
    box_iou,
    ciou_loss,
    diou_loss,
    giou_loss,
    iou_loss,
    pairwise_ciou,
    pairwise_diou,
    pairwise_giou,
    pairwise_iou,
)
from lossexport.ops.localization import localization_confidence
from lossexport.ops.matching import best_match
from lossexport.ops.ranking import ap_loss, dr_loss
from lossexport.ops.regression import kl_loss, smooth_l1_loss
from lossexport.ops.suppression import cluster_nms, diou_nms, nms, soft_nms, variance_voting

__all__ = [
    "anchor_loss",
    "ap_loss",
    "best_match",
    "box_ciou",
    "box_diou",
    "box_giou",
    "box_iou",
    "ciou_loss",
    "cluster_nms",
    "decode_boxes",
    "decode_distances",
    "diou_loss",
    "diou_nms",
    "dr_loss",
    "encode_boxes",
    "ghm_c_loss",
    "ghm_r_loss",
    "giou_loss",
    "iou_loss",
    "kl_loss",
    "localization_confidence",
    "nms",
    "pairwise_ciou",
    "pairwise_diou",
    "pairwise_giou",
    "pairwise_iou",
    "sce_loss",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "soft_nms",
    "softmax_focal_loss",
    "variance_voting",
]

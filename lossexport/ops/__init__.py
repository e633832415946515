"""The ops, as pure torch functions: differentiable, exportable, one catalogue entry each."""

from lossexport.ops.deltas import decode_boxes, encode_boxes
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
from lossexport.ops.regression import smooth_l1_loss

__all__ = [
    "box_ciou",
    "box_diou",
    "box_giou",
    "box_iou",
    "ciou_loss",
    "decode_boxes",
    "diou_loss",
    "encode_boxes",
    "giou_loss",
    "iou_loss",
    "pairwise_ciou",
    "pairwise_diou",
    "pairwise_giou",
    "pairwise_iou",
    "smooth_l1_loss",
]

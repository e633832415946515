"""Best match: the first step of anchor assignment, tracking and comparing detectors."""

import torch
from torch import Tensor

from lossexport.families.iou.functions import score_matrix
from lossexport.names import Metric
from lossexport.ops.common import poison


def _best(matrix: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The highest score in each row and its index; `boxes` are those of the rows."""
    if matrix.shape[1] == 0:  # a graph has at least one partner
        places = torch.full((matrix.shape[0],), -1, dtype=torch.int64, device=matrix.device)
        return poison(boxes), places
    # A box that is not finite is nobody's partner.
    known = torch.where(torch.isnan(matrix), -torch.inf, matrix)
    most = known.amax(1)
    alone = most == -torch.inf
    scores = torch.where(alone, 0, most) + poison(boxes)
    return scores, torch.where(alone, -1, known.argmax(1))


def best_match(
    pred: Tensor, target: Tensor, metric: Metric = "iou", eps: float = 1e-7
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Best partners by `metric`: pred [N,4] and target [M,4] xyxy to scores and indices.

    Returns pred_score [N] and pred_index [N] (int64, into target), target_score [M] and
    target_index [M] (into pred). Of equally good partners, the one with the lowest index is
    taken; without a partner, the index is -1 and the score 0. A box with NaN or infinity has a
    score of NaN and index -1, and is nobody's partner.
    """
    matrix = score_matrix(metric, pred, target, eps)
    return (*_best(matrix, pred), *_best(matrix.mT, target))

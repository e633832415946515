"""Matrix NMS: every score is lowered once, by all better boxes of its class at the same time.

Source: Wang et al., SOLOv2, NeurIPS 2020 (arXiv 2003.10152), section 3.3, and its public code, on
the IoU of boxes in place of masks.
"""

import torch
from torch import Tensor

from lossexport.families.suppression.functions import Boxes, candidates, earlier, rivalry


def matrix_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    kernel: str = "gaussian",
    sigma: float = 2.0,
    score_threshold: float = 0.001,
    max_output: int = 100,
) -> tuple[Tensor, Tensor, Tensor]:
    """Matrix NMS: boxes [N,4] xyxy, scores [N], labels [N] to indices, new scores and count [].

    With m_ij the IoU of a box and a better one i of its class, and c_i the largest IoU of i with a
    box better than itself, a score is multiplied by the least f(m_ij) / f(c_i), at most 1, where f
    is exp(-`sigma` m^2) or, with `kernel` "linear", 1 - m; there, boxes with c_i = 1 are left out.
    Returns the indices [max_output] of those whose new score is at least `score_threshold`, by
    falling new score and rising index, padded with -1, their new scores [max_output], padded with
    0, and their number.
    """
    table, live, places = candidates(boxes, scores, score_threshold)
    row = Boxes.of(table)
    column = Boxes(*(plane.mT for plane in row))
    label = torch.cat((labels, labels.new_full((1,), -1))).unsqueeze(0)
    rivals = earlier(live, places) & (label.mT == label) & (live.mT >= 0)
    overlap = torch.where(rivals, rivalry(column, row), 0)
    most = overlap.amax(0, keepdim=True).mT  # of a box with those better than itself
    if kernel == "linear":
        rest = 1 - most
        least = torch.finfo(rest.dtype).tiny
        decay = torch.where(rest > 0, (1 - overlap) / rest.clamp(min=least), 1)
    else:
        decay = torch.exp(-sigma * (overlap * overlap - most * most))
    decay = torch.where(rivals, decay, 1).clamp(max=1).amin(0, keepdim=True)
    faded = live * decay
    kept = faded >= score_threshold
    faded = torch.where(kept, faded, -1)
    rank = (earlier(faded, places) & kept.mT).to(torch.int64).sum(0, keepdim=True)
    slots = torch.arange(max_output, device=table.device).unsqueeze(1)
    here = (rank == slots) & kept
    indices = torch.where(here, places, -1).amax(1)
    return indices, torch.where(here, faded, 0).amax(1), (indices >= 0).sum()

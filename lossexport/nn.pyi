"""The ops as `torch.nn.Module`s for training code: `CIoULoss(reduction="mean")(pred, target)`.

Every class is derived from the catalogue. Its constructor takes the op's attributes by keyword, and
`forward` takes the op's inputs by position or by name.
"""

# Written by docs/generate.py from the catalogue: change it there.

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from lossexport.ops.module import CataloguedModule as CataloguedModule

class BoxIoU(CataloguedModule):
    """IoU of aligned boxes: pred[i] with target[i].

    Args:
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

    def __init__(self, *, eps: float = 1e-07) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N] float, [0, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class PairwiseIoU(CataloguedModule):
    """IoU of every prediction with every target.

    Args:
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

    def __init__(self, *, eps: float = 1e-07) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N,M] float, [0, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class IoULoss(CataloguedModule):
    """1 - IoU of aligned boxes, for training.

    Args:
        eps: added to every denominator (in [0, 1])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        eps: float = 1e-07,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            loss: [N] float, [0, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class BoxGIoU(CataloguedModule):
    """GIoU of aligned boxes: pred[i] with target[i].

    Args:
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

    def __init__(self, *, eps: float = 1e-07) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N] float, [-1, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class PairwiseGIoU(CataloguedModule):
    """GIoU of every prediction with every target.

    Args:
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

    def __init__(self, *, eps: float = 1e-07) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N,M] float, [-1, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class GIoULoss(CataloguedModule):
    """1 - GIoU of aligned boxes, for training.

    Args:
        eps: added to every denominator (in [0, 1])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        eps: float = 1e-07,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            loss: [N] float, [0, 2]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class BoxDIoU(CataloguedModule):
    """DIoU of aligned boxes: pred[i] with target[i].

    Args:
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

    def __init__(self, *, eps: float = 1e-07) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N] float, (-1, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class PairwiseDIoU(CataloguedModule):
    """DIoU of every prediction with every target.

    Args:
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

    def __init__(self, *, eps: float = 1e-07) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N,M] float, (-1, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class DIoULoss(CataloguedModule):
    """1 - DIoU of aligned boxes, for training.

    Args:
        eps: added to every denominator (in [0, 1])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        eps: float = 1e-07,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            loss: [N] float, [0, 2)
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class BoxCIoU(CataloguedModule):
    """CIoU of aligned boxes: pred[i] with target[i].

    Args:
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

    def __init__(self, *, eps: float = 1e-07) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N] float, (-1.5, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class PairwiseCIoU(CataloguedModule):
    """CIoU of every prediction with every target.

    Args:
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

    def __init__(self, *, eps: float = 1e-07) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N,M] float, (-1.5, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class CIoULoss(CataloguedModule):
    """1 - CIoU of aligned boxes, for training.

    Args:
        eps: added to every denominator (in [0, 1])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        eps: float = 1e-07,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            loss: [N] float, [0, 2.5)
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class BoxEIoU(CataloguedModule):
    """EIoU of aligned boxes: pred[i] with target[i].

    Args:
        eps: added to the squared diagonal and the squared enclosing sides only (in [0, 1])
    """

    def __init__(self, *, eps: float = 1e-07) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N] float, (-3, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class PairwiseEIoU(CataloguedModule):
    """EIoU of every prediction with every target.

    Args:
        eps: added to the squared diagonal and the squared enclosing sides only (in [0, 1])
    """

    def __init__(self, *, eps: float = 1e-07) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N,M] float, (-3, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class EIoULoss(CataloguedModule):
    """1 - EIoU of aligned boxes, for training.

    Args:
        eps: added to every denominator, to the union twice (in [0, 1])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        eps: float = 1e-07,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            loss: [N] float, [0, 4)
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class BoxSIoU(CataloguedModule):
    """SIoU of aligned boxes: pred[i] with target[i].

    Args:
        eps: added to a shift of the centres and the heights, the least side (in [0, 1])
    """

    def __init__(self, *, eps: float = 1e-07) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N] float, [-1, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class PairwiseSIoU(CataloguedModule):
    """SIoU of every prediction with every target.

    Args:
        eps: added to a shift of the centres and the heights, the least side (in [0, 1])
    """

    def __init__(self, *, eps: float = 1e-07) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N,M] float, [-1, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class SIoULoss(CataloguedModule):
    """1 - SIoU of aligned boxes, for training.

    Args:
        eps: added to the union, the shift of the centres and the heights (in [0, 1])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        eps: float = 1e-07,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            loss: [N] float, [0, 2]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class BoxNWD(CataloguedModule):
    """NWD of aligned boxes: pred[i] with target[i].

    Args:
        constant: distance at which NWD is 1/e, in the unit of the boxes (in [0.001, 1e+06])
    """

    def __init__(self, *, constant: float = 12.8) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N] float, [0, 1)
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class PairwiseNWD(CataloguedModule):
    """NWD of every prediction with every target.

    Args:
        constant: distance at which NWD is 1/e, in the unit of the boxes (in [0.001, 1e+06])
    """

    def __init__(self, *, constant: float = 12.8) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            score: [N,M] float, [0, 1)
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class NWDLoss(CataloguedModule):
    """1 - NWD of aligned boxes, for training.

    Args:
        constant: distance at which NWD is 1/e, in the unit of the boxes (in [0.001, 1e+06])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        constant: float = 12.8,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            loss: [N] float, (0, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class BoxProbIoU(CataloguedModule):
    """ProbIoU of aligned rotated boxes: pred[i] with target[i].

    Args:
        eps: of the determinants and the distance; the authors' sample has 1e-3 (in [1e-12,
            1])
        floor: added to the variances, side^2 / 12; Ultralytics: 0.01 in the loss, 0
            elsewhere (in [0, 1e+06])
    """

    def __init__(self, *, eps: float = 1e-07, floor: float = 0.0) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
            target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit

        Returns:
            score: [N] float, (-0.001, 1)
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class PairwiseProbIoU(CataloguedModule):
    """ProbIoU of every rotated prediction with every target.

    Args:
        eps: of the determinants and the distance; the authors' sample has 1e-3 (in [1e-12,
            1])
        floor: added to the variances, side^2 / 12; Ultralytics: 0.01 in the loss, 0
            elsewhere (in [0, 1e+06])
    """

    def __init__(self, *, eps: float = 1e-07, floor: float = 0.0) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
            target: [M,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit

        Returns:
            score: [N,M] float, (-0.001, 1)
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class ProbIoULoss(CataloguedModule):
    """1 - ProbIoU of aligned rotated boxes, for training.

    Args:
        eps: of the determinants and the distance; the authors' sample has 1e-3 (in [1e-12,
            1])
        floor: added to the variances, side^2 / 12; Ultralytics: 0.01 in the loss, 0
            elsewhere (in [0, 1e+06])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        eps: float = 1e-07,
        floor: float = 0.01,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
            target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit

        Returns:
            loss: [N] float, (0, 1.001)
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class BoxRotatedIoU(CataloguedModule):
    """Exact IoU of aligned rotated boxes: pred[i] with target[i]."""

    def __init__(self) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
            target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit

        Returns:
            score: [N] float, [0, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class PairwiseRotatedIoU(CataloguedModule):
    """Exact IoU of every rotated prediction with every target."""

    def __init__(self) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
            target: [M,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit

        Returns:
            score: [N,M] float, [0, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class RotatedIoULoss(CataloguedModule):
    """1 - exact IoU of aligned rotated boxes, for training.

    Args:
        reduction: none, sum or mean
    """

    def __init__(self, *, reduction: Literal["none", "sum", "mean"] = "none") -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
            target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit

        Returns:
            loss: [N] float, [0, 1]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class KLDLoss(CataloguedModule):
    """Loss of the Kullback-Leibler divergence of rotated boxes as Gaussians.

    Args:
        direction: kld inverts the predicted covariance; mean, maximum and minimum of both
            directions
        sqrt: whether the root of the divergence counts (any finite number)
        post: applied to the divergence or its root
        tau: from 1 on, the loss is 1 - 1 / (tau + d); below 1 it is d (in [0, 1e+06])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        direction: Literal["kld", "jd", "symmax", "symmin"] = "kld",
        sqrt: bool = True,
        post: Literal["log1p", "sqrt", "none"] = "log1p",
        tau: float = 1.0,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
            target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit

        Returns:
            loss: [N] float, [0, 1) for tau of 1, else unbounded
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class GWDLoss(CataloguedModule):
    """Loss of the Wasserstein distance of rotated boxes as Gaussians.

    Args:
        normalize: whether the distance is divided by the size of the boxes (any finite
            number)
        post: applied to the distance
        tau: from 1 on, the loss is 1 - 1 / (tau + d); below 1 it is d (in [0, 1e+06])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        normalize: bool = True,
        post: Literal["log1p", "sqrt", "none"] = "log1p",
        tau: float = 1.0,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
            target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit

        Returns:
            loss: [N] float, (0, 1) for tau of 1, else unbounded
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class KFIoULoss(CataloguedModule):
    """Loss of the overlap of rotated boxes as Gaussians of equal centres.

    Args:
        form: 1 - KFIoU, -ln(KFIoU + 1e-6) or exp(1 - KFIoU) - 1
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        form: Literal["linear", "ln", "exp"] = "linear",
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
            target: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit

        Returns:
            loss: [N] float, linear: [2/3, 1]; ln: [1.09, 14); exp: [0.94, 1.72]
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class BestMatch(CataloguedModule):
    """The best reference of every prediction, and the best prediction of every reference.

    Args:
        metric: score by which a partner is the best
        eps: added to the squared diagonal (DIoU) and the trade-off denominator (CIoU) only
            (in [0, 1])
    """

    def __init__(
        self,
        *,
        metric: Literal["iou", "giou", "diou", "ciou"] = "iou",
        eps: float = 1e-07,
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Call the op.

        Args:
            pred: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            target: [M,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5

        Returns:
            pred_score: [N] float, range of the metric; 0 without a partner, NaN where the box
                is not finite
            pred_index: [N] int64, in [0, M), -1 without a partner
            target_score: [M] float, range of the metric; 0 without a partner, NaN where the box
                is not finite
            target_index: [M] int64, in [0, N), -1 without a partner
        """

    def __call__(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]: ...

class DETRCost(CataloguedModule):
    """What it costs to give each target to each query: the matrix that DETR minimises.

    Args:
        kind: the class cost
        class_weight: weight of the class cost, 1 in DETR (in [0, 1e+06])
        box_weight: weight of the distance (in [0, 1e+06])
        giou_weight: weight of the GIoU (in [0, 1e+06])
        alpha: focal: weight of a hit, 1 - alpha that of a miss (in [0, 1])
        gamma: focal: exponent of the missing probability (in [0, 100])
        eps: focal: added inside of the logarithms; 0: exact (in [0, 1])
    """

    def __init__(
        self,
        *,
        kind: Literal["focal", "softmax"] = "focal",
        class_weight: float = 2.0,
        box_weight: float = 5.0,
        giou_weight: float = 2.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        eps: float = 1e-08,
    ) -> None: ...
    def forward(self, logits: Tensor, boxes: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,C] float, real numbers, exact from -1e4 to 1e4
            boxes: [N,4] float, cx, cy, w, h in parts of the image, w >= 0, h >= 0
            labels: [M] int64, class indices 0 to C-1
            targets: [M,4] float, cx, cy, w, h in parts of the image, w >= 0, h >= 0

        Returns:
            cost: [N,M] float, NaN where an input of the pair is not finite
        """

    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        labels: Tensor,
        targets: Tensor,
    ) -> Tensor: ...

class TaskAlignedAssign(CataloguedModule):
    """The points that train on each target, by score and overlap: the assignment of YOLOv8.

    Args:
        alpha: exponent of the score (in [0, 100])
        beta: exponent of the CIoU (in [0, 100])
        topk: most points of a target, some of which another one may get (in [1, 1024])
        small_side: a shorter side of a target counts as this long, in pixels (in [0,
            1e+06])
    """

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        beta: float = 6.0,
        topk: int = 10,
        small_side: float = 16.0,
    ) -> None: ...
    def forward(
        self,
        scores: Tensor,
        boxes: Tensor,
        points: Tensor,
        labels: Tensor,
        targets: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Call the op.

        Args:
            scores: [A,C] float, 0 to 1
            boxes: [A,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            points: [A,2] float, centres of the cells, x and y in pixels
            labels: [T] int64, class indices 0 to C-1
            targets: [T,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            valid: [T] bool, true or false

        Returns:
            assigned: [A] int64, in [0, T), -1 without a target
            target_scores: [A,C] float, [0, 1]; 0 but at the class of the target
        """

    def __call__(
        self,
        scores: Tensor,
        boxes: Tensor,
        points: Tensor,
        labels: Tensor,
        targets: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]: ...

class YOLODetectionLoss(CataloguedModule):
    """The training loss of YOLOv8, YOLO11 and YOLO26 on the raw heads.

    Args:
        box_gain: weight of the box part (in [0, 1e+06])
        class_gain: weight of the class part (in [0, 1e+06])
        dfl_gain: weight of the distribution focal part (in [0, 1e+06])
        alpha: exponent of the score (in [0, 100])
        beta: exponent of the CIoU (in [0, 100])
        topk: most points of a target, some of which another one may get (in [1, 1024])
        small_side: a shorter side of a target counts as this long, in pixels (in [0,
            1e+06])
    """

    def __init__(
        self,
        *,
        box_gain: float = 7.5,
        class_gain: float = 0.5,
        dfl_gain: float = 1.5,
        alpha: float = 0.5,
        beta: float = 6.0,
        topk: int = 10,
        small_side: float = 16.0,
    ) -> None: ...
    def forward(
        self,
        box_logits: Tensor,
        class_logits: Tensor,
        points: Tensor,
        stride: Tensor,
        labels: Tensor,
        targets: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Call the op.

        Args:
            box_logits: [B,D,A] float, real numbers, exact from -1e4 to 1e4
            class_logits: [B,C,A] float, real numbers, exact from -1e4 to 1e4
            points: [A,2] float, x and y of the centres of the cells, in cells of their level
            stride: [A] float, of the level of each point, in pixels, above 0
            labels: [B,T] int64, class indices 0 to C-1
            targets: [B,T,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets
                from 1e-4 to 1e5
            valid: [B,T] bool, true or false

        Returns:
            loss: [] float, [0, inf); NaN if an input that counts is not finite or a wrong label
            parts: [3] float, box, class, dfl, with their gains
        """

    def __call__(
        self,
        box_logits: Tensor,
        class_logits: Tensor,
        points: Tensor,
        stride: Tensor,
        labels: Tensor,
        targets: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]: ...

class RetinaNetLoss(CataloguedModule):
    """The training loss of RetinaNet: matching by IoU, focal loss, smooth L1 of the deltas.

    Args:
        fg_iou: an anchor has a target from this IoU on (in [0, 1])
        bg_iou: an anchor is background below this IoU (in [0, 1])
        rescue: whether the best anchors of each target always have one (any finite number)
        alpha: weight of positives, else 1 - alpha (in [0, 1])
        gamma: exponent of the missing probability (in [0, 100])
        beta: where smooth L1 turns linear; 0: L1 (in [0, 1e+06])
        class_gain: weight of the class part (in [0, 1e+06])
        box_gain: weight of the box part (in [0, 1e+06])
    """

    def __init__(
        self,
        *,
        fg_iou: float = 0.5,
        bg_iou: float = 0.4,
        rescue: bool = True,
        alpha: float = 0.25,
        gamma: float = 2.0,
        beta: float = 0.0,
        class_gain: float = 1.0,
        box_gain: float = 1.0,
    ) -> None: ...
    def forward(
        self,
        class_logits: Tensor,
        deltas: Tensor,
        anchors: Tensor,
        labels: Tensor,
        targets: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Call the op.

        Args:
            class_logits: [B,A,C] float, real numbers, exact from -1e4 to 1e4
            deltas: [B,A,4] float, real numbers
            anchors: [A,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            labels: [B,T] int64, class indices 0 to C-1
            targets: [B,T,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets
                from 1e-4 to 1e5
            valid: [B,T] bool, true or false

        Returns:
            loss: [] float, [0, inf); NaN if an input that counts is not finite or a wrong label
            parts: [2] float, class, box, with their gains
        """

    def __call__(
        self,
        class_logits: Tensor,
        deltas: Tensor,
        anchors: Tensor,
        labels: Tensor,
        targets: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]: ...

class FCOSLoss(CataloguedModule):
    """The training loss of FCOS: focal loss, GIoU loss, centre-ness.

    Args:
        radius: farthest from the centre of a target, in strides (in [0, 1e+06])
        alpha: weight of positives, else 1 - alpha (in [0, 1])
        gamma: exponent of the missing probability (in [0, 100])
        eps: added to the denominators of GIoU (in [0, 1])
        class_gain: weight of the class part (in [0, 1e+06])
        box_gain: weight of the box part (in [0, 1e+06])
        centre_gain: weight of the centre-ness part (in [0, 1e+06])
    """

    def __init__(
        self,
        *,
        radius: float = 1.5,
        alpha: float = 0.25,
        gamma: float = 2.0,
        eps: float = 1e-07,
        class_gain: float = 1.0,
        box_gain: float = 1.0,
        centre_gain: float = 1.0,
    ) -> None: ...
    def forward(
        self,
        class_logits: Tensor,
        distances: Tensor,
        centre_logits: Tensor,
        points: Tensor,
        stride: Tensor,
        labels: Tensor,
        targets: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Call the op.

        Args:
            class_logits: [B,A,C] float, real numbers, exact from -1e4 to 1e4
            distances: [B,A,4] float, left, top, right, bottom in strides, at least 0
            centre_logits: [B,A] float, real numbers, exact from -1e4 to 1e4
            points: [A,2] float, x and y of the centres of the cells, in pixels
            stride: [A] float, of the level of each point, in pixels, above 0
            labels: [B,T] int64, class indices 0 to C-1
            targets: [B,T,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets
                from 1e-4 to 1e5
            valid: [B,T] bool, true or false

        Returns:
            loss: [] float, [0, inf); NaN if an input that counts is not finite or a wrong label
            parts: [3] float, class, box, centre-ness, with their gains
        """

    def __call__(
        self,
        class_logits: Tensor,
        distances: Tensor,
        centre_logits: Tensor,
        points: Tensor,
        stride: Tensor,
        labels: Tensor,
        targets: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]: ...

class DETRDetectionLoss(CataloguedModule):
    """The training loss of DETR and its descendants for a given assignment.

    Args:
        kind: the class part
        class_gain: weight of the class part (in [0, 1e+06])
        box_gain: weight of the L1 part (in [0, 1e+06])
        giou_gain: weight of the GIoU part (in [0, 1e+06])
        alpha: focal: weight of positives; varifocal: of negatives (in [0, 1])
        gamma: exponent of the missing probability (in [0, 100])
        no_object: softmax: weight of queries without a target (in [1e-06, 1e+06])
    """

    def __init__(
        self,
        *,
        kind: Literal["focal", "softmax", "varifocal"] = "focal",
        class_gain: float = 2.0,
        box_gain: float = 5.0,
        giou_gain: float = 2.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        no_object: float = 0.1,
    ) -> None: ...
    def forward(
        self,
        logits: Tensor,
        boxes: Tensor,
        labels: Tensor,
        targets: Tensor,
        valid: Tensor,
        match: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Call the op.

        Args:
            logits: [B,N,C] float, real numbers, exact from -1e4 to 1e4
            boxes: [B,N,4] float, cx, cy, w, h in parts of the image, w >= 0, h >= 0
            labels: [B,T] int64, class indices 0 to C-1
            targets: [B,T,4] float, cx, cy, w, h in parts of the image, w >= 0, h >= 0
            valid: [B,T] bool, true or false
            match: [B,T] int64, the query of each target in [0, N), or -1

        Returns:
            loss: [] float, [0, inf); NaN if an input that counts is not finite or a wrong label
            parts: [3] float, class, L1, GIoU, with their gains
        """

    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        labels: Tensor,
        targets: Tensor,
        valid: Tensor,
        match: Tensor,
    ) -> tuple[Tensor, Tensor]: ...

class EncodeBoxes(CataloguedModule):
    """Regression targets: the deltas that turn anchors into boxes.

    Args:
        weights: divisors of the deltas' scale: (10, 10, 5, 5) in the second stage of Faster
            R-CNN (in [1e-06, 1e+06])
    """

    def __init__(
        self,
        *,
        weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    ) -> None: ...
    def forward(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """Call the op.

        Args:
            boxes: [N,4] float, xyxy, sides above 0 (below 1e-7: taken as 1e-7)
            anchors: [N,4] float, xyxy in the unit of the boxes, sides above 0

        Returns:
            deltas: [N,4] float, real numbers
        """

    def __call__(self, boxes: Tensor, anchors: Tensor) -> Tensor: ...

class DecodeBoxes(CataloguedModule):
    """Boxes from predicted deltas and anchors, the log-sides clamped from above.

    Args:
        weights: divisors of the deltas' scale: (10, 10, 5, 5) in the second stage of Faster
            R-CNN (in [1e-06, 1e+06])
        clip: K, the largest log-side ratio: log(1000/16) (in [0, 40])
    """

    def __init__(
        self,
        *,
        weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
        clip: float = 4.135166556742356,
    ) -> None: ...
    def forward(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """Call the op.

        Args:
            deltas: [N,4] float, dx, dy, dw, dh, scaled by the weights
            anchors: [N,4] float, xyxy in the unit of the boxes, sides above 0

        Returns:
            boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
        """

    def __call__(self, deltas: Tensor, anchors: Tensor) -> Tensor: ...

class DecodeDistances(CataloguedModule):
    """Boxes from points and distributions over the distances to their four sides.

    Args:
        bins: B: 8 in NanoDet, 16 in YOLOv8 (in [2, 64])
    """

    def __init__(self, *, bins: int = 16) -> None: ...
    def forward(self, distribution: Tensor, points: Tensor, stride: Tensor) -> Tensor:
        """Call the op.

        Args:
            distribution: [N,4,bins] float, logits for left, top, right, bottom
            points: [N,2] float, x, y, in the unit of the boxes
            stride: [N] float, size of a step, at least 0, in the unit of the boxes

        Returns:
            boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
        """

    def __call__(self, distribution: Tensor, points: Tensor, stride: Tensor) -> Tensor: ...

class SmoothL1Loss(CataloguedModule):
    """Smooth L1: quadratic within beta of the target, linear beyond.

    Args:
        beta: width of the quadratic part; below 1e-5: plain L1 (in [0, 1e+06])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        beta: float = 1.0,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,D] float, real numbers
            target: [N,D] float, real numbers

        Returns:
            loss: [N,D] float, [0, inf)
        """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor: ...

class KLLoss(CataloguedModule):
    """Smooth L1 weighted by a predicted variance, plus half the log of that variance.

    Args:
        reduction: none, sum or mean
    """

    def __init__(self, *, reduction: Literal["none", "sum", "mean"] = "none") -> None: ...
    def forward(self, pred: Tensor, log_variance: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, real numbers
            log_variance: [N,4] float, log sigma^2, -80 to 80
            target: [N,4] float, real numbers

        Returns:
            loss: [N,4] float, real numbers
        """

    def __call__(self, pred: Tensor, log_variance: Tensor, target: Tensor) -> Tensor: ...

class LocalizationConfidence(CataloguedModule):
    """Estimated IoU of a box with the true one, from the variance that a detector predicts."""

    def __init__(self) -> None: ...
    def forward(self, boxes: Tensor, log_variance: Tensor) -> Tensor:
        """Call the op.

        Args:
            boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            log_variance: [N,4] float, log sigma^2 of x1, y1, x2, y2 in the unit of the boxes,
                -200 to 200

        Returns:
            quality: [N] float, [0, 1]; 0 for a box without area
        """

    def __call__(self, boxes: Tensor, log_variance: Tensor) -> Tensor: ...

class SigmoidFocalLoss(CataloguedModule):
    """Binary cross entropy of every class, weighted down where the answer is right.

    Args:
        alpha: weight of positives, 1 - alpha that of negatives; below 0: off (in [-1e+06,
            1])
        gamma: exponent of the missing probability (in [0, 100])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        alpha: float = 0.25,
        gamma: float = 2.0,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,C] float, real numbers, exact from -1e4 to 1e4
            target: [N,C] float, 0 to 1, soft targets included

        Returns:
            loss: [N,C] float, [0, inf)
        """

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor: ...

class SoftmaxFocalLoss(CataloguedModule):
    """Softmax cross entropy, weighted down where the answer is right.

    Args:
        alpha: weight of class 0, 1 - alpha that of the others; or a list of a weight for
            each class (in [0, 1])
        gamma: exponent of the missing probability (in [0, 100])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,C] float, real numbers, exact from -1e4 to 1e4
            labels: [N] int64, class indices 0 to C-1

        Returns:
            loss: [N] float, [0, inf)
        """

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor: ...

class DistributionFocalLoss(CataloguedModule):
    """Cross entropy of the two bins beside a distance, shared by how near they are.

    Args:
        margin: distance of the largest target from the last bin (in [0, 1])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        margin: float = 0.01,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,K] float, real numbers, exact from -1e4 to 1e4
            target: [N] float, distance in bins, moved into [0, K - 1 - margin]

        Returns:
            loss: [N] float, [0, inf)
        """

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor: ...

class QualityFocalLoss(CataloguedModule):
    """Cross entropy with an IoU as its target, weighted down where the answer is right.

    Args:
        beta: exponent of the distance from the target (in [0, 100])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        beta: float = 2.0,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,C] float, real numbers, exact from -1e4 to 1e4
            target: [N,C] float, 0 to 1: IoU at the labelled class, 0 elsewhere

        Returns:
            loss: [N,C] float, [0, inf)
        """

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor: ...

class VarifocalLoss(CataloguedModule):
    """VarifocalNet's loss: positives weigh as much as their IoU, the others by p.

    Args:
        alpha: factor of the weight of the others (in [0, 1e+06])
        gamma: exponent of the probability in the weight of the others (in [0, 100])
        iou_weighted: whether a positive weighs its target and not 1 (any finite number)
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        alpha: float = 0.75,
        gamma: float = 2.0,
        iou_weighted: bool = True,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,C] float, real numbers, exact from -1e4 to 1e4
            target: [N,C] float, 0 to 1: IoU at the labelled class, 0 elsewhere

        Returns:
            loss: [N,C] float, [0, inf)
        """

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor: ...

class MatchedVarifocalLoss(CataloguedModule):
    """Varifocal loss of RT-DETR, D-FINE and DEIM: matched elements weigh their IoU.

    Args:
        alpha: factor of the weight of the others (in [0, 1e+06])
        gamma: exponent of the probability in the weight of the others (in [0, 100])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        alpha: float = 0.75,
        gamma: float = 2.0,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, logits: Tensor, quality: Tensor, matched: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,C] float, real numbers, exact from -1e4 to 1e4
            quality: [N,C] float, 0 to 1: IoU with the matched target; any such number where
                nothing is matched
            matched: [N,C] bool, true at the class of the matched target

        Returns:
            loss: [N,C] float, [0, inf)
        """

    def __call__(self, logits: Tensor, quality: Tensor, matched: Tensor) -> Tensor: ...

class MatchabilityAwareLoss(CataloguedModule):
    """DEIM's loss: as matched_varifocal_loss, with full weight for poor matches.

    Args:
        gamma: exponent of the quality, and of the probability (in [0, 100])
        alpha: factor of the weight of the others (in [0, 1e+06])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        gamma: float = 1.5,
        alpha: float = 1.0,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, logits: Tensor, quality: Tensor, matched: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,C] float, real numbers, exact from -1e4 to 1e4
            quality: [N,C] float, 0 to 1: IoU with the matched target; any such number where
                nothing is matched
            matched: [N,C] bool, true at the class of the matched target

        Returns:
            loss: [N,C] float, [0, inf)
        """

    def __call__(self, logits: Tensor, quality: Tensor, matched: Tensor) -> Tensor: ...

class IoUAwareBCELoss(CataloguedModule):
    """IoU-aware cross entropy of LW-DETR and RF-DETR: the target mixes IoU and p.

    Args:
        alpha: exponent of p in the target, 1 - alpha that of the IoU (in [0, 1])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        alpha: float = 0.25,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, logits: Tensor, quality: Tensor, matched: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,C] float, real numbers, exact from -1e4 to 1e4
            quality: [N,C] float, 0 to 1: IoU with the matched target; any such number where
                nothing is matched
            matched: [N,C] bool, true at the class of the matched target

        Returns:
            loss: [N,C] float, [0, inf)
        """

    def __call__(self, logits: Tensor, quality: Tensor, matched: Tensor) -> Tensor: ...

class AnchorLoss(CataloguedModule):
    """Binary cross entropy, harder for classes that come near the own one's probability.

    Args:
        gamma: power of the gap to the anchor probability (in [0, 100])
        slack: margin of the anchor probability (in [0, 1])
        anchor: terms that are reshaped: of the other classes (neg) or the own class (pos)
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        gamma: float = 0.5,
        slack: float = 0.05,
        anchor: Literal["neg", "pos"] = "neg",
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,C] float, real numbers, exact from -1e4 to 1e4
            labels: [N] int64, class indices 0 to C-1

        Returns:
            loss: [N] float, [0, inf)
        """

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor: ...

class SCELoss(CataloguedModule):
    """Cross entropy of the label and the prediction, both ways, for noisy labels.

    Args:
        alpha: weight of the cross entropy (in [0, 1e+06])
        beta: weight of the reverse cross entropy (in [0, 1e+06])
        prob_floor: smallest probability; there is no gradient below it (in [0, 1])
        label_floor: replaces 0 in the logarithm of a label (in [1e-30, 1])
        reduction: none, sum or mean
    """

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        beta: float = 1.0,
        prob_floor: float = 1e-07,
        label_floor: float = 0.0001,
        reduction: Literal["none", "sum", "mean"] = "none",
    ) -> None: ...
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,C] float, real numbers, exact from -1e4 to 1e4
            labels: [N] int64, class indices 0 to C-1

        Returns:
            loss: [N] float, [0, inf)
        """

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor: ...

class GHMCLoss(CataloguedModule):
    """Binary cross entropy, every element divided by how many have a like gradient.

    Args:
        bins: number of bins of equal width over the size of the gradient (in [1, 512])
        momentum: momentum of the running counts; 0: only this call counts (in [0, 1))
    """

    bin_count: Tensor

    def __init__(self, *, bins: int = 10, momentum: float = 0.0) -> None: ...
    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,C] float, real numbers, exact from -1e4 to 1e4
            target: [N,C] float, 0 or 1
            weight: [N,C] float, 0: ignored; above: counted, whatever the size

        Returns:
            loss: [] float, [0, inf)
        """

    def __call__(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor: ...

class GHMRLoss(CataloguedModule):
    """Smooth absolute difference, every element divided by how many have a like gradient.

    Args:
        bins: number of bins of equal width over the size of the gradient (in [1, 512])
        momentum: momentum of the running counts; 0: only this call counts (in [0, 1))
        mu: width of the quadratic part (in [1e-06, 1e+06])
    """

    bin_count: Tensor

    def __init__(self, *, bins: int = 10, momentum: float = 0.0, mu: float = 0.02) -> None: ...
    def forward(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Call the op.

        Args:
            pred: [N,4] float, real numbers
            target: [N,4] float, real numbers
            weight: [N,4] float, 0: ignored; above: counted, whatever the size

        Returns:
            loss: [] float, [0, inf)
        """

    def __call__(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor: ...

class APLoss(CataloguedModule):
    """1 - interpolated average precision of all elements ranked jointly.

    Args:
        delta: half the width of the ramp H (in [1e-06, 1e+06])
        max_positives: most positives in a graph; more give NaN (eager PyTorch takes any
            number) (in [1, 3840])
    """

    def __init__(self, *, delta: float = 1.0, max_positives: int = 512) -> None: ...
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [K] float, real numbers
            target: [K] int64, 1 positive, 0 negative, -1 ignored

        Returns:
            loss: [] float, [0, 1]
        """

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor: ...

class DRLoss(CataloguedModule):
    """Distributional ranking: the hardest negatives below the hardest positives, by margin.

    Args:
        pos_lambda: spread of the positives' distribution (in [0.0125, 1e+06])
        neg_lambda: spread of the negatives' distribution (in [0.0125, 1e+06])
        L: sharpness of the logistic loss (in [0.001, 1000])
        tau: scale of the loss (in [0, 1e+06])
        margin: gamma, the wanted distance (in [-1000, 1000])
    """

    def __init__(
        self,
        *,
        pos_lambda: float = 1.0,
        neg_lambda: float = 0.07982356001479281,
        L: float = 6.0,
        tau: float = 4.0,
        margin: float = 0.5,
    ) -> None: ...
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Call the op.

        Args:
            logits: [N,C] float, real numbers, exact from -1e4 to 1e4
            labels: [N] int64, 1 to C: class, 0: background, -1: ignored

        Returns:
            loss: [] float, [0, inf)
        """

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor: ...

class NMS(CataloguedModule):
    """Greedy non-maximum suppression by IoU.

    Args:
        iou_threshold: a box is removed above this, not at it (in [0, 1])
        score_threshold: a box takes part from this score on (in [0, 1e+06])
        max_output: most boxes that are chosen (in [1, 65536])
        beta: no effect, as IoU has no distance term: the three NMS share a signature (in
            [0.001, 1000])
    """

    def __init__(
        self,
        *,
        iou_threshold: float = 0.5,
        score_threshold: float = 0.0,
        max_output: int = 100,
        beta: float = 1.0,
    ) -> None: ...
    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Call the op.

        Args:
            boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            scores: [N] float, at least 0; a box below takes no part

        Returns:
            indices: [max_output] int64, in [0, N), by falling score; -1 beyond count
            count: [] int64, boxes that were chosen, at most max_output
        """

    def __call__(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]: ...

class DIoUNMS(CataloguedModule):
    """Greedy non-maximum suppression by DIoU: overlapping boxes of far centres both stay.

    Args:
        iou_threshold: a box is removed above this, not at it (in [0, 1])
        score_threshold: a box takes part from this score on (in [0, 1e+06])
        max_output: most boxes that are chosen (in [1, 65536])
        beta: exponent of the distance term (in [0.001, 1000])
    """

    def __init__(
        self,
        *,
        iou_threshold: float = 0.5,
        score_threshold: float = 0.0,
        max_output: int = 100,
        beta: float = 1.0,
    ) -> None: ...
    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Call the op.

        Args:
            boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            scores: [N] float, at least 0; a box below takes no part

        Returns:
            indices: [max_output] int64, in [0, N), by falling score; -1 beyond count
            count: [] int64, boxes that were chosen, at most max_output
        """

    def __call__(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]: ...

class RotatedNMS(CataloguedModule):
    """Greedy non-maximum suppression by the exact IoU of rotated boxes.

    Args:
        iou_threshold: a box is removed above this, not at it (in [0, 1])
        score_threshold: a box takes part from this score on (in [0, 1e+06])
        max_output: most boxes that are chosen (in [1, 65536])
        beta: no effect, as IoU has no distance term: the NMS share a signature (in [0.001,
            1000])
    """

    def __init__(
        self,
        *,
        iou_threshold: float = 0.5,
        score_threshold: float = 0.0,
        max_output: int = 100,
        beta: float = 1.0,
    ) -> None: ...
    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Call the op.

        Args:
            boxes: [N,5] float, cx, cy, w, h, angle in radians, w >= 0, h >= 0, any one unit
            scores: [N] float, at least 0; a box below takes no part

        Returns:
            indices: [max_output] int64, in [0, N), by falling score; -1 beyond count
            count: [] int64, boxes that were chosen, at most max_output
        """

    def __call__(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]: ...

class ClusterNMS(CataloguedModule):
    """Greedy non-maximum suppression as a fixed point over all pairs, for parallel devices.

    Args:
        iou_threshold: a box is removed above this, not at it (in [0, 1])
        score_threshold: a box takes part from this score on (in [0, 1e+06])
        max_output: most boxes that are chosen (in [1, 65536])
        beta: exponent of the distance term, if the metric is diou (in [0.001, 1000])
        metric: the overlap of nms or of diou_nms
    """

    def __init__(
        self,
        *,
        iou_threshold: float = 0.5,
        score_threshold: float = 0.0,
        max_output: int = 100,
        beta: float = 1.0,
        metric: Literal["iou", "diou"] = "iou",
    ) -> None: ...
    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Call the op.

        Args:
            boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            scores: [N] float, at least 0; a box below takes no part

        Returns:
            indices: [max_output] int64, in [0, N), by falling score; -1 beyond count
            count: [] int64, boxes that were chosen, at most max_output
        """

    def __call__(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]: ...

class SoftNMS(CataloguedModule):
    """Soft-NMS: overlap with a chosen box lowers a score instead of removing the box.

    Args:
        sigma: scores are multiplied by exp(-IoU^2 / sigma) (in [1e-06, 1e+06])
        score_threshold: a box takes part from this score on (in [0, 1e+06])
        max_output: most boxes that are chosen (in [1, 65536])
    """

    def __init__(
        self,
        *,
        sigma: float = 0.5,
        score_threshold: float = 0.001,
        max_output: int = 100,
    ) -> None: ...
    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Call the op.

        Args:
            boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            scores: [N] float, at least 0; a box below takes no part

        Returns:
            indices: [max_output] int64, in [0, N), by falling score; -1 beyond count
            new_scores: [max_output] float, scores at the pick; 0 beyond count
            count: [] int64, boxes that were chosen, at most max_output
        """

    def __call__(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...

class VarianceVoting(CataloguedModule):
    """Softer-NMS: a chosen box moves to the mean of its rivals, weighted by certainty.

    Args:
        method: how overlap lowers scores
        sigma_t: how close a voting box has to be (in [1e-06, 1e+06])
        soft_sigma: scores are multiplied by exp(-IoU^2 / sigma) (in [1e-06, 1e+06])
        iou_threshold: hard: IoU above which the score becomes 0 (in [0, 1])
        vote_threshold: IoU above which a box votes (in [0, 0.999])
        score_threshold: an overlapped box is dropped below this (in [0, 1e+06])
        offset: added to every side: 1 for whole pixels (in [0, 1])
        max_output: most boxes that are chosen (in [1, 65536])
    """

    def __init__(
        self,
        *,
        method: Literal["soft", "hard"] = "soft",
        sigma_t: float = 0.02,
        soft_sigma: float = 0.5,
        iou_threshold: float = 0.5,
        vote_threshold: float = 0.01,
        score_threshold: float = 0.001,
        offset: float = 0.0,
        max_output: int = 100,
    ) -> None: ...
    def forward(
        self,
        boxes: Tensor,
        scores: Tensor,
        log_variance: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Call the op.

        Args:
            boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            scores: [N] float, at least 0; a box below takes no part
            log_variance: [N,4] float, log sigma^2 of x1, y1, x2, y2 in the unit of the boxes

        Returns:
            indices: [max_output] int64, in [0, N), in order; -1 beyond count
            new_boxes: [max_output,4] float, voted corners; 0 beyond count
            new_scores: [max_output] float, scores at the pick; 0 beyond count
            count: [] int64, boxes that were chosen, at most max_output
        """

    def __call__(
        self,
        boxes: Tensor,
        scores: Tensor,
        log_variance: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]: ...

class BatchedNMS(CataloguedModule):
    """NMS of a batch of images with scores of many classes: what a detector ends with.

    Args:
        iou_threshold: a candidate is removed above this, not at it (in [0, 1])
        score_threshold: a candidate takes part from this on (in [0, 1e+06])
        max_output: most detections of an image (in [1, 16384])
        metric: the overlap of nms or of diou_nms
        class_aware: whether only boxes of the same class remove each other (any finite
            number)
        multi_label: whether every class of a box is a candidate, instead of its best one,
            or of equal ones the first (any finite number)
        max_candidates: the best candidates, which alone take part (in [1, 1.67772e+07])
    """

    def __init__(
        self,
        *,
        iou_threshold: float = 0.7,
        score_threshold: float = 0.25,
        max_output: int = 300,
        metric: Literal["iou", "diou"] = "iou",
        class_aware: bool = True,
        multi_label: bool = False,
        max_candidates: int = 30000,
    ) -> None: ...
    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Call the op.

        Args:
            boxes: [B,N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            scores: [B,N,C] float, at least 0; a score below takes no part

        Returns:
            detections: [B,max_output,6] float, x1, y1, x2, y2, score, class; 0 beyond count
            indices: [B,max_output] int64, of the boxes in [0, N), by falling score; -1 beyond
                count
            count: [B] int64, detections of each image, at most max_output
        """

    def __call__(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...

class MatrixNMS(CataloguedModule):
    """Matrix NMS: all better boxes of a class lower a score once, without a loop.

    Args:
        kernel: the function f
        sigma: gaussian: a factor of IoU^2 (in [1e-06, 1e+06])
        score_threshold: a box stays if its new score is at least this (in [0, 1e+06])
        max_output: most boxes that are chosen (in [1, 65536])
    """

    def __init__(
        self,
        *,
        kernel: Literal["gaussian", "linear"] = "gaussian",
        sigma: float = 2.0,
        score_threshold: float = 0.001,
        max_output: int = 100,
    ) -> None: ...
    def forward(
        self,
        boxes: Tensor,
        scores: Tensor,
        labels: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Call the op.

        Args:
            boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            scores: [N] float, at least 0; a box below takes no part
            labels: [N] int64, any whole number

        Returns:
            indices: [max_output] int64, in [0, N), by falling score; -1 beyond count
            new_scores: [max_output] float, scores at the pick; 0 beyond count
            count: [] int64, boxes that were chosen, at most max_output
        """

    def __call__(
        self,
        boxes: Tensor,
        scores: Tensor,
        labels: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]: ...

class WeightedBoxesFusion(CataloguedModule):
    """Weighted boxes fusion: the boxes of several models become their weighted means.

    Args:
        iou_threshold: a box joins a cluster above this, not at it (in [0, 1])
        skip_threshold: a box takes part from this score on (in [0, 1e+06])
        mode: how scores are scaled
        weights: one for each model, or one for all models (in [1e-06, 1e+06])
        allows_overflow: avg: n in place of min(n, M); may exceed 1 (any finite number)
        max_output: most fused boxes (in [1, 65536])
    """

    def __init__(
        self,
        *,
        iou_threshold: float = 0.55,
        skip_threshold: float = 0.0,
        mode: Literal["avg", "max", "box_and_model_avg", "absent_model_aware_avg"] = "avg",
        weights: tuple[float] = (1.0,),
        allows_overflow: bool = False,
        max_output: int = 300,
    ) -> None: ...
    def forward(
        self,
        boxes: Tensor,
        scores: Tensor,
        labels: Tensor,
        models: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Call the op.

        Args:
            boxes: [N,4] float, xyxy, in parts of the image; clipped to [0, 1]
            scores: [N] float, at least 0; a box below takes no part
            labels: [N] int64, any whole number
            models: [N] int64, the model that has found the box, from 0 on

        Returns:
            fused_boxes: [max_output,4] float, xyxy in [0, 1]; 0 beyond count
            fused_scores: [max_output] float, by falling score; 0 beyond count
            fused_labels: [max_output] int64, those of the boxes; -1 beyond count
            count: [] int64, fused boxes, at most max_output
        """

    def __call__(
        self,
        boxes: Tensor,
        scores: Tensor,
        labels: Tensor,
        models: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]: ...

class SuppressionReliability(CataloguedModule):
    """How far an NMS can be relied on: which boxes it removes, and where they lie.

    Args:
        iou_threshold: a box is in a group above this, not at it (in [0, 1])
        score_threshold: a box takes part above this score (in [0, 1e+06])
        center: the score c at which the weights are in the middle (in [0, 1])
    """

    def __init__(
        self,
        *,
        iou_threshold: float = 0.5,
        score_threshold: float = 0.05,
        center: float = 0.4,
    ) -> None: ...
    def forward(self, boxes: Tensor, scores: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Call the op.

        Args:
            boxes: [N,4] float, xyxy, x2 >= x1, y2 >= y1, any one unit, sides and offsets from
                1e-4 to 1e5
            scores: [N] float, at least 0; a box below takes no part
            indices: [K] int64, those that NMS kept; -1 is none

        Returns:
            reliability: [] float, 0 or more; 0 if nothing was removed
            consistency: [] float, at most 1; 0 if nothing was removed
        """

    def __call__(self, boxes: Tensor, scores: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]: ...

class ContrastiveConfidence(CataloguedModule):
    """Confidence in an image: the mean of its high scores less that of its low ones.

    Args:
        score_threshold: a score is high above this, not at it (in [0, 1])
        weight: factor lambda of the low scores (in [0, 1000])
    """

    def __init__(self, *, score_threshold: float = 0.3, weight: float = 5.0) -> None: ...
    def forward(self, scores: Tensor) -> Tensor:
        """Call the op.

        Args:
            scores: [N,K] float, best score of each box; 0 or less is no box

        Returns:
            confidence: [N] float, at most 1
        """

    def __call__(self, scores: Tensor) -> Tensor: ...

def __getattr__(name: str) -> Any: ...

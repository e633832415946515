"""What the whole losses share: the target of each prediction, and the total of the parts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lossexport.ops.common import poison


def of_each(places: Tensor, values: Tensor) -> Tensor:
    """The `values` [B,T,D] of the target of each prediction, of `places` [B,A], to [B,A,D].

    Those of the first target where the place is -1.
    """
    index = places.clamp(min=0).unsqueeze(-1).expand(-1, -1, values.shape[-1])
    return values.gather(1, index)


def classes_of(places: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Which class the target of each prediction has: `places` [B,A], `labels` [B,T] to [B,A,C]."""
    label = labels.gather(1, places.clamp(min=0)).unsqueeze(-1)
    own = label == torch.arange(classes, device=labels.device)
    return own & (places >= 0).unsqueeze(-1)


def usable(labels: Tensor, targets: Tensor, valid: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Which of the `valid` targets [B,T] can be used; and [], NaN if there are others, or 0.

    A target needs finite numbers and a label that is a class.
    """
    sound = (poison(targets) == 0) & (labels >= 0) & (labels < classes)
    wrong = (valid & ~sound).any()
    zero = targets.new_zeros(())
    return valid & sound, torch.where(wrong, torch.nan, zero)


def whole(*inputs: Tensor) -> Tensor:
    """[], 0, or NaN if a number of the inputs is NaN or infinite."""
    return torch.stack([poison(poison(x.flatten(1))) for x in inputs]).sum()


def size(batch: Tensor) -> Tensor:
    """The number of images [] as a float. A symbolic number would be taken for 2 or more."""
    return torch.full((), batch.shape[0], dtype=batch.dtype, device=batch.device)


def total(parts: Sequence[Tensor], gains: Sequence[float], stray: Tensor) -> Tensor:
    """The parts [] times their gains, in one tensor; NaN if `stray` is."""
    return torch.stack([part * gain for part, gain in zip(parts, gains, strict=True)]) + stray

"""Modules made from the catalogue."""

import pytest
import torch

from lossexport import nn, ops
from lossexport.errors import LossexportError


def test_module_is_the_op_with_its_attributes() -> None:
    pred, target = torch.rand(5, 2).sort(1).values, torch.rand(5, 2).sort(1).values
    pred, target = torch.cat((pred, pred + 1), 1), torch.cat((target, target + 1), 1)
    module = nn.CIoULoss(reduction="mean")
    assert torch.equal(module(pred, target), ops.ciou_loss(pred, target, reduction="mean"))
    assert repr(module) == "CIoULoss(eps=1e-07, reduction='mean')"
    with pytest.raises(LossexportError, match="reduction='median'"):
        nn.CIoULoss(reduction="median")


def test_state_is_kept_in_the_module() -> None:
    module = nn.GHMCLoss(bins=4, momentum=0.5)
    logits = torch.linspace(-4, 4, 24).reshape(6, 4)
    target, weight = (logits > 1).float(), torch.ones_like(logits)
    counts = torch.zeros(4)
    for _ in range(3):
        expected, counts = ops.ghm_c_loss(logits, target, weight, counts, bins=4, momentum=0.5)
        assert torch.equal(module(logits, target, weight), expected)
        assert torch.equal(module.bin_count, counts)
    assert torch.equal(module.state_dict()["bin_count"], counts)

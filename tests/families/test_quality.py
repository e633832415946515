"""Properties of the losses with a quality as their target that no vector shows."""

import math

import pytest
import torch

from lossexport import ops

FAR = [-1e4, -100.0, -50.0, -20.0, 0.0, 20.0, 50.0, 100.0, 1e4]
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def with_gradient(loss: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    (grad,) = torch.autograd.grad(loss.sum(), x)
    return loss.detach(), grad


@DTYPES
@pytest.mark.parametrize("quality", [0.0, 1.0])
@pytest.mark.parametrize("met", [True, False])
def test_tails_keep_their_digits(quality: float, met: bool, dtype: torch.dtype) -> None:
    """A logit far on the right side costs e^-x and not 0; on the wrong side x."""
    for size in (20.0, 50.0, 80.0):
        x = torch.tensor([[size if met == (quality == 1) else -size]], dtype=dtype)
        x.requires_grad_()
        q, matched = torch.full_like(x, quality).detach(), torch.ones_like(x, dtype=torch.bool)
        near, far = math.exp(-size), size + math.exp(-size)
        loss, grad = with_gradient(ops.matchability_aware_loss(x, q, matched), x)
        assert loss.item() == pytest.approx(near if met else far, rel=1e-6)
        wrong = near if met else 1.0
        assert grad.item() == pytest.approx(wrong if quality == 0 else -wrong, rel=1e-6)
        loss, grad = with_gradient(ops.quality_focal_loss(x, q, 1.0), x)
        assert loss.item() == pytest.approx(near**2 if met else far, rel=2e-6, abs=1e-38)
        loss, grad = with_gradient(ops.varifocal_loss(x, q, 1.0, 1.0), x)
        negative = near**2 if met else far
        expected = negative if quality == 0 else (near if met else far)
        assert loss.item() == pytest.approx(expected, rel=2e-6, abs=1e-38)


@DTYPES
def test_far_logits_are_finite_with_finite_gradients(dtype: torch.dtype) -> None:
    x = torch.tensor(FAR, dtype=dtype)[:, None].requires_grad_()
    for quality in (0.0, 1e-6, 0.5, 1.0):
        q = torch.full_like(x, quality).detach()
        for exponent in (0.0, 0.5, 1.0, 1.5, 2.0):
            losses = [ops.quality_focal_loss(x, q, exponent), ops.varifocal_loss(x, q, 1, exponent)]
            for truth in (True, False):
                m = torch.full_like(x, truth, dtype=torch.bool)
                losses += [
                    ops.matched_varifocal_loss(x, q, m, 1.0, exponent),
                    ops.matchability_aware_loss(x, q, m, exponent),
                    ops.iou_aware_bce_loss(x, q, m, exponent / 2),
                ]
            for loss in losses:
                value, grad = with_gradient(loss, x)
                assert value.isfinite().all()
                assert (value >= 0).all()
                assert grad.isfinite().all()


@DTYPES
def test_a_met_target_has_no_gradient_at_any_exponent(dtype: torch.dtype) -> None:
    """The published code gives NaN there, as 0 ** -0.5 times 0."""
    x = torch.tensor([[0.0]], dtype=dtype, requires_grad=True)
    loss = ops.quality_focal_loss(x, torch.full_like(x, 0.5).detach(), 0.5)
    assert with_gradient(loss, x)[1].item() == 0


def test_unmatched_elements_count_for_no_quality() -> None:
    x, m = torch.randn(5, 3), torch.zeros(5, 3, dtype=torch.bool)
    one, other = torch.zeros(5, 3), torch.full((5, 3), 0.7)
    for op in (ops.matched_varifocal_loss, ops.matchability_aware_loss, ops.iou_aware_bce_loss):
        assert torch.equal(op(x, one, m), op(x, other, m))


@DTYPES
@pytest.mark.parametrize("margin", [0.0, 0.01, 0.1])
def test_distances_beyond_the_bins_are_moved_and_left_to_the_caller(
    margin: float, dtype: torch.dtype
) -> None:
    target = torch.tensor([-3.0, -0.5, 0.0, 3.0, 4.0, 100.0], dtype=dtype)
    given, logits = target.clone(), torch.randn(6, 5, dtype=dtype)
    loss = ops.distribution_focal_loss(logits, target, margin)
    assert torch.equal(target, given)
    moved = target.clamp(0, 4 - margin)
    torch.testing.assert_close(loss, ops.distribution_focal_loss(logits, moved, margin))
    left = moved.long().clamp(max=3)
    share = (moved - left)[:, None]
    both = -torch.log_softmax(logits, 1)
    pick = both.gather(1, left[:, None]) * (1 - share) + both.gather(1, left[:, None] + 1) * share
    torch.testing.assert_close(loss, pick[:, 0], rtol=1e-5, atol=1e-6)


def test_a_sure_distribution_costs_what_is_left() -> None:
    """log-softmax in float32 rounds this to 0, and its slope with it."""
    x = torch.tensor([[0.0, 60.0, 0.0]], requires_grad=True)
    loss, grad = with_gradient(ops.distribution_focal_loss(x, torch.tensor([1.0])), x)
    assert loss.item() == pytest.approx(2 * math.exp(-60), rel=1e-5)
    assert grad[0].tolist() == pytest.approx([math.exp(-60), -2 * math.exp(-60), math.exp(-60)])


def test_one_bin_costs_nothing() -> None:
    x = torch.tensor([[5.0]], requires_grad=True)
    loss, grad = with_gradient(ops.distribution_focal_loss(x, torch.tensor([3.0])), x)
    assert loss.item() == grad.item() == 0

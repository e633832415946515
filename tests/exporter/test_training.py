"""Gradient descent on the exported graph in onnxruntime alone stays with eager PyTorch."""

import numpy as np
import pytest
import torch

from lossexport import ops
from lossexport.catalog import CATALOG
from lossexport.catalog.draw_boxes import jittered
from lossexport.ops import native
from lossexport.runtime import load
from tests.exporter.conftest import EVERY_OP, exported


def trained(name: str) -> bool:
    """Whether an op is a loss whose later steps rounding does not change.

    It may change an assignment, and which way a box turns.
    """
    op = CATALOG[name]
    assigns = "valid" in [tensor.name for tensor in op.inputs]
    return op.kind == "loss" and not assigns and op.inputs[0].shape != ("N", 5)


LOSSES = [param for param in EVERY_OP if trained(str(param.values[0]))]
STEPS = 200
RATE = 0.05


def start(name: str) -> dict[str, np.ndarray]:
    """Inputs to train from; boxes of sides of 2 to 10, so that one rate serves them all."""
    spec = CATALOG[name]
    rng = np.random.default_rng(7)
    dims = {"N": 32, "C": 5, "D": 4, "K": 96}
    drawn = next(iter(spec.samplers.values()))(rng, dims, spec.resolve({}))
    if spec.name in ("iou_loss", "giou_loss", "diou_loss", "ciou_loss"):
        low = rng.uniform(0, 20, (32, 2))
        drawn["target"] = np.concatenate((low, low + rng.uniform(2, 10, (32, 2))), axis=1)
        drawn["pred"] = jittered(rng, drawn["target"], 0.2)
    kinds = {"f": np.float32, "i": np.int64, "b": np.bool_}
    arrays = {tensor.name: drawn[tensor.name] for tensor in spec.inputs}
    return {name: array.astype(kinds[array.dtype.kind]) for name, array in arrays.items()}


@pytest.mark.parametrize("name", LOSSES)
def test_two_hundred_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A kernel rounds otherwise, and steps at a corner of a loss may then go another way.
    monkeypatch.setattr(native, "attempt", lambda *_: None)
    spec = CATALOG[name]
    session = load(exported(name) / f"{name}.grad.onnx", "ort")
    arrays = start(name)
    eager = {key: torch.from_numpy(value.copy()) for key, value in arrays.items()}
    losses = []
    for _ in range(STEPS):
        outputs = session(**arrays)
        for key in spec.gradient:
            arrays[key] = arrays[key] - np.float32(RATE) * outputs[f"grad_{key}"]
        leaves = {key: eager[key].clone().requires_grad_() for key in spec.gradient}
        results = getattr(ops, name)(**{**eager, **leaves})
        results = results if isinstance(results, tuple) else (results,)
        gradients = torch.autograd.grad(results[0].sum(), list(leaves.values()))
        for key, gradient in zip(leaves, gradients, strict=True):
            eager[key] = eager[key] - RATE * gradient
        names = [tensor.name for tensor in spec.outputs]
        for before, after in spec.state.items():
            arrays[before] = outputs[after]
            eager[before] = results[names.index(after)].detach()
        losses.append(float(outputs[spec.outputs[0].name].sum()))
    # It did train; a loss with state weighs every step anew, so its value need not fall.
    assert spec.state or losses[-1] < losses[0]
    for key in spec.gradient:
        moved = np.abs(arrays[key] - start(name)[key]).max()
        assert moved > 0.01
        apart = np.abs(arrays[key] - eager[key].numpy()).max()
        assert apart <= 1e-3 * moved, f"{key} moved by {moved} and is {apart} apart"

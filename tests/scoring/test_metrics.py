"""Box quality through the shipped artifacts."""

from importlib.resources import files

import numpy as np
import pytest

from lossexport.errors import LossexportError
from lossexport.runtime import native
from lossexport.runtime.native import kernels
from lossexport.scoring import metrics
from lossexport.scoring.metrics import METRICS, BoxQuality, open_artifact, quality

pytestmark = pytest.mark.skipif(
    not (files("lossexport") / "artifacts" / "box_iou.onnx").is_file(),
    reason="the artifacts are not built: run the exporter",
)


def boxes(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    ref = rng.uniform(0, 400, (count, 2)).astype(np.float32)
    ref = np.hstack([ref, ref + rng.uniform(5, 200, (count, 2)).astype(np.float32)])
    return ref + rng.uniform(-2, 2, (count, 4)).astype(np.float32), ref


def exact(pred: np.ndarray, ref: np.ndarray) -> dict[str, np.ndarray]:
    """The four metrics in float64."""
    p, r = pred.astype(np.float64), ref.astype(np.float64)
    size_p, size_r = p[:, 2:] - p[:, :2], r[:, 2:] - r[:, :2]
    cover = np.clip(np.minimum(p[:, 2:], r[:, 2:]) - np.maximum(p[:, :2], r[:, :2]), 0, None)
    hull = np.maximum(p[:, 2:], r[:, 2:]) - np.minimum(p[:, :2], r[:, :2])
    inside, around = cover.prod(1), hull.prod(1)
    union = size_p.prod(1) + size_r.prod(1) - inside
    iou = inside / union
    shift = (((p[:, :2] + p[:, 2:] - r[:, :2] - r[:, 2:]) / 2) ** 2).sum(1)
    diou = iou - shift / ((hull**2).sum(1) + 1e-7)
    angle = np.arctan(size_r[:, 0] / size_r[:, 1]) - np.arctan(size_p[:, 0] / size_p[:, 1])
    v = 4 / np.pi**2 * angle**2
    return {
        "iou": iou,
        "giou": iou - (around - union) / around,
        "diou": diou,
        "ciou": diou - v * v / (1 - iou + v + 1e-7),
    }


def test_equals_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    pred, ref = boxes(1000)
    wanted = exact(pred, ref)
    whole = quality(pred, ref)
    monkeypatch.setattr(metrics, "ROWS_AT_ONCE", 7)
    pieces = quality(pred, ref)
    for name in METRICS:
        assert whole[name].dtype == np.float32
        np.testing.assert_allclose(whole[name], wanted[name], atol=2e-6)
        # A runtime may round the last bits of a row by where it stands in the batch.
        np.testing.assert_allclose(whole[name], pieces[name], atol=5e-7)


def test_no_pairs_and_equal_boxes() -> None:
    measure = BoxQuality("ort")
    assert measure.backend == "ort"
    assert {name: len(values) for name, values in measure(*boxes(0)).items()} == dict.fromkeys(
        METRICS, 0
    )
    _, ref = boxes(3)
    assert all((values == 1).all() for values in measure(ref, ref).values())


@pytest.mark.skipif(not kernels(), reason="no library of native kernels")
def test_native_is_the_default_and_agrees_with_onnxruntime() -> None:
    pred, ref = boxes(1000)
    assert BoxQuality().backend == BoxQuality("native").backend == "native"
    ours, theirs = quality(pred, ref), quality(pred, ref, "ort")
    for name in METRICS:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=5e-6)


@pytest.mark.skipif(not kernels(), reason="no library of native kernels")
def test_all_of_scoring_has_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("box_iou", "box_giou", "box_diou", "box_ciou", "localization_confidence"):
        assert open_artifact(name, None).backend == "native"
    monkeypatch.setattr(native, "kernels", frozenset)
    with pytest.raises(LossexportError, match="no native kernel of box_iou"):
        BoxQuality("native")


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(LossexportError, match="abacus"):
        BoxQuality("abacus")

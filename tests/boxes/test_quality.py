"""Box quality through the shipped artifacts."""

from importlib.resources import files

import numpy as np
import pytest

from lossexport.boxes import quality as metrics
from lossexport.boxes.quality import BoxQuality, corners, open_artifact
from lossexport.errors import LossexportError
from lossexport.names import METRICS
from lossexport.runtime import binding, native
from lossexport.runtime.native import kernels

pytestmark = pytest.mark.skipif(
    not (files("lossexport") / "graphs" / "box_iou.onnx").is_file(),
    reason="the artifacts are not built: run the exporter",
)


def boxes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of x, y, width, height."""
    rng = np.random.default_rng(3)
    ref = np.hstack([rng.uniform(0, 400, (count, 2)), rng.uniform(5, 200, (count, 2))])
    return ref + rng.uniform(-2, 2, (count, 4)), ref


def exact(pred: np.ndarray, ref: np.ndarray) -> dict[str, np.ndarray]:
    """The four metrics in float64."""
    p, r = (np.hstack([b[:, :2], b[:, :2] + b[:, 2:]]) for b in (pred, ref))
    size_p, size_r = pred[:, 2:], ref[:, 2:]
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
    whole = BoxQuality()(pred, ref)
    monkeypatch.setattr(metrics, "ROWS_AT_ONCE", 7)
    pieces = BoxQuality()(pred, ref)
    for name in METRICS:
        assert whole[name].dtype == np.float32
        np.testing.assert_allclose(whole[name], wanted[name], atol=2e-6)
        # A runtime may round the last bits of a row by where it stands in the batch.
        np.testing.assert_allclose(whole[name], pieces[name], atol=5e-7)


def test_where_a_pair_lies_changes_nothing() -> None:
    measure = BoxQuality()
    pred, ref = boxes(1000)
    near = exact(pred, ref)
    origin = np.array([4_500_000.0, 600_000.0, 0, 0])
    far = measure(pred + origin, ref + origin)
    for name in METRICS:
        np.testing.assert_allclose(far[name], near[name], atol=2e-6)
    narrow = np.array([[4_500_000.3, 600_000.2, 0.2, 0.2]])
    assert {name: values.item() for name, values in measure(narrow, narrow).items()} == (
        dict.fromkeys(METRICS, 1.0)
    )


def test_corners_count_from_the_origin() -> None:
    box, origin = np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[0.5, 3.0, 7.0, 7.0]])
    assert corners(box, origin).tolist() == [[0.5, -1, 3.5, 3]]
    assert corners(box, box).dtype == np.float32


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
    ours, theirs = BoxQuality("native")(pred, ref), BoxQuality("ort")(pred, ref)
    for name in METRICS:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=5e-6)


@pytest.mark.skipif(not kernels(), reason="no library of native kernels")
def test_all_of_scoring_has_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("box_iou", "box_giou", "box_diou", "box_ciou", "localization_confidence"):
        assert open_artifact(name, None).backend == "native"
    for module in (binding, native):
        monkeypatch.setattr(module, "kernels", frozenset)
    with pytest.raises(LossexportError, match="no native kernel of box_iou"):
        BoxQuality("native")


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(LossexportError, match="abacus"):
        BoxQuality("abacus")

"""Quality without references: read, estimated, summed up and held against the IoU of the pairs."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from lossexport import formats
from lossexport.boxes import boxset
from lossexport.boxes import quality as metrics
from lossexport.errors import LossexportError
from lossexport.scoring import confidence, score
from tests.boxes.helpers import coco, found, truth


def estimate(box: Any, log_variance: Any) -> float:
    """The formula in float64, box as x, y, width, height."""
    off = [math.exp(value / 2) * math.sqrt(2 / math.pi) for value in log_variance]
    return 1 / (1 + (off[0] + off[2]) / box[2] + (off[1] + off[3]) / box[3])


def write(folder: Path, detections: Any, references: Any) -> tuple[Path, Path]:
    pred, ref = folder / "pred.json", folder / "ref.json"
    pred.write_text(json.dumps(detections))
    ref.write_text(json.dumps(references))
    return pred, ref


def noisy(count: int, seed: int = 5) -> tuple[list[Any], dict[str, Any]]:
    """Detections whose corners are off by the Gaussian errors that they predict."""
    rng = np.random.default_rng(seed)
    detections, annotations = [], []
    for place in range(count):
        true = np.array([200.0 * place, 0, 200.0 * place + 100, 80])
        sigma = 10 ** rng.uniform(-0.5, 1.0) * rng.uniform(0.5, 2, 4)
        x1, y1, x2, y2 = true + rng.normal(0, 1, 4) * sigma
        detections.append(found(1, 1, 0.9, x1, y1, x2 - x1, y2 - y1))
        detections[-1]["log_variance"] = list(2 * np.log(sigma))
        annotations.append(truth(1, 1, 200.0 * place, 0, 100, 80))
    return detections, coco(annotations)


def test_some_rows_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detections = [
        found(1, 1, 0.9, 0, 0, 10, 8),
        {**found(1, 1, 0.8, 50, 50, 20, 10), "log_variance": [0, 1, -2, 3.5]},
        {**found(1, 2, 0.7, 0, 0, 9, 10), "log_variance": [-200, -200, -200, -200]},
        {**found(1, 2, 0.6, 30, 0, 0, 10), "log_variance": [0, 0, 0, 0]},
        {**found(2, 2, 0.6, 30, 0, -5, 10), "log_variance": [0, 200, 0, 0]},
        {**found(2, 2, 0.5, 0, 0, 5, 10), "log_variance": None},
    ]
    references = coco(
        [truth(1, 1, 0, 0, 10, 10), truth(1, 2, 0, 0, 10, 10), truth(2, 1, 0, 0, 4, 4)]
    )
    pair = write(tmp_path, detections, references)
    monkeypatch.setattr(metrics, "ROWS_AT_ONCE", 2)
    summary = score(*pair, out=tmp_path / "out")
    rows = parquet.read_table(tmp_path / "out/boxes.parquet").to_pylist()
    assert [row["status"] for row in rows][:3] == ["matched", "unmatched", "matched"]
    values = [None, estimate((50, 50, 20, 10), [0, 1, -2, 3.5]), 1.0, 0.0, 0.0, None, None]
    assert len(rows) == len(values)
    for row, value in zip(rows, values, strict=True):
        assert row["quality"] == (None if value is None else pytest.approx(value, rel=1e-6))
    known = [value for value in values if value is not None]
    block = summary["quality"]
    assert (block["count"], block["pairs"], block["spearman"]) == (4, 1, None)
    assert block["mean"] == pytest.approx(np.mean(known), rel=1e-6)
    assert block["p95"] == pytest.approx(np.percentile(known, 95), rel=1e-6)
    page = (tmp_path / "out/report.html").read_text()
    assert "Quality that the detector predicts" in page
    assert page.count("<figcaption><h3>") == 10


def test_the_first_block_may_have_none(tmp_path: Path) -> None:
    plain = found(1, 1, 0.5, 1, 2, 3, 4)
    filler = {**plain, "segmentation": "x" * 5000}
    detections = [filler] * 400 + [{**plain, "log_variance": [1, 2, 3, 4]}] + [filler] * 400
    data = formats.read(*write(tmp_path, detections, coco([truth(1, 1, 0, 0, 1, 1)])), "coco")
    column = data.predictions.log_variance
    assert column is not None
    assert column.shape == (801, 4)
    assert column[400].tolist() == [1, 2, 3, 4]
    assert np.isnan(np.delete(column, 400, axis=0)).all()
    data = formats.read(*write(tmp_path, [filler] * 400, coco([])), "coco")
    assert data.predictions.log_variance is None


def test_what_gaussian_corners_predict_comes_true(tmp_path: Path) -> None:
    pair = write(tmp_path, *noisy(1500))
    summary = score(*pair, iou_threshold=0.05, out=tmp_path / "out")
    block = summary["quality"]
    assert block["count"] == block["pairs"] == 1500
    assert block["spearman"] > 0.8
    assert block["mean"] == pytest.approx(summary["iou"]["mean"], abs=0.02)
    table = parquet.read_table(tmp_path / "out/boxes.parquet").to_pydict()
    predicted, real = (np.array(table[name], np.float64) for name in ("quality", "iou"))
    x, y = confidence.bins(predicted, real)
    assert len(x) == confidence.BINS
    assert (np.diff(x) > 0).all()
    np.testing.assert_allclose(x, y, atol=0.05)
    assert y @ np.full(10, 0.1) == pytest.approx(real.mean(), abs=1e-6)
    # A detector that is certain and wrong: the rows of the first file, the variances of others.
    detections, references = noisy(1500)
    others = [row["log_variance"] for row in noisy(1500, seed=6)[0]]
    for row, other in zip(detections, others, strict=True):
        row["log_variance"] = other
    shuffled = score(*write(tmp_path, detections, references), iou_threshold=0.05)
    assert abs(shuffled["quality"]["spearman"]) < 0.15


def test_rank_correlation_with_ties_and_without_a_value() -> None:
    def by_hand(a: list[float], b: list[float]) -> float:
        first, second = (
            [sum(y < x for y in v) + (sum(y == x for y in v) + 1) / 2 for x in v] for v in (a, b)
        )
        return float(np.corrcoef(first, second)[0, 1])

    rng = np.random.default_rng(2)
    for _ in range(20):
        a, b = (rng.integers(0, 6, 15).astype(float) for _ in range(2))
        wanted = by_hand(a.tolist(), b.tolist())
        assert confidence.rank_correlation(a, b) == pytest.approx(wanted, abs=1e-12)
    rising = np.arange(5.0)
    assert confidence.rank_correlation(rising, np.exp(rising)) == pytest.approx(1)
    assert confidence.rank_correlation(rising, -rising) == pytest.approx(-1)
    for none in (rising[:1], rising[:0], np.ones(5)):
        assert confidence.rank_correlation(none, none) is None


def test_equal_estimates_share_a_bin() -> None:
    x, y = confidence.bins(np.full(7, 0.5), np.linspace(0.4, 1, 7))
    assert (x.tolist(), y.tolist()) == ([0.5], pytest.approx([0.7]))


def test_gates(tmp_path: Path) -> None:
    gates = {"quality_mean": 0.2, "quality_spearman": 0.999, "quality_pairs": 40}
    summary = score(*write(tmp_path, *noisy(40)), iou_threshold=0.05, fail_below=gates)
    (failure,) = summary["gate_failures"]
    assert failure.startswith("quality_spearman is 0.")
    with pytest.raises(LossexportError, match="quality_spearman"):
        score(*write(tmp_path, *noisy(2)), fail_below={"quality_iou": 0})


BAD = [
    ("[0, 0, 0, 201]", r"\[1\]\.log_variance\[3\] is 201.0: must be from -200 to 200"),
    ("[0, -1e6, 0, 0]", r"\[1\]\.log_variance\[1\] is -1000000.0: must be from -200 to 200"),
    ("[0, 0, 1e999, 0]", r"pred\.json.*log_variance"),
    ("[0, 0, NaN, 0]", r"pred\.json"),
    ("[0, 0, 0]", r"pred\.json.*\[1\].log_variance"),
    ('"a"', r"pred\.json.*\[1\].log_variance"),
    ("[0, 0, null, 0]", r"pred\.json.*\[1\].log_variance"),
]


@pytest.mark.parametrize(("value", "message"), BAD)
def test_bad_values_are_refused(tmp_path: Path, value: str, message: str) -> None:
    pred, ref = write(tmp_path, [], coco([truth(1, 1, 0, 0, 1, 1)]))
    row = json.dumps(found(1, 1, 0.5, 0, 0, 1, 1))[:-1]
    first = '"log_variance": [0, 0, 0, 0]}'
    pred.write_text(f'[{row}, {first}, {row}, "log_variance": {value}}}]')
    with pytest.raises(LossexportError, match=message) as caught:
        score(pred, ref, out=tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_bound_is_the_domain_of_the_op() -> None:
    from lossexport import catalog

    _, log_variance = catalog.CATALOG["localization_confidence"].inputs
    bound = f"-{boxset.MAX_LOG_VARIANCE:g} to {boxset.MAX_LOG_VARIANCE:g}"
    assert log_variance.domain.endswith(bound)

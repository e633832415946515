"""`matrix_nms` and `weighted_boxes_fusion` against vectors of the published code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lossexport import ops

OPS: Any = ops  # vectors say which arguments they have
GOLDEN = Path(__file__).parents[1] / "golden"
INDEX = json.loads((GOLDEN / "index.json").read_text())["entries"]


def _entries(system: str) -> pytest.MarkDecorator:
    found = [entry for entry in INDEX if entry["system"] == system]
    assert found
    return pytest.mark.parametrize("entry", found, ids=lambda entry: entry["case"])


def _loaded(entry: Any, dtype: torch.dtype) -> tuple[list[Any], dict[str, Any]]:
    with np.load(GOLDEN / entry["file"]) as file:
        arrays = {name: file[name] for name in file.files}
    given = [torch.from_numpy(arrays[name]) for name in entry["inputs"]]
    return [x.to(dtype) if x.is_floating_point() else x for x in given], arrays


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@_entries("matrix_nms")
def test_matrix_nms_gives_the_published_scores(entry: Any, dtype: torch.dtype) -> None:
    given, arrays = _loaded(entry, dtype)
    indices, scores, count = OPS.matrix_nms(*given, **entry["parameters"])
    wanted = arrays.get("scores_updated_safe", arrays["scores_updated"])
    found = indices[:count].numpy()
    near = np.abs(wanted - 0.001) < 1e-6
    assert set(found) == set(np.flatnonzero((wanted >= 0.001) & ~near))
    tolerance = entry["tolerance"][str(dtype).removeprefix("torch.")]
    np.testing.assert_allclose(scores[:count].numpy(), wanted[found], **tolerance)
    assert (np.diff(scores[:count].numpy()) <= 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@_entries("weighted_boxes_fusion")
def test_weighted_boxes_fusion_gives_the_published_boxes(entry: Any, dtype: torch.dtype) -> None:
    given, arrays = _loaded(entry, dtype)
    parameters = entry["parameters"]
    boxes, scores, labels, count = OPS.weighted_boxes_fusion(
        *given,
        iou_threshold=parameters["iou_thr"],
        skip_threshold=parameters["skip_box_thr"],
        mode=parameters["conf_type"],
        weights=parameters["weights"],
        allows_overflow=parameters["allows_overflow"],
    )
    wanted = arrays["boxes_out"].reshape(-1, 4), arrays["scores_out"], arrays["labels_out"]
    assert int(count) == len(wanted[1])
    # Equal scores may be in any order.
    ours = np.column_stack([x[:count].numpy().astype(float) for x in (scores, labels, boxes)])
    theirs = np.column_stack([wanted[1], wanted[2], wanted[0]])
    ours, theirs = (x[np.lexsort(np.round(x, 5).T[::-1])] for x in (ours, theirs))
    tolerance = entry["tolerance"][str(dtype).removeprefix("torch.")]
    np.testing.assert_allclose(ours, theirs, **tolerance)
    assert (labels[count:] == -1).all()
    assert (scores[count:] == 0).all()


def test_where_the_published_code_divides_0_by_0_scores_are_finite() -> None:
    with np.load(GOLDEN / "matrix_nms__linear_identical.npz") as file:
        assert np.isnan(file["scores_updated"]).any()
        given = [torch.from_numpy(file[name]) for name in ("boxes", "scores", "labels")]
    indices, scores, count = OPS.matrix_nms(*given, kernel="linear")
    assert np.isfinite(scores.numpy()).all()
    assert 2 not in indices[:count].tolist()

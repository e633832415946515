"""`attach` decodes and picks boxes as detectors give them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lossexport import ops
from lossexport.runtime import load
from lossexport.wiring.attach import attach
from tests.wiring.toy import IMAGES, OUTPUT, arguments, toy, traced_once  # noqa: F401


def test_variances_of_corner_deltas_give_boxes_and_their_quality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain that docs/scoring.md gives for a detector trained with `kl_loss`."""
    path = toy(tmp_path)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    low = np.repeat(rng.uniform(0, 300, (2, 2)), 3, axis=0) + rng.uniform(0, 9, (6, 2))
    anchors = np.concatenate((low, low + rng.uniform(40, 80, (6, 2))), axis=1)
    scale = np.tile(anchors[:, 2:] - anchors[:, :2], 2) / 10
    np.save("anchors.npy", anchors)
    np.save("scale.npy", scale)
    np.save("shift.npy", 2 * np.log(scale))
    corners = "'@anchors.npy' + output[0,:,0:4] * '@scale.npy'"
    log_variance = "output[0,:,4:8] + '@shift.npy'"
    attach(
        **arguments(
            path,
            op="variance_voting",
            inputs={"boxes": corners, "scores": "output[0,:,0]", "log_variance": log_variance},
            attributes={"max_output": 8, "score_threshold": 0.3},
        )
    )
    out = path.with_name("out.onnx")
    inputs = {"boxes": "new_boxes", "log_variance": f"take({log_variance}, indices)"}
    done = attach(**arguments(out, op="localization_confidence", inputs=inputs, out=out))
    assert done.outputs == ("quality float32[8]",)
    found = load(out)(images=IMAGES)

    rows = torch.tensor(OUTPUT[0], dtype=torch.float64)
    boxes = torch.tensor(anchors) + rows[:, :4] * torch.tensor(scale)
    # sigma of a corner in pixels = sigma of its delta * side of the anchor / weight
    spread = torch.exp(rows[:, 4:] / 2) * torch.tensor(scale)
    variance = 2 * torch.log(spread)
    indices, new_boxes, scores, count = ops.variance_voting(
        boxes, rows[:, 0], variance, max_output=8, score_threshold=0.3
    )
    assert 2 <= count < 8
    picked = variance[indices.clamp(min=0)]
    quality = ops.localization_confidence(new_boxes, picked)
    np.testing.assert_array_equal(found["indices"], indices)
    np.testing.assert_allclose(found["new_boxes"], new_boxes, rtol=1e-5)
    np.testing.assert_allclose(found["new_scores"], scores, atol=1e-6)
    np.testing.assert_allclose(found["quality"], quality, atol=1e-6)
    assert (found["quality"][:count] > 0.1).all()
    assert (found["quality"][count:] == 0).all()


@pytest.mark.parametrize("op", ["nms", "diou_nms", "cluster_nms", "soft_nms"])
def test_nan_of_a_detector_is_never_picked(tmp_path: Path, op: str) -> None:
    path = toy(tmp_path)
    inputs = {"boxes": "output[0,:,:4]", "scores": "output[0,:,4]"}
    attach(**arguments(path, op=op, inputs=inputs, attributes={"max_output": 7}))
    images = IMAGES.copy()
    flat = images.reshape(6, 8)
    flat[[1, 4], 4] = -1  # a score, after the root
    flat[2, 1] = -1  # a corner
    found = load(path.with_name("out.onnx"))(images=images)
    rows = torch.tensor(found["output"][0])
    assert rows.isnan().sum() == 3
    expected = getattr(ops, op)(rows[:, :4], rows[:, 4], max_output=7)
    np.testing.assert_array_equal(found["indices"], expected[0])
    picked = found["indices"][found["indices"] >= 0]
    assert len(picked) == found["count"] > 0
    assert not set(picked) & {1, 2, 4}

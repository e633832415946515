"""Variants of suppression: bad attributes are named, and what is exported agrees."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from lossexport import ops
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.files import write_bytes
from lossexport.runtime import load

BAD = [
    ("nms", {"iou_threshold": -0.1}, r"nms: iou_threshold=-0.1: must be in \[0, 1\]"),
    ("diou_nms", {"iou_threshold": math.nan}, "diou_nms: iou_threshold=nan: must be finite"),
    (
        "cluster_nms",
        {"score_threshold": -1},
        r"cluster_nms: score_threshold=-1: must be in \[0, 1e\+06\]",
    ),
    ("nms", {"max_output": 0}, r"nms: max_output=0: must be in \[1, 65536\]"),
    ("soft_nms", {"max_output": 2.5}, "soft_nms: max_output=2.5: must be a whole number"),
    ("diou_nms", {"beta": 0.0}, r"diou_nms: beta=0.0: must be in \[0.001, 1000\]"),
    ("soft_nms", {"sigma": 0.0}, "soft_nms: sigma=0.0: must be in"),
    ("variance_voting", {"method": "hardest"}, "method='hardest': must be one of soft, hard"),
    ("variance_voting", {"sigma_t": -1}, "variance_voting: sigma_t=-1: must be in"),
    ("cluster_nms", {"metric": "giou"}, "metric='giou': must be one of iou, diou"),
]


@pytest.mark.parametrize(("name", "given", "message"), BAD)
def test_bad_attributes_are_named(name: str, given: dict[str, Any], message: str) -> None:
    inputs = [torch.zeros(1, 4), torch.zeros(1), torch.zeros(1, 4)][: len(CATALOG[name].inputs)]
    with pytest.raises(LossexportError, match=message):
        getattr(ops, name)(*inputs, **given)
    with pytest.raises(LossexportError, match=message):
        Variant.make(CATALOG[name], given)


def test_an_artifact_too_large_for_all_pairs_is_refused() -> None:
    with pytest.raises(LossexportError, match="cluster_nms: a temporary would have 2500000000"):
        Variant.make(CATALOG["cluster_nms"], ranges={"N": Range(1, 1000, 50000)})


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("cluster_nms", {"metric": "diou", "beta": 0.6, "max_output": 20}),
        ("variance_voting", {"offset": 1.0, "max_output": 20}),
    ],
)
def test_artifacts_loop_and_agree(name: str, given: dict[str, Any], tmp_path: Path) -> None:
    op = CATALOG[name]
    data = onnx_bytes(Variant.make(op, given))
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    (function,) = model.functions
    loops = [node for node in function.node if node.op_type == "Loop"]
    assert len(loops) == 1
    inner = list(loops[0].attribute[0].g.node)
    kinds = {node.op_type for node in (*function.node, *inner)}
    assert not kinds & {"NonZero", "ScatterND", "ScatterElements", "TopK", "NonMaxSuppression"}
    # One name a node, and nothing of the exporter's own metadata.
    names = [node.name for node in (*function.node, *inner)]
    assert len(set(names)) == len(names)
    assert not any(node.metadata_props for node in inner)
    assert b"pkg.torch" not in data

    path = tmp_path / f"{name}.onnx"
    write_bytes(path, data)
    session = load(path, "ort")
    for n in (0, 1, 2, 50, 700):
        sampler = op.samplers["adversarial" if n == 50 else "ordinary"]
        drawn = sampler(np.random.default_rng(n), {"N": n}, op.resolve(given))
        arrays = {key: value.astype(np.float32) for key, value in drawn.items()}
        eager = getattr(ops, name)(*(torch.from_numpy(a) for a in arrays.values()), **given)
        found = session(**arrays)
        for tensor, result in zip(op.outputs, eager, strict=True):
            if tensor.dtype == "int64":
                np.testing.assert_array_equal(found[tensor.name], result.numpy())
            else:
                np.testing.assert_allclose(found[tensor.name], result.numpy(), 1e-4, 1e-4)

"""A second opinion: Polygraphy runs our file and its comparator agrees with ours."""

from pathlib import Path

import numpy as np
import pytest

import lossexport
import lossexport.runtime
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.parity.cases import Case
from lossexport.parity.measure import feed
from lossexport.parity.oracle import oracle


def test_polygraphy_agrees(tmp_path: Path) -> None:
    onnxrt = pytest.importorskip("polygraphy.backend.onnxrt")
    from polygraphy.comparator import IterationResult, SimpleCompareFunc

    lossexport.export("pairwise_ciou", tmp_path)
    variant = Variant.make(CATALOG["pairwise_ciou"])
    inputs = Case.parse("structured:N=33,M=256:0", variant).inputs(variant)
    session = onnxrt.SessionFromOnnx(str(tmp_path / "pairwise_ciou.onnx"), providers=["cpu"])
    with onnxrt.OnnxrtRunner(session) as runner:
        theirs = runner.infer(feed(variant, inputs))["score"]
    ours = lossexport.runtime.load(tmp_path / "pairwise_ciou.onnx", "ort")(**feed(variant, inputs))
    np.testing.assert_array_equal(theirs, ours["score"])
    expected = oracle(variant, inputs)["score"].astype(np.float32)
    agree = SimpleCompareFunc(atol=5e-6, rtol=0)(
        IterationResult({"score": theirs}), IterationResult({"score": expected})
    )
    assert agree["score"]

"""Engines for large class counts: built, or refused with the largest size that builds."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import lossexport
from lossexport.catalog import find
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError
from lossexport.exporter import engine
from lossexport.exporter.onnx_file import onnx_bytes


# Those that TensorRT-RTX 1.7 refuses to tune for 80 classes, each at one or both of the sizes.
@pytest.mark.parametrize(
    ("name", "gradient"),
    [("softmax_focal_loss", False), ("anchor_loss", True), ("sce_loss", True)],
)
def test_large_vocabularies_build(name: str, gradient: bool) -> None:
    variant = Variant.make(find(name), gradient=gradient)
    model = onnx_bytes(variant)
    shapes = {tensor.name: variant.shape(tensor) for tensor in variant.op.inputs}
    for classes in (1203, 9605):  # LVIS, Objects365 and more
        ranges = {"N": Range(1, 256, 65536), "C": Range(1, 80, classes)}
        data, built = engine.build_tuned(model, shapes, ranges)
        assert data[:4] == b"vtrt"
        for dim, size in built.items():
            assert (size.min, size.max) == (ranges[dim].min, ranges[dim].max)
            assert ranges[dim].opt <= size.opt <= size.max


def fake(
    monkeypatch: pytest.MonkeyPatch, builds: Callable[[Mapping[str, Range]], str]
) -> list[dict[str, Range]]:
    """A builder that builds what `builds` says; the ranges that it is asked for."""
    asked: list[dict[str, Range]] = []

    def build(
        builder: str,
        model: bytes,
        shapes: object,
        ranges: Mapping[str, Range],
        capabilities: object,
    ) -> bytes:
        asked.append(dict(ranges))
        if reason := builds(ranges):
            raise engine._BuilderError(reason)
        return b"vtrt"

    monkeypatch.setattr(engine, "_build", build)
    monkeypatch.setattr(engine, "module", lambda builder: None)
    return asked


RANGES = {"N": Range(1, 1, 64), "C": Range(1, 80, 9605)}


def test_it_is_tuned_for_the_least_that_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, lambda sizes: engine._NO_PLAN if sizes["C"].opt < 600 else "")
    built = engine.build_tuned(b"", {}, RANGES)[1]
    assert built == {"N": Range(1, 8, 64), "C": Range(1, 640, 9605)}


@pytest.mark.parametrize("reason", ["out of resources", f"Myelin: {engine._NO_PLAN}"])
def test_a_refusal_has_the_reason_and_the_largest_size(
    reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fake(monkeypatch, lambda sizes: reason if sizes["C"].max > 4321 else "")
    with pytest.raises(LossexportError) as caught:
        engine.build(b"", {}, RANGES)
    assert str(caught.value) == f"rtx builder: {reason}; it builds with C up to 4321"
    assert len(asked) < 150


def test_a_refusal_of_every_size_has_the_reason_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, lambda sizes: "no such layer")
    with pytest.raises(LossexportError, match=r"^rtx builder: no such layer$"):
        engine.build(b"", {}, RANGES)
    with pytest.raises(LossexportError, match=r"^rtx builder: no such layer$"):
        engine.build(b"", {}, {"N": Range(8, 8, 8)})


def test_the_manifest_has_the_sizes_that_were_built(tmp_path: Path) -> None:
    lossexport.export(
        "softmax_focal_loss", tmp_path, formats=["onnx", "engine"], shapes={"C": "1:80:9605"}
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    built, exported = (entry["profile"]["C"] for entry in manifest["artifacts"])
    assert exported == {"min": 1, "opt": 80, "max": 9605}
    assert (built["min"], built["max"]) == (1, 9605)
    assert built["opt"] >= 80
    cases = {p["cases"] for entry in manifest["artifacts"] for p in entry["parity"]}
    assert cases == {0, 38}
    report = lossexport.verify(tmp_path, backends=["rtx"])
    assert [file.variant.ranges["C"].max for file in report.files] == [9605]


def test_a_refused_engine_is_refused_before_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, lambda sizes: "no such layer")
    monkeypatch.setattr("lossexport.parity.quick.check", lambda *_: pytest.fail("too late"))
    with pytest.raises(LossexportError, match=r"^box_iou: rtx builder: no such layer$"):
        lossexport.export("box_iou", tmp_path / "out", formats=["engine"])
    assert not list(tmp_path.iterdir())


def test_sizes_beyond_comparison_are_refused_before_the_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lossexport.exporter.onnx_file.onnx_bytes", lambda *_: pytest.fail("too late")
    )
    shapes = {"N": 65536, "C": 9605}
    message = r"629473280 elements .* smaller least size, as N=1:65536:65536$"
    with pytest.raises(LossexportError, match=message):
        lossexport.export("dr_loss", tmp_path / "out", shapes=shapes)
    assert not list(tmp_path.iterdir())

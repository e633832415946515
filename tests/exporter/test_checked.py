"""What an export takes from the cache, and what its helpers put there."""

import subprocess
import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

import lossexport
from lossexport import cache
from lossexport.catalog import CATALOG, Op, Tensor
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError
from lossexport.exporter import checked, engine, helpers, onnx_file
from lossexport.names import FileFormat
from lossexport.parity import quick

IOU = Variant.make(CATALOG["box_iou"])


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "kept"
    monkeypatch.setenv(cache.ENVIRONMENT, str(folder))
    return folder


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """After this, nothing can be made any more."""

    def fail(*args: object) -> None:
        pytest.fail("made again")

    monkeypatch.setattr(onnx_file, "onnx_bytes", fail)
    monkeypatch.setattr(quick, "check", fail)
    monkeypatch.setattr(engine, "build_tuned", fail)


def test_the_second_export_is_that_of_the_first(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    formats: tuple[FileFormat, ...] = ("onnx", "engine")
    lossexport.export("box_iou", tmp_path / "first", formats=formats)
    request.getfixturevalue("finished")
    lossexport.export("box_iou", tmp_path / "second", formats=formats)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == ["box_iou.engine", "box_iou.onnx", "manifest.json"]
    for name in files:
        first, second = (tmp_path / run / name for run in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_torch_is_not_imported_for_what_is_known(tmp_path: Path) -> None:
    program = (
        "import sys, lossexport\n"
        "lossexport.export('box_iou', sys.argv[1])\n"
        "print('torch' in sys.modules)"
    )
    for name, imports in (("first", "True"), ("second", "False")):
        command = [sys.executable, "-c", program, str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        assert done.stdout.split()[-1] == imports


@pytest.mark.parametrize(
    "other",
    [
        Variant.make(CATALOG["box_giou"]),
        Variant.make(CATALOG["box_iou"], precision="fp16"),
        Variant.make(CATALOG["box_iou"], ranges={"N": Range(1, 2, 3)}),
        Variant.make(CATALOG["ciou_loss"], gradient=True),
        Variant.make(CATALOG["ciou_loss"], {"reduction": "sum"}),
        Variant.make(CATALOG["ciou_loss"]),
    ],
    ids=lambda variant: variant.stem,
)
def test_another_variant_is_another_graph(other: Variant, finished: None) -> None:
    cache.put(checked._graph_key(IOU, 20), b"x")
    assert not checked.known(IOU)  # damaged
    assert checked._graph_key(other, 20) != checked._graph_key(IOU, 20)
    with pytest.raises(pytest.fail.Exception, match="made again"):
        checked.graph(other)


def test_another_opset_is_another_graph() -> None:
    first = checked.graph(IOU)
    assert checked.known(IOU)
    assert not checked.known(IOU, 21)
    assert checked.graph(IOU, 21).model != first.model
    assert checked.graph(IOU) == first


def test_other_code_or_packages_make_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    checked.graph(IOU)
    assert checked.known(IOU)
    monkeypatch.setattr(checked, "_surroundings", lambda: "another")
    assert not checked.known(IOU)


def test_the_code_is_that_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code.py").write_text("x = 1")
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    monkeypatch.setattr(checked, "_IMPORTED", float("inf"))
    found = checked._surroundings.__wrapped__()
    assert checked._surroundings.__wrapped__() == found
    (tmp_path / "code.py").write_text("x = 2")
    assert checked._surroundings.__wrapped__() not in (found, None)
    monkeypatch.setattr(checked, "_PACKAGES", ("numpy",))
    assert checked._surroundings.__wrapped__() != found
    monkeypatch.setattr(checked, "_IMPORTED", 0.0)  # the file is newer than what runs
    assert checked._surroundings.__wrapped__() is None


def test_the_graph_of_an_op_of_ones_own_is_not_kept(kept: Path) -> None:
    tensors = (Tensor("x", ("N", 4), "real"),)
    op = Op("own", lambda x: x.sum(1), tensors, (Tensor("y", ("N",), "real"),))
    for variant in (Variant.make(op), replace(IOU, op=replace(IOU.op))):
        assert not checked.known(variant)
        checked.graph(variant)
        assert not checked.known(variant)
    assert not kept.exists()


def test_helpers_make_what_nobody_has_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    names = ["box_iou", "iou_loss", "box_diou", "smooth_l1_loss", "nms", "decode_boxes"]
    variants = [Variant.make(CATALOG[name]) for name in names]
    tasks = {index: helpers.Task.of(v, None, ()) for index, v in enumerate(variants)}
    with helpers.crew(tasks) as crew:
        mine = [index for index in (0, 3) if crew.claim(index)]
        crew.wait()
        assert crew.claimed == len(names)
        assert not any(crew.claim(index) for index in range(len(names)))
    assert len(mine) >= 1
    known = [index for index, variant in enumerate(variants) if checked.known(variant)]
    assert known == [index for index in range(len(names)) if index not in mine]
    for index in mine:
        checked.graph(variants[index])
    request.getfixturevalue("finished")
    manifest = lossexport.export(names, tmp_path / "out")
    assert [artifact.op for artifact in manifest.artifacts] == sorted(names)


def test_an_export_does_without_helpers_that_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    names = ["box_iou", "iou_loss", "box_diou", "smooth_l1_loss", "nms", "decode_boxes"]
    assert len(lossexport.export(names, tmp_path).artifacts) == len(names)


def test_what_a_helper_could_not_make_fails_in_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)

    def fail(*args: object) -> None:
        raise LossexportError("no engine")

    class Taken(helpers.Crew):
        def claim(self, index: int) -> bool:
            return False  # by a helper that then died

    monkeypatch.setattr(helpers, "Crew", Taken)
    monkeypatch.setattr(onnx_file, "onnx_bytes", fail)
    with pytest.raises(LossexportError, match="no engine"):
        lossexport.export(["box_iou", "nms"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "variant",
    [
        Variant.make(CATALOG["sigmoid_focal_loss"], {"alpha": -1.0}),
        Variant.make(CATALOG["anchor_loss"], precision="bf16", gradient=True),
        Variant.make(CATALOG["kl_loss"], ranges={"N": Range(3, 3, 3)}),
        Variant.make(CATALOG["softmax_focal_loss"], {"alpha": [0.25, 0.5, 0.75]}),
    ],
    ids=lambda variant: variant.stem,
)
def test_a_task_describes_its_variant(variant: Variant) -> None:
    task = helpers.Task.of(variant, "rtx", ("8.6",))
    assert task.variant() == variant

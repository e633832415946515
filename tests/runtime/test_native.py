"""The backend `native`: which files it takes, what it refuses, and its memory."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lossexport import __version__
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.manifest import load_manifest
from lossexport.runtime import available, binding, load, native

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "lossexport" / "graphs"
BOXES = np.array([[0, 0, 4, 4], [1, 1, 3, 3], [5, 5, 5, 5]], np.float32)

pytestmark = pytest.mark.skipif(not native.kernels(), reason="no library of native kernels")


def written(folder: Path, name: str, **choices: Any) -> Path:
    """The graph of an op in a folder without a manifest."""
    variant = Variant.make(CATALOG[name], **choices)
    path = folder / f"{variant.stem}.onnx"
    path.write_bytes(onnx_bytes(variant))
    return path


@pytest.fixture(scope="module")
def box_iou(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("native"), "box_iou")


def refusal(path: Path, **choices: Any) -> str:
    with pytest.raises(LossexportError) as caught:
        load(path, "native", **choices)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_it_is_first_for_what_a_manifest_lists() -> None:
    manifest = load_manifest(SHIPPED)
    assert manifest is not None
    for entry in manifest.artifacts:
        listed = load(SHIPPED / entry.file)
        assert listed.backend == ("native" if entry.op in native.kernels() else "ort")
    session = load(SHIPPED / "box_ciou.onnx")
    assert session.providers == available()["native"].providers
    other = load(SHIPPED / "box_ciou.onnx", "ort")
    assert (session.inputs, session.outputs) == (other.inputs, other.outputs)
    one, two = (s(pred=BOXES, target=BOXES[::-1].copy())["score"] for s in (session, other))
    np.testing.assert_allclose(one, two, rtol=0, atol=5e-6)


def test_a_file_that_no_manifest_lists_runs_its_own_graph(box_iou: Path, tmp_path: Path) -> None:
    """Its metadata are a claim: here the graph computes something else."""
    model = onnx.load(box_iou)
    next(n for n in model.functions[0].node if n.op_type == "Min").op_type = "Max"
    onnx.save(model, tmp_path / "other.onnx")
    session = load(tmp_path / "other.onnx")
    assert session.backend == "ort"
    assert session(pred=BOXES[:1], target=BOXES[1:2])["score"] != [0.25]
    assert refusal(tmp_path / "other.onnx") == (
        f"{tmp_path}/other.onnx: the graph is not what its metadata say; "
        "backend 'ort' runs it as it is"
    )


def test_a_claim_covers_attributes_and_no_foreign_metadata(box_iou: Path, tmp_path: Path) -> None:
    model = onnx.load(box_iou)
    model.metadata_props.add(key="team", value="edge")
    onnx.save(model, tmp_path / "tagged.onnx")
    session = load(tmp_path / "tagged.onnx", "native")
    assert session(pred=BOXES[:1], target=BOXES[1:2])["score"] == [0.25]
    entry = next(entry for entry in model.metadata_props if entry.key == "lossexport.attributes")
    entry.value = '{"eps": 0.5}'
    onnx.save(model, tmp_path / "changed.onnx")
    assert "the graph is not what its metadata say" in refusal(tmp_path / "changed.onnx")


def test_attributes_types_and_sizes_come_from_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "nms", attributes={"iou_threshold": 0.2, "max_output": 2})
    scores = np.array([0.5, 0.75, 0.25], np.float32)
    found = load(path, "native")(boxes=BOXES, scores=scores)
    assert found["indices"].tolist() == [1, 2]
    assert found["count"].shape == ()
    assert found["count"] == 2

    sizes = {"N": Range(3, 3, 3)}
    path = written(tmp_path, "box_iou", precision="fp16", ranges=sizes)
    session = load(path, "native")
    assert [(i.dtype, i.shape) for i in session.inputs] == [("float16", (3, 4))] * 2
    half = BOXES.astype(np.float16)
    assert session(pred=half, target=half)["score"].tolist() == [1, 1, 0]
    with pytest.raises(LossexportError, match=r"shape \[2, 4\], expected \[3, 4\]"):
        session(pred=half[:2], target=half[:2])

    ml_dtypes = pytest.importorskip("ml_dtypes")
    session = load(written(tmp_path, "box_iou", precision="bf16"), "native")
    found = session(pred=BOXES.astype(ml_dtypes.bfloat16), target=BOXES.astype(ml_dtypes.bfloat16))
    assert found["score"].dtype == ml_dtypes.bfloat16
    assert found["score"].tolist() == [1, 1, 0]


def test_gradient_graphs(tmp_path: Path) -> None:
    path = written(tmp_path, "ap_loss", gradient=True)
    arrays = {"logits": np.array([0, 1, 2], np.float32), "target": np.array([1, 0, -1])}
    ours, theirs = (load(path, backend)(**arrays) for backend in ("native", "ort"))
    assert set(ours) == {"loss", "grad_logits"}
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=1e-6)


def test_what_it_refuses(
    box_iou: Path, add_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal(add_file) == f"{add_file}: metadata has no 'lossexport.kind': not written by us"
    assert (
        refusal(box_iou, provider="cuda")
        == "provider 'cuda': backend 'native' runs on the cpu alone"
    )
    kl_loss = written(tmp_path, "kl_loss", gradient=True)
    with monkeypatch.context() as patch:
        patch.setattr(native, "kernels", lambda: {"kl_loss"})
        assert refusal(kl_loss) == f"{kl_loss}: no native kernel of kl_loss.grad"
    model = onnx.load(box_iou)
    model.graph.output[0].name = model.graph.node[0].output[0] = "cost"
    onnx.save(model, tmp_path / "renamed.onnx")
    assert refusal(tmp_path / "renamed.onnx").endswith(
        "renamed.onnx: outputs are cost, those of box_iou are score"
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("lossexport.op", "box_uoi", "metadata: unknown op 'box_uoi'; did you mean box_iou"),
        ("lossexport.kind", "third", "metadata lossexport.kind='third' is unknown"),
        ("lossexport.kind", "gradient", "metadata: box_iou: has no gradient graph"),
        ("lossexport.precision", "fp8", "metadata lossexport.precision='fp8' is unknown"),
        ("lossexport.attributes", "[]", "metadata lossexport.attributes: not an object"),
        ("lossexport.attributes", "{", "metadata lossexport.attributes: "),
        ("lossexport.attributes", "[" * 100_000, "metadata lossexport.attributes: "),
        ("lossexport.attributes", '{"eps": NaN}', "metadata: box_iou: eps=nan: must be finite"),
        ("lossexport.attributes", '{"eps": []}', "metadata: box_iou: eps=[]: must be a number"),
        ("lossexport.attributes", '{"pse": 1}', "metadata: box_iou: unknown attribute 'pse'"),
    ],
)
def test_metadata_is_checked(
    box_iou: Path, tmp_path: Path, key: str, value: str, message: str
) -> None:
    model = onnx.load(box_iou)
    next(entry for entry in model.metadata_props if entry.key == key).value = value
    path = tmp_path / "claims.onnx"
    onnx.save(model, path)
    assert refusal(path).startswith(f"{path}: {message}")


def test_an_output_that_is_still_seen_is_not_overwritten() -> None:
    session = load(SHIPPED / "pairwise_iou.onnx")
    first = session(pred=BOXES, target=BOXES)["score"]
    address, row = first.ctypes.data, first[1:2].T[::-1]
    expected = row.copy()
    del first
    second = session(pred=BOXES + 1, target=BOXES * 2)["score"]
    assert second.ctypes.data != address
    assert (row == expected).all()
    del row
    assert session(pred=BOXES, target=BOXES)["score"].ctypes.data == address


def test_an_output_beyond_all_memory_is_one_line() -> None:
    session = load(SHIPPED / "pairwise_iou.onnx")
    many = np.lib.stride_tricks.as_strided(BOXES, (2**29, 4), (0, 4))
    with pytest.raises(LossexportError, match=r"output 'score': shape \[536870912, 5368") as caught:
        session._run({"pred": many, "target": many})
    assert "\n" not in str(caught.value)


# Where there is no library, or another


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


STATE = """
from lossexport.runtime import available, load, native
found = available()["native"]
print(found.runs, found.reason, found.fix, sep="|")
print(load("lossexport/graphs/box_iou.onnx").backend, len(native.kernels()))
"""


def test_without_a_library_onnxruntime_runs(tmp_path: Path) -> None:
    missing = tmp_path / "none.so"
    runs, reason, fix = python(STATE, LOSSEXPORT_NATIVE=str(missing)).splitlines()[0].split("|")
    assert (runs, fix) == ("False", "unset LOSSEXPORT_NATIVE")
    assert reason == f"no library of native kernels at {missing}"
    assert python(STATE, LOSSEXPORT_NATIVE=str(missing)).endswith("ort 0")


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"\x7fELF, not really")
    state = python(STATE, LOSSEXPORT_NATIVE=str(broken))
    assert f"False|{broken}: cannot be loaded: " in state
    assert state.endswith("ort 0")


def test_a_library_of_another_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = native.ABI + 1
    monkeypatch.setattr(binding, "ABI", wanted)
    native.library.cache_clear()
    try:
        found = native.availability()
    finally:
        monkeypatch.undo()
        native.library.cache_clear()
    reason = f"{native.path()}: ABI {wanted - 1}, this release needs {wanted}"
    assert found.reason == reason


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("LOSSEXPORT_THREADS", "many", "must be a number of threads"),
        ("LOSSEXPORT_LEVEL", "best", "must be x86-64-v4, x86-64-v3, x86-64"),
    ],
)
def test_a_wrong_setting_is_not_taken_for_no_library(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    native.most_threads.cache_clear()
    try:
        with pytest.raises(LossexportError, match=f"^{name}={value!r}: {expected}$"):
            native.availability()
    finally:
        monkeypatch.undo()
        native.most_threads.cache_clear()
    assert python(STATE, LOSSEXPORT_THREADS="1", LOSSEXPORT_LEVEL="").startswith("True|None|None")


def test_availability_says_version_and_level() -> None:
    found = available()["native"]
    assert (found.runs, found.version) == (True, __version__)
    assert len(found.providers) == 1


def test_running_natively_imports_neither_torch_nor_a_runtime() -> None:
    code = """
import sys, numpy as np
from lossexport.runtime import load
one = np.array([[0, 0, 2, 2]], np.float32)
assert load("lossexport/graphs/box_iou.onnx")(pred=one, target=one)["score"] == 1
heavy = "torch onnx onnxruntime pyarrow click rich polygraphy"
print(*(name for name in heavy.split() if name in sys.modules))
"""
    assert python(code) == ""


def test_list_says_what_is_native() -> None:
    names = {kernel.removesuffix(".grad") for kernel in native.kernels()}
    code = "from lossexport.cli import main; import sys; sys.argv[1:] = ['list', '--json']; main()"
    ops = json.loads(python(code))
    assert {op["name"] for op in ops if "native" in op["backends"]} == names
    found = {op["name"]: op["backends"].get("native") for op in ops}
    assert (found["ap_loss"], found["nms"]) == ("value, gradient", "value")

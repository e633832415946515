"""Loading and running ONNX files, and what `load` refuses."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from lossexport.errors import LossexportError
from lossexport.origin import install_command
from lossexport.runtime import NAMES, Availability, available, load
from lossexport.runtime.cuda import driver

ONE = np.ones((3, 4), np.float32)


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(LossexportError) as caught:
        load(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("backend", [None, "ort"])
def test_runs_a_file(add_file: Path, backend: str | None) -> None:
    session = load(add_file, backend)
    assert session.backend == "ort"
    assert session.providers == ("CPUExecutionProvider",)
    assert [(i.name, i.dtype, i.shape) for i in session.inputs] == [
        ("x", "float32", ("N", 4)),
        ("y", "float32", ("N", 4)),
    ]
    assert [(o.name, o.shape) for o in session.outputs] == [("z", ("N", 4))]
    assert session(x=ONE, y=ONE)["z"].tolist() == (2 * ONE).tolist()
    assert session(x=ONE[:0], y=ONE[:0])["z"].shape == (0, 4)


def test_runs_bfloat16(bf16_file: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    session = load(bf16_file)
    assert session.inputs[0].dtype == "bfloat16"
    x = np.array([[1, 2, 3, 300]], ml_dtypes.bfloat16)
    z = session(x=x, y=x)["z"]
    assert z.dtype == ml_dtypes.bfloat16
    assert z.tolist() == [[2, 4, 6, 600]]
    assert session(x=x[:0], y=x[:0])["z"].shape == (0, 4)
    # The result is a copy: a second run leaves it alone.
    session(x=x * 0, y=x * 0)
    assert z.tolist() == [[2, 4, 6, 600]]


def test_a_listed_file_must_have_the_listed_hash(
    tmp_path: Path, listed: Callable[..., Path], add_model: bytes
) -> None:
    path = listed(tmp_path, "add.onnx", add_model)
    assert load(path)(x=ONE, y=ONE)["z"][0, 0] == 2
    path.write_bytes(add_model + b"\x12\x00")
    assert "add.onnx: sha256 " in refusal(path)
    assert "manifest.json says " in refusal(path)


def test_a_file_that_the_manifest_does_not_list_runs(
    tmp_path: Path, listed: Callable[..., Path], add_model: bytes
) -> None:
    listed(tmp_path, "other.onnx", add_model)
    path = tmp_path / "add.onnx"
    path.write_bytes(add_model)
    assert load(path)(x=ONE, y=ONE)["z"][0, 0] == 2


def test_a_broken_manifest_is_an_error(tmp_path: Path, add_file: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    assert "manifest.json: not JSON" in refusal(add_file)


def test_usage_errors(tmp_path: Path, add_file: Path) -> None:
    assert refusal(add_file, "cpu") == f"backend 'cpu': not one of {', '.join(NAMES)}"
    assert refusal(add_file, "rtx").endswith("backend 'rtx' runs .engine files, not .onnx")
    assert refusal(add_file, provider="gpu") == "provider 'gpu': not one of cpu, cuda, rtx"
    assert refusal(tmp_path).endswith("suffix '', expected .onnx or .engine")
    assert "cannot be read" in refusal(tmp_path / "absent.onnx")
    assert "more than the limit of 10" in refusal(add_file, max_bytes=10)


@pytest.mark.skipif(driver().reason is None, reason="this machine has a GPU")
def test_cuda_that_is_not_here_is_an_error(add_file: Path) -> None:
    assert "cannot run CUDAExecutionProvider here" in refusal(add_file, provider="cuda")


def test_a_silent_fallback_is_an_error(add_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    from lossexport.runtime import ort

    real, asked = onnxruntime.InferenceSession, []

    def fall_back(data: bytes, options: Any, providers: list[str], enable_fallback: int) -> Any:
        strict = options.get_session_config_entry("session.disable_cpu_ep_fallback")
        asked.append((providers, strict, enable_fallback))
        return real(data, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", fall_back)
    monkeypatch.setattr(
        ort,
        "availability",
        lambda backend: Availability(backend, True, "1", providers=("CUDAExecutionProvider",)),
    )
    message = refusal(add_file, provider="cuda")
    assert message.endswith("fell back from CUDAExecutionProvider to CPUExecutionProvider")
    assert asked == [(["CUDAExecutionProvider"], "1", 0)]


def test_errors_of_onnxruntime_are_one_line(tmp_path: Path) -> None:
    node = helper.make_node("NoSuchOp", ["x"], ["y"], domain="nowhere")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [info("x", TensorProto.FLOAT, [1])], [info("y", TensorProto.FLOAT, [1])]
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("nowhere", 1)]
    path = tmp_path / "odd.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    assert refusal(path).startswith(f"{path}: onnxruntime: ")


def test_names_that_are_not_utf8(
    tmp_path: Path, add_model: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(add_model.replace(b"\x12\x01N", b"\x12\x01\xff"))  # the name of a dimension
    assert "codec can't decode" in refusal(path)
    assert capfd.readouterr() == ("", "")


def test_a_run_that_fails_is_one_line(tmp_path: Path) -> None:
    """Only at run time does onnxruntime find that six elements do not fill [7]."""
    info = helper.make_tensor_value_info
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [7])
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "g",
        [info("x", TensorProto.FLOAT, ["N"])],
        [info("y", TensorProto.FLOAT, [7])],
        initializer=[shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = tmp_path / "reshape.onnx"
    path.write_bytes(model.SerializeToString())
    session = load(path)
    assert session(x=np.arange(7, dtype=np.float32))["y"].sum() == 21
    with pytest.raises(LossexportError, match=r"reshape.onnx: onnxruntime: ") as caught:
        session(x=np.arange(6, dtype=np.float32))
    assert "\n" not in str(caught.value)


def test_bytes_that_look_like_an_ort_file_are_read_as_onnx(
    tmp_path: Path, add_model: bytes
) -> None:
    """`ORTM` at byte 4 would make onnxruntime read a format that the guard did not check."""
    path = tmp_path / "add.onnx"
    path.write_bytes(b"\x12\x08aaORTMaa" + add_model)
    assert load(path)(x=ONE, y=ONE)["z"][0, 0] == 2


def test_available_says_why_not() -> None:
    found = available()
    assert tuple(found) == NAMES
    assert found["ort"].runs
    assert found["ort"].version == __import__("onnxruntime").__version__
    assert "CPUExecutionProvider" in found["ort"].providers
    assert all(one.runs or one.reason for one in found.values())


def test_without_onnxruntime_the_extra_is_named(
    add_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = refusal(add_file)
    assert message.endswith(f"; {install_command('cpu')}")


def test_running_imports_numpy_and_the_backend_alone(add_file: Path) -> None:
    code = f"""
import sys
import lossexport, lossexport.runtime
assert lossexport.__version__ and set(lossexport.__all__) <= set(dir(lossexport))
import numpy as np
one = np.ones((3, 4), np.float32)
assert lossexport.runtime.load({str(add_file)!r})(x=one, y=one)["z"].sum() == 24
heavy = "torch onnx pyarrow matplotlib msgspec click rich scipy polygraphy"
print(*(name for name in heavy.split() if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_verbs_are_at_the_top_of_the_package() -> None:
    import lossexport
    from lossexport.comparison import compare
    from lossexport.wiring.attach import attach

    verbs = set(lossexport.__all__) - {"__version__"}
    assert verbs == {
        "Calibration",
        "Evaluator",
        "Watch",
        "attach",
        "attach_recipe",
        "calibrate",
        "compare",
        "export",
        "flat",
        "register",
        "score",
        "score_pair",
        "verify",
    }
    assert all(callable(getattr(lossexport, name)) for name in verbs)
    assert (lossexport.attach, lossexport.compare) == (attach, compare)


def test_unknown_names_of_the_package_are_attribute_errors() -> None:
    import lossexport

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = lossexport.nothing  # type: ignore[attr-defined]

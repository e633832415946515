import functools
import hashlib
import json
import os
import sys
import tomllib
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.packages import QUICK_CXX, run

pytest_plugins = ["pytester"]

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores; threads of torch that wait for each other only take them away.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# A graph that was kept would hide what a test changes.
os.environ["LOSSEXPORT_CACHE"] = "off"
# Tests that look at stderr must not depend on how long the machine takes.
os.environ.setdefault("LOSSEXPORT_PROGRESS", "0")

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def entry_points(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PYTHONPATH on which pytest finds our plugin, also where this checkout is not installed."""
    folder = tmp_path_factory.mktemp("installed")
    info = folder / "lossexport_checkout-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lossexport-checkout\nVersion: 0\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (plugin,) = project["entry-points"]["pytest11"].items()
    (info / "entry_points.txt").write_text("[pytest11]\n{} = {}\n".format(*plugin))
    return os.pathsep.join((str(folder), str(ROOT)))


# The tests that take the wheel run in one worker, which makes it once: xdist_group("wheel").
@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist and the wheel that was built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, CXX=QUICK_CXX)
    return out


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real detections that lies beside the checkout."""
    folder = Path(os.environ.get("LOSSEXPORT_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"reference data not found at {folder}; set LOSSEXPORT_SHARED")
    return folder


@pytest.fixture(scope="session", autouse=True)
def traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trace and check a variant once a session, in whichever worker asks first: it takes seconds.

    The same variant gives the same bytes, which tests/exporter/test_export.py proves on the
    function itself, `onnx_bytes.__wrapped__`. The same bytes pass the same check.
    """
    import msgspec

    from lossexport.exporter import onnx_file
    from lossexport.exporter.versions import OPSET
    from lossexport.files import write_bytes
    from lossexport.manifest import BackendParity
    from lossexport.parity import quick

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all workers
    true_bytes, true_check = onnx_file.onnx_bytes, quick.check
    tests = [module for name, module in sys.modules.items() if name.startswith("tests.")]

    def place(kind: str, variant: Any, *more: Any) -> Path:
        given = (variant.attributes, variant.precision, variant.gradient, variant.ranges, more)
        code = getattr(variant.op.function, "__code__", None)  # of an op that a test declares
        own = code and (code.co_code, code.co_consts, code.co_names)
        name = hashlib.sha256(repr((variant.op.name, own, *given)).encode()).hexdigest()
        return folder / kind / name

    @functools.wraps(true_bytes)
    def cached(variant: Any, opset: int = OPSET) -> bytes:
        path = place("traced", variant, opset)
        if not path.exists():
            write_bytes(path, true_bytes(variant, opset))
        return path.read_bytes()

    @functools.wraps(true_check)
    def checked(variant: Any, model: bytes) -> BackendParity:
        path = place("checked", variant, hashlib.sha256(model).hexdigest())
        if not path.exists():
            write_bytes(path, msgspec.json.encode(true_check(variant, model)))
        return msgspec.json.decode(path.read_bytes(), type=BackendParity)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quick, "check", checked)
        for module in (onnx_file, *tests):  # those that have imported the function itself
            if getattr(module, "onnx_bytes", None) is true_bytes:
                patch.setattr(module, "onnx_bytes", cached)
        yield


def slow(*values: Any) -> Any:
    """A case of a parametrised test that the slow tests alone take."""
    return pytest.param(*values, marks=pytest.mark.slow)


def golden_entries(*systems: str, others: Container[str] = ()) -> list[Any]:
    """Vectors of the original public code, canonical ones and `others`, as pytest parameters."""
    entries = json.loads((GOLDEN / "index.json").read_text())["entries"]
    return [
        pytest.param(entry, id=entry["file"].removesuffix(".npz"))
        for entry in entries
        if entry["system"] in systems
        and (entry["canonical"] or entry["file"].removesuffix(".npz") in others)
    ]


def golden_arrays(entry: dict[str, Any]) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / entry["file"], allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def close(actual: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> None:
    """Compare where the original is finite; the candidate must be finite everywhere."""
    assert np.isfinite(actual).all()
    known = np.isfinite(expected)
    np.testing.assert_allclose(actual[known], expected[known], rtol=rtol, atol=atol)


def close_rows(actual: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> None:
    """Compare gradients relative to the largest entry of each row."""
    assert np.isfinite(actual).all()
    known = np.isfinite(expected).all(axis=-1)
    error = np.abs(actual - expected)[known].max(axis=-1, initial=0.0)
    size = np.abs(expected)[known].max(axis=-1, initial=0.0)
    assert (error <= atol + rtol * size).all(), (error - rtol * size).max()

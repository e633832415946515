"""`pytest --lossexport PATH`, each time in a process of its own, as users run it."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import lossexport
from lossexport.files import sha256
from lossexport.runtime import available
from lossexport.runtime.native import kernels

pytestmark = pytest.mark.xdist_group("pytest-plugin")

Run = Callable[..., pytest.RunResult]
# Of each file: native, ort-kernels.
NATIVE = 2 * bool(kernels())
WITHOUT_GPU = pytest.mark.skipif(
    available()["rtx"].runs or "CUDAExecutionProvider" in available()["ort"].providers,
    reason="more runs here",
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A right `encode_boxes.onnx`, an engine, and a `box_iou.onnx` whose graph is wrong."""
    out = tmp_path_factory.mktemp("plugin") / "out"
    sizes = {"N": "1:4:8"}
    lossexport.export("encode_boxes", out, shapes=sizes)
    lossexport.export("box_iou", out, formats=["onnx", "engine"], shapes=sizes)
    path, manifest = out / "box_iou.onnx", out / "manifest.json"
    model = onnx.load(path)
    next(n for n in model.functions[0].node if n.op_type == "Max").op_type = "Min"
    onnx.save(model, path)
    document = json.loads(manifest.read_text())
    (entry,) = (entry for entry in document["artifacts"] if entry["file"] == path.name)
    data = path.read_bytes()
    entry |= {"sha256": sha256(data), "size_bytes": len(data)}
    manifest.write_text(json.dumps(document))
    return out


@pytest.fixture
def run(
    pytester: pytest.Pytester,
    entry_points: str,
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Runs pytest in a folder that has `out` and no tests."""
    shutil.copytree(exported, pytester.path / "out")
    monkeypatch.setenv("PYTHONPATH", entry_points)
    return pytester.runpytest_subprocess


@WITHOUT_GPU
def test_each_artifact_and_backend_is_a_test(run: Run, pytester: pytest.Pytester) -> None:
    done = run("--lossexport", "out", "-v", "-rs", "--junitxml", "junit.xml")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.assert_outcomes(passed=1 + NATIVE, failed=1 + NATIVE, skipped=5)
    reason = available()["rtx"].reason
    done.stdout.fnmatch_lines(
        [
            "out::box_iou.engine[[]rtx] SKIPPED *",
            "out::box_iou.onnx[[]ort-cpu] FAILED *",
            "out::box_iou.onnx[[]ort-cuda] SKIPPED *",
            "out::encode_boxes.onnx[[]ort-cpu] PASSED *",
            "out::encode_boxes.onnx[[]ort-cuda] SKIPPED *",
            "*__ box_iou.onnx on ort-cpu __*",
            "out/box_iou.onnx on ort-cpu: score beyond tolerance",
            "  score[[]*[]] is *, expected *; lossexport verify out/box_iou.onnx --replay '*:N=*'",
            f"SKIPPED [[]1] out: built, not run here: {reason}",
            "SKIPPED [[]2] out: not run here: this onnxruntime has no CUDA provider",
        ]
    )
    (suite,) = ET.parse(pytester.path / "junit.xml").getroot()
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 7 + 2 * NATIVE, "failures": 1 + NATIVE, "errors": 0, "skipped": 5}
    cases = {case.attrib["name"]: case for case in suite}
    assert {case.attrib["classname"] for case in suite} == {"out"}
    assert [*cases["encode_boxes.onnx[ort-cpu]"]] == []
    (failure,) = cases["box_iou.onnx[ort-cpu]"]
    assert failure.tag == "failure"
    assert "score beyond tolerance" in failure.attrib["message"]
    (skipped,) = cases["box_iou.engine[rtx]"]
    assert skipped.attrib["message"] == f"built, not run here: {reason}"

    replay = re.search(r"lossexport verify (\S+) --replay '(\S+)'", done.stdout.str())
    assert replay
    again = lossexport.verify(pytester.path / replay[1], replay=replay[2], backends=["ort"])
    assert again.failed

    done = run("--lossexport", "out", "--lf", "-x", "-v")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            f"*collected {1 + NATIVE} item*",
            "out::box_iou.onnx[[]ort-cpu] FAILED *",
            "*stopping after 1 failures*",
        ]
    )


@WITHOUT_GPU
def test_workers(run: Run) -> None:
    done = run("--lossexport", "out", "-n", "2")
    done.assert_outcomes(passed=1 + NATIVE, failed=1 + NATIVE, skipped=5)


def test_choices(run: Run) -> None:
    both = ("--lossexport", "out/encode_boxes.onnx", "--lossexport", "out")
    done = run(*both, "--lossexport-backend", "ort-cpu", "-k", "encode_boxes", "-v")
    done.assert_outcomes(passed=2, deselected=1)
    done.stdout.fnmatch_lines(
        [
            "out/encode_boxes.onnx::encode_boxes.onnx[[]ort-cpu] PASSED *",
            "out::encode_boxes.onnx[[]ort-cpu] PASSED *",
        ]
    )
    done = run("--lossexport", "out", "out::encode_boxes.onnx[ort-cpu]", "-v")
    done.assert_outcomes(passed=1)


@WITHOUT_GPU
def test_what_is_required_has_to_run(run: Run) -> None:
    required = ("--lossexport-require", "ort,rtx")
    done = run("--lossexport", "out", *required, "-k", "encode_boxes or engine")
    done.assert_outcomes(passed=1 + NATIVE, failed=1, skipped=2, deselected=3 + NATIVE)
    reason = available()["rtx"].reason
    done.stdout.fnmatch_lines(
        [f"out/box_iou.engine: rtx is required: built, not run here: {reason}"]
    )


def test_a_file_that_is_not_what_the_manifest_says_fails_alone(
    run: Run, pytester: pytest.Pytester
) -> None:
    with (pytester.path / "out" / "box_iou.onnx").open("ab") as stream:
        stream.write(b"\0")
    done = run("--lossexport", "out", "--lossexport-backend", "ort-cpu")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["out/box_iou.onnx: sha256 *, manifest.json says *"])
    done.stdout.no_fnmatch_line("During handling *")


def test_collecting_runs_nothing(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import sys

        def pytest_collection_finish(session):
            print("loaded:", {"torch", "onnxruntime"} & {*sys.modules})
        """
    )
    done = run("--lossexport", "out", "--collect-only", "-q", "-s")
    assert done.ret == 0
    done.stdout.fnmatch_lines(["out::box_iou.engine[[]rtx]", "loaded: set()"])
    ids = [line for line in done.outlines if line.startswith("out::")]
    assert len(ids) == len(set(ids)) == 7 + 2 * NATIVE


def test_tests_beside_it(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_one(): pass")
    pytester.makeini("[pytest]\naddopts = --lossexport=out --strict-markers")
    done = run("-m", "not lossexport")
    done.assert_outcomes(passed=1, deselected=7 + 2 * NATIVE)
    done = run("--collect-only", "-q", "-m", "lossexport")
    assert f"{7 + 2 * NATIVE}/{8 + 2 * NATIVE} tests collected (1 deselected)" in done.stdout.str()


BAD = [
    (["--lossexport", "none"], "--lossexport: none: cannot be read: No such file or directory"),
    (["--lossexport", "."], "--lossexport: .: has no manifest.json"),
    (["--lossexport", "x.txt"], "--lossexport: x.txt: suffix '.txt', expected .onnx or .engine"),
    (
        ["--lossexport", "out", "--lossexport-backend", "gpu"],
        "*backend 'gpu': not one of native, *",
    ),
    (
        ["--lossexport", "out", "--lossexport-require", "tensorrt"],
        "*: out: no file is for tensorrt",
    ),
    (["--lossexport-require", "ort"], "--lossexport PATH is missing: nothing to run on a backend"),
    (["--lossexport", "out", "out::x.onnx[ort-cpu]"], "not found: out::x.onnx[[]ort-cpu]"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_usage_is_one_line(
    options: list[str], message: str, run: Run, pytester: pytest.Pytester
) -> None:
    (pytester.path / "x.txt").touch()
    done = run(*options)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in done.errlines if line]
    assert len(errors) == 1
    done.stderr.fnmatch_lines([f"ERROR: {message}"])


def test_without_the_option_nothing_happens(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_what_is_loaded(request):
            ours = {name for name in sys.modules if name.partition(".")[0] == "lossexport"}
            assert ours == {"lossexport", "lossexport._lazy", "lossexport.pytest_plugin"}
            assert not {"numpy", "msgspec", "torch"} & {*sys.modules}
            assert request.session.testscollected == 1
        """
    )
    run("-p", "no:hypothesispytest").assert_outcomes(passed=1)
    done = run("-p", "no:lossexport", "--lossexport", "out")
    assert done.ret == pytest.ExitCode.USAGE_ERROR

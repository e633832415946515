"""Exit codes and one-line errors of the command line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lossexport.catalog import CATALOG
from lossexport.origin import install_command
from lossexport.runtime import available
from lossexport.runtime.native import kernels
from tests.cli.conftest import Run


def test_list(run: Run) -> None:
    code, out, _ = run("list", "--json")
    assert code == 0
    ops = {op["name"]: op for op in json.loads(out)}
    assert set(ops) == set(CATALOG)
    ciou = ops["ciou_loss"]
    assert ciou["inputs"][0]["shape"] == ["N", 4]
    assert ciou["gradient"] == ["grad_pred"]
    assert ciou["attributes"]["eps"]["default"] == 1e-7
    code, out, _ = run("list")
    assert code == 0
    assert all(name in out for name in CATALOG)
    for name, here in available().items():
        lines = [line for line in out.splitlines() if re.match(f"{name}: .*not run here: ", line)]
        assert len(lines) == (not here.runs)


def test_export_and_verify(run: Run, tmp_path: Path) -> None:
    code, out, err = run("export", "giou_loss", "--out", tmp_path, "--set", "reduction=mean")
    assert (code, err) == (0, "")
    assert (tmp_path / "giou_loss.onnx").is_file()
    report = tmp_path / "report.json"
    code, out, _ = run("verify", tmp_path, "--json", report, "--html", tmp_path / "report.html")
    assert code == 0
    assert f"{1 + 2 * bool(kernels())} passed, 0 failed, 2 not run here" in out
    assert json.loads(report.read_text())["passed"] is True
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "box_iou"], "Missing option '--out'. (lossexport export --help)"),
        (["exprot"], "No such command 'exprot'. (lossexport --help)"),
    ],
)
def test_bad_usage_is_one_line(run: Run, arguments: list[str], message: str) -> None:
    assert run(*arguments) == (2, "", f"error: {message}\n")


def test_a_failed_parity_exits_with_1(run: Run, tmp_path: Path) -> None:
    import onnx

    run("export", "giou_loss", "--out", tmp_path)
    model = onnx.load(tmp_path / "giou_loss.onnx")
    next(n for n in model.functions[0].node if n.op_type == "Min").op_type = "Max"
    onnx.save(model, tmp_path / "mutant.onnx")
    code, out, err = run("verify", tmp_path / "mutant.onnx", "--backend", "ort-cpu")
    assert code == 1
    assert "FAILED" in out
    assert err == "error: 0 passed, 1 failed, 0 not run here\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "nope", "--out", "OUT"], "unknown op 'nope'"),
        (["export", "--out", "OUT"], "give ops, --all or --recipe"),
        (["export", "box_iou"], "--out"),
        (["export", "box_iou", "--out", "OUT", "--set", "eps"], "--set 'eps': expected NAME=VALUE"),
        (["export", "box_iou", "--out", "OUT", "--set", "eps=two"], "eps='two': must be a number"),
        (
            ["export", "box_iou", "--out", "OUT", "--set", f"eps={'[' * 60_000}"],
            "nested too deeply",
        ),
        (["export", "box_iou", "--out", "OUT", "--set", f"eps={'9' * 400}"], "must be finite"),
        (["export", "box_iou", "--out", "OUT", "--shape", f"N={'9' * 5000}"], "expected SIZE or"),
        (["export", "box_iou", "--out", "OUT", "--shape", "N=0:0:0"], "MAX >= 1"),
        (["export", "box_iou", "--out", "OUT", "--format", "tflite"], "format 'tflite'"),
        (["export", "box_iou", "--out", "/proc/nope"], "/proc/nope: cannot be written"),
        (["export", "box_iou", "--all", "--out", "OUT"], "give ops or --all, not both"),
        (["verify", "OUT/none.onnx"], "none.onnx: cannot be read: No such file or directory"),
        (["verify", "OUT"], "has no manifest.json"),
        (
            ["verify", "OUT", "--backend", "ort,gpu"],
            "backend 'gpu': not one of native, ort-kernels, ort",
        ),
        (["score", "--pred", "OUT/a.json", "--ref", "OUT/b.json"], "b.json"),
        (["score", "--pred", "a", "--ref", "b", "--fail-below", "AQ=1"], "gate 'AQ': no such"),
        (["bench", "--sizes", "64,zero"], "--sizes 'zero'"),
        (["nothing"], "No such command 'nothing'"),
    ],
)
def test_bad_usage_is_one_line_and_2(
    run: Run, arguments: list[str], message: str, tmp_path: Path
) -> None:
    code, _, err = run(*[argument.replace("OUT", str(tmp_path)) for argument in arguments])
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if re.match("[Ee]rror: ", line)]
    assert len(errors) == 1
    assert not list(tmp_path.iterdir())


def test_score_prints_what_the_summary_has(run: Run, tmp_path: Path) -> None:
    pred, ref = tmp_path / "pred.json", tmp_path / "ref.json"
    box = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}
    pred.write_text(json.dumps([{**box, "score": 0.75}]))
    tables = {"images": [{"id": 1}], "categories": [{"id": 1}]}
    ref.write_text(json.dumps({**tables, "annotations": [box | {"id": 1}]}))
    code, out, _ = run("score", "--pred", pred, "--ref", ref, "--fail-above", "unmatched=0")
    assert code == 0
    assert "-1.0000" not in out
    rows = [re.findall(r"[^│┃\s]+", line) for line in out.splitlines()]
    for names in (
        ["AP", "AP50", "AP75", "APs", "APm", "APl"],
        ["AR1", "AR10", "AR100", "ARs", "ARm", "ARl"],
    ):
        values = rows[rows.index(names) + 2]
        assert values == ["1.0000"] * 4 + ["-", "-"]
    assert "0.7500" in out
    code, _, err = run("score", "--pred", pred, "--ref", ref, "--fail-above", "matched=0.5")
    assert (code, err) == (1, "error: matched is 1, at most 0.5 is required\n")


def test_options_take_several_values_after_one_name(run: Run, tmp_path: Path) -> None:
    code, _, err = run(
        *("export", "--set", "beta=0.5", "reduction=sum", "--shape", "N=1:4:8", "D=4"),
        *("smooth_l1_loss", "--out", tmp_path, "--format", "onnx,engine"),
        *("--compute-capability", "8.6", "8.9"),
    )
    assert (code, err) == (0, "")
    entry = json.loads((tmp_path / "manifest.json").read_text())["artifacts"][0]
    assert entry["file"] == "smooth_l1_loss.engine"
    assert entry["attributes"] == {"beta": 0.5, "reduction": "sum"}
    assert entry["inputs"][0]["shape"] == ["N", 4]
    assert entry["profile"] == {"N": {"min": 1, "opt": 4, "max": 8}}
    assert entry["compute_capabilities"] == ["8.6", "8.9"]


def test_without_torch_the_remedy_is_one_line(tmp_path: Path) -> None:
    script = "import sys; sys.modules['torch'] = None; from lossexport.cli import main; main()"
    arguments = ["export", "box_iou", "--out", str(tmp_path / "out")]
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    remedy = install_command("toolchain")
    assert result.stderr == f"error: torch is not installed: {remedy}\n"
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    # A limit on the size of a file stands for the disk: the write fails half-way alike.
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000));"
        "from lossexport.cli import main; main()"
    )
    arguments = ["export", "box_iou", "--format", "onnx,engine", "--out", str(tmp_path)]
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "File too large" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    code, _, err = run("export", "box_iou", "--out", blocker / "sub")
    assert code == 2
    assert f"{blocker}: is not a folder" in err


def test_doctor(run: Run) -> None:
    code, out, _ = run("doctor")
    assert code == 0
    assert "onnxruntime" in out
    assert "tensorrt_rtx" in out


def test_an_error_is_short_and_moves_no_terminal(run: Run, tmp_path: Path) -> None:
    code, _, err = run("export", "\x1b[2J" + 3_000_000 * "a", "--out", tmp_path / "out")
    assert code == 2
    assert err.startswith("error: unknown op '\\x1b[2Jaaa")
    assert "[...2999" in err
    assert err.endswith("aaa'; see `lossexport list`\n")
    assert len(err) < 400
    code, _, err = run("export", 1_000_000 * "a ", "--out", tmp_path / "out")
    assert code == 2
    assert len(err) < 1600


GATED = ("score", "--pred", "dets.json", "--ref", "gt.json", "--out", "scored", "--fail-below")


@pytest.fixture(scope="module")
def detections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detections")
    box = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}
    truth = {
        "images": [{"id": 1, "width": 9, "height": 9}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [box | {"id": 1, "area": 81, "iscrowd": 0}],
    }
    (folder / "gt.json").write_text(json.dumps(truth))
    (folder / "dets.json").write_text(json.dumps([box | {"score": 0.5}]))
    return folder


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((*GATED, "AP=0.9"), 0),
        ((*GATED, "unmatched=1"), 1),
        (("list", "--json"), 0),
        (("--help",), 0),
        (("nothing",), 2),
    ],
)
def test_a_reader_who_goes_away_changes_no_exit_code(
    arguments: tuple[str, ...], code: int, detections: Path
) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as gone:  # noqa: PTH123  a descriptor
        result = subprocess.run(
            [sys.executable, "-c", "from lossexport.cli import main; main()", *arguments],
            cwd=detections,
            stdout=gone,
            stderr=gone if code == 2 else None,
            check=False,
        )
    assert result.returncode == code
    if "--out" in arguments:
        assert (detections / "scored" / "report.html").is_file()


@pytest.mark.parametrize(("bound", "code"), [("AP=0.9", 2), ("unmatched=1", 1)])
def test_a_full_device_is_an_error(bound: str, code: int, detections: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-c", "from lossexport.cli import main; main()", *GATED, bound],
            cwd=detections,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == code
    reason = "standard output: No space left on device" if code == 2 else "unmatched is 0"
    assert result.stderr.startswith(f"error: {reason}")
    assert len(result.stderr.splitlines()) == 1


def test_a_terminated_export_cleans_up(tmp_path: Path) -> None:
    script = "from lossexport.cli import main; main()"
    arguments = ["export", "--all", "--gradient", "--out", "out"]
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=tmp_path)
    while process.poll() is None and not list(tmp_path.glob(".out.*")):
        time.sleep(0.01)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())

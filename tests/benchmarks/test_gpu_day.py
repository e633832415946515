"""A day on a GPU, with stand-ins for it: the whole path, cut off and gone on with."""

import dataclasses
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.runtime.cuda import driver
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import gpu_day
import gpu_record
import gpu_speed
import gpu_steps
from gpu_record import Record
from gpu_steps import Choice

WITHOUT_GPU = pytest.mark.skipif(driver().reason is None, reason="this machine has a GPU")
OP = "smooth_l1_loss"
MACHINE = {"device": "NVIDIA L4 (8.9)", "standin": False, "driver": "1", "environment": {}}


def start(out: Path, *options: str) -> subprocess.Popen[str]:
    command = (sys.executable, ROOT / "benchmarks" / "gpu_day.py", "--standin", "--op", OP)
    return subprocess.Popen(
        (*command, "--out", out, *options),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def read(out: Path) -> tuple[dict[str, Any], str]:
    (folder,) = out.iterdir()
    page = (folder / "README.md").read_text("utf-8")
    return json.loads((folder / "results.json").read_text("utf-8")), page


@pytest.mark.slow
def test_a_run_that_is_killed_is_gone_on_with(tmp_path: Path) -> None:
    process = start(tmp_path, "--step", "kernels")
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline().startswith(f"kernels: {OP}")
    process.kill()
    process.communicate()
    before = read(tmp_path)[0]["steps"]["kernels"]["results"]
    assert 2 <= len(before) < 6

    process = start(tmp_path)
    said, _ = process.communicate()
    assert process.returncode == gpu_day.PASSED_ALL, said
    data, page = read(tmp_path)
    assert data["machine"]["device"] == "stand-in"
    steps = data["steps"]
    assert {name: len(step["results"]) for name, step in steps.items()} == {
        "tests": 1,
        "kernels": 6,
        "sanitizer": 2,
        "verify ort-cuda": 1,
        "verify tensorrt": 0,
        "verify rtx": 0,
        "verify ort-rtx": 1,
        "speed": 2,
    }
    results = [r for step in steps.values() for r in step["results"].values()]
    assert {result["status"] for result in results} == {"passed"}
    kernels = steps["kernels"]["results"]
    assert {key: kernels[key] for key in before} == before  # to the time that they took
    assert kernels[f"{OP}.grad-1.0-none"]["kernels"] == ["SmoothL1LossWithGrad"]
    assert (kernels[f"{OP}-1.0-none"]["cases"], kernels[f"{OP}-1.0-none"]["largest"]) == (2, 3)
    assert 0 < kernels[f"{OP}-1.0-none"]["used"] <= 1
    assert steps["sanitizer"]["results"]["racecheck"]["said"] == "launched 2 kernels"
    assert steps["verify ort-cuda"]["results"][OP]["files"] == 2
    speed = steps["speed"]["results"][OP]
    assert speed["moved_bytes"] == 3 * 17 * 17 * 4
    assert min(speed[name] for name in ("kernel_ms", "eager", "of_copy", "copy_gbs")) > 0
    assert "**No GPU took part: the kernels were emulated on the CPU.**" in page
    assert "| kernels | 6 | 0 | 0 | 0 |  |" in page
    assert (
        f"| verify tensorrt | 0 | 0 | 0 | 0 | not run here: {steps['verify tensorrt']['absence']}"
    )
    assert f"| `{OP}.grad` | N 17, D 17 |" in page


@WITHOUT_GPU
def test_without_a_gpu_every_step_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = Record.open(tmp_path, gpu_day.machine(standin=False))
    assert gpu_day.day(record, Choice(), gpu_day.Clock(None)) == gpu_day.NONE_RAN
    said = capsys.readouterr().out.splitlines()
    expected = [f"{name}: not run here: {driver().reason}" for name in gpu_steps.steps()]
    assert said == [*expected, f"results: {record.folder}"]
    assert record.folder.name.endswith("-no-GPU")
    assert read(tmp_path)[1].count(f"not run here: {driver().reason} |") == len(expected)


class Script:
    """Workers that say what is written here; after what is written they take too long."""

    def __init__(self, *workers: list[dict[str, Any] | None]) -> None:
        self.workers, self.asked = list(workers), list[list[str]]()

    def __call__(self, step: str, keys: list[str], choice: Choice) -> "Script":
        self.asked.append(list(keys))
        self.said = iter(self.workers.pop(0))
        return self

    def message(self, seconds: float) -> dict[str, Any] | None:
        for said in self.said:
            return said
        raise queue.Empty

    def end(self) -> int:
        return -11


class Time:
    """A clock with as many seconds left as it is told."""

    left = 1000.0


@pytest.fixture
def record(tmp_path: Path) -> Record:
    record = Record.open(tmp_path, MACHINE)
    record.plan("kernels", ["a", "b"], None)
    return record


def passed() -> Iterator[dict[str, Any]]:
    yield {"begin": "b"}
    yield {"status": "passed"}


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ([{"begin": "a"}, None], "its process ended with code -11"),
        ([None], "its process ended with code -11"),
        ([{"begin": "a"}], "ran longer than 600 s"),
    ],
)
def test_an_item_that_ends_its_process_fails_alone(
    record: Record, monkeypatch: pytest.MonkeyPatch, first: list[Any], reason: str
) -> None:
    script = Script(first, [*passed(), None])
    monkeypatch.setattr(gpu_day, "Worker", script)
    gpu_day.run_step("kernels", record, Choice(), Time())  # type: ignore[arg-type]
    assert record.steps["kernels"].results == {
        "a": {"status": "failed", "reason": reason},
        "b": {"status": "passed"},
    }
    assert script.asked == [["a", "b"], ["b"]]
    assert record.left == {}


def test_what_the_end_of_the_time_cuts_off_comes_last(
    record: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Last(Script):
        def message(self, seconds: float) -> dict[str, Any] | None:
            clock.left = 0.0
            return super().message(seconds)

    clock = Time()
    for times in (1, 2):
        clock.left = 5.0
        monkeypatch.setattr(gpu_day, "Worker", Last([{"begin": "a"}]))
        gpu_day.run_step("kernels", record, Choice(), clock)  # type: ignore[arg-type]
        expected = {"status": "cut off", "times": times, "reason": f"time was up, {times} times"}
        assert record.steps["kernels"].results == {"a": expected}
        assert record.steps["kernels"].left == ["b", "a"]
        assert record.left == {"kernels": 2}
    again = Record.open(tmp_path, MACHINE)
    assert again.folder == record.folder
    assert again.steps == record.steps
    assert "- `a`: cut off: time was up, 2 times" in read(tmp_path)[1]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_run_that_is_stopped_has_cut_off_what_ran(
    record: Record, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    class Stopped(Script):
        def message(self, seconds: float) -> dict[str, Any] | None:
            try:
                return super().message(seconds)
            except queue.Empty:
                raise stop from None

    monkeypatch.setattr(gpu_day, "Worker", Stopped([{"begin": "a"}]))
    with pytest.raises(stop):
        gpu_day.run_step("kernels", record, Choice(), Time())  # type: ignore[arg-type]
    assert record.steps["kernels"].cuts("a") == 1


def test_several_items_run_at_a_time_but_not_those_that_are_timed(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2, timeout=10)

    class Lane(Script):
        def message(self, seconds: float) -> dict[str, Any] | None:
            both.wait()  # breaks unless two lanes are here
            return super().message(seconds)

    lanes = {key: [{"begin": key}, {"status": "passed"}, None] for key in "ab"}
    monkeypatch.setattr(
        gpu_day, "Worker", lambda step, keys, choice: Lane(lanes[keys[0]])(step, keys, choice)
    )
    gpu_day.run_step("kernels", record, Choice(), Time(), jobs=2)  # type: ignore[arg-type]
    assert {r["status"] for r in record.steps["kernels"].results.values()} == {"passed"}
    assert record.left == {}

    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(gpu_day, "run_step", lambda name, r, c, t, jobs: asked.append((name, jobs)))
    none = {
        name: dataclasses.replace(step, absence=lambda _: None, items=lambda _: {"a": dict})
        for name, step in gpu_steps.steps().items()
    }
    monkeypatch.setattr(gpu_day, "steps", lambda: none)
    gpu_day.day(record, Choice(standin=True), Time(), ["kernels", "speed"], 5)  # type: ignore[arg-type]
    assert asked == [("kernels", 5), ("speed", 1)]


@pytest.mark.parametrize(
    ("said", "code", "expected"),
    [
        ("3 passed, 1 skipped in 2.1s", 0, {"status": "passed", "ran": 3, "skipped": 1}),
        ("1 failed, 3 passed in 2s", 1, {"status": "failed", "reason": "1 failed, 3 passed in 2s"}),
        (
            "ModuleNotFoundError: No module named 'onnx'",
            *(4, {"status": "not run here", "reason": "onnx is not installed"}),
        ),
    ],
)
def test_what_pytest_says(
    monkeypatch: pytest.MonkeyPatch, said: str, code: int, expected: dict[str, Any]
) -> None:
    done = subprocess.CompletedProcess(["pytest"], code, f"{said}\n")
    monkeypatch.setattr(gpu_steps, "_run", lambda command: done)
    items = gpu_steps.steps()["tests"].items(Choice())
    assert items["tests/kernels/test_gpu.py"]() == expected


@pytest.mark.parametrize(
    ("status", "code"),
    [("passed", gpu_day.PASSED_ALL), ("failed", gpu_day.SOME_FAILED), ("", gpu_day.SOME_LEFT)],
)
def test_exit_codes(
    record: Record, monkeypatch: pytest.MonkeyPatch, status: str, code: int
) -> None:
    step = gpu_steps.Step(lambda choice: None, lambda choice: {"a": dict})
    monkeypatch.setattr(gpu_day, "steps", lambda: {"kernels": step})
    results: list[dict[str, Any] | None] = [{"begin": "a"}, {"status": status, "reason": "x"}, None]
    monkeypatch.setattr(gpu_day, "Worker", Script(results))
    clock = Time()
    clock.left = 1000.0 if status else 0.0
    choice = Choice(standin=True)
    assert gpu_day.day(record, choice, clock) == code  # type: ignore[arg-type]


def test_results_are_of_one_device_and_one_state_of_the_code(
    record: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record.save()
    today = record.folder.name
    assert today.endswith("-NVIDIA-L4-8-9")
    assert Record.open(tmp_path, MACHINE).folder.name == today
    assert Record.open(tmp_path, MACHINE, fresh=True).folder.name == f"{today}-2"
    other = Record.open(tmp_path, MACHINE | {"device": "NVIDIA L40 (8.9)"})
    assert other.folder.name.endswith("-NVIDIA-L40-8-9")
    monkeypatch.setattr(gpu_record, "sources", lambda: "changed")
    changed = Record.open(tmp_path, MACHINE)
    assert (changed.folder.name, changed.steps) == (f"{today}-2", {})


def test_what_is_missing_is_tried_again(record: Record) -> None:
    record.add("kernels", "a", {"status": "not run here", "reason": "no torch"})
    assert record.steps["kernels"].left == ["b"]
    record.plan("kernels", ["a", "b"], None)
    assert record.steps["kernels"].left == ["a", "b"]


def test_every_kernel_is_launched() -> None:
    assert gpu_steps.unreached() == []


def test_whatever_an_item_raises_is_a_failure() -> None:
    def broken() -> dict[str, Any]:
        raise AssertionError("cuLaunchKernel: CUDA_ERROR_ILLEGAL_ADDRESS\nmore")

    reason = "AssertionError: cuLaunchKernel: CUDA_ERROR_ILLEGAL_ADDRESS more"
    assert gpu_day.attempt(broken) == {"status": "failed", "reason": reason}


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (0, "launched 2 kernels", {"status": "passed", "said": "========= ERROR SUMMARY"}),
        (86, "launched 2 kernels", {"status": "failed", "reason": "========= ERROR SUMMARY"}),
        (1, "AssertionError: loss", {"status": "failed", "reason": "AssertionError: loss"}),
    ],
)
def test_what_a_sanitizer_says(
    monkeypatch: pytest.MonkeyPatch, code: int, said: str, expected: dict[str, Any]
) -> None:
    commands = []

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, code, f"{said}\n========= ERROR SUMMARY\n")

    monkeypatch.setattr(gpu_steps, "_run", run)
    monkeypatch.setattr(gpu_steps, "_sanitizer", lambda: "/cuda/compute-sanitizer")
    items = gpu_steps.steps()["sanitizer"].items(Choice(ops=("nms",)))
    assert items["racecheck"]() == expected
    command = ["/cuda/compute-sanitizer", "--tool", "racecheck", "--error-exitcode", "86"]
    command += [sys.executable, str(gpu_steps.SCRIPT), "--launch-each", "--op=nms"]
    assert commands == [command]


@WITHOUT_GPU
def test_tests_that_are_skipped_have_not_passed() -> None:
    items = gpu_steps.steps()["tests"].items(Choice())
    result = items["tests/runtime/test_ort_rtx.py"]()
    assert result["status"] == "not run here"
    assert "onnxruntime-ep-nv-tensorrt-rtx-cu13 is not installed" in result["reason"] or (
        str(driver().reason) in result["reason"]
    )
    why = 'its cases are those of the step "kernels"'
    assert items["tests/kernels/test_gpu.py"]() == {"status": "not run here", "reason": why}


@pytest.mark.parametrize(
    ("op", "sizes"),
    [
        ("pairwise_iou", {"N": 2048, "M": 2048}),
        ("nms", {"N": 4096}),
        ("ghm_r_loss", {"N": 2**20}),
        ("ghm_c_loss", {"N": 2**15, "C": 80}),
    ],
)
def test_sizes_that_keep_a_gpu_busy(op: str, sizes: dict[str, int]) -> None:
    assert gpu_speed.sizes(Variant.make(CATALOG[op]), small=False) == sizes

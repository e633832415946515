"""Everything that a GPU can show, in one resumable run: benchmarks/results/gpu/DATE-DEVICE.

    make gpu                # all of it
    make gpu MINUTES=9      # stop in time, and go on at the next call
    make gpu STANDIN=1      # without a GPU: the kernels emulated, at small sizes

Exit codes: 0 everything that can run here has passed, 1 something failed, 2 bad usage, 3 time was
up and something is left, 4 nothing could run here.
"""

import argparse
import contextlib
import json
import os
import platform
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gpu_record import CUT, FAILED, ROOT, Record, Result
from gpu_steps import SCRIPT, Choice, absence, launch_each, steps, unreached
from measure import RESULTS

from lossexport.catalog import BUILTIN
from lossexport.errors import one_line
from lossexport.runtime.backends import installed_version
from lossexport.runtime.cuda import driver

PASSED_ALL, SOME_FAILED, BAD_USAGE, SOME_LEFT, NONE_RAN = range(5)
# An item that takes longer hangs.
ITEM_S = 600.0
_PACKAGES = (
    *("numpy", "torch", "triton", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt-cu13"),
    *("tensorrt-rtx-cu13", "onnxruntime-ep-nv-tensorrt-rtx-cu13", "cuda-bindings"),
    "nvidia-cuda-nvrtc",
)


class Clock:
    """When the time is up, in seconds of the monotonic clock."""

    def __init__(self, minutes: float | None) -> None:
        self._end = float("inf") if minutes is None else time.monotonic() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds; 0 when there are none."""
        return max(self._end - time.monotonic(), 0.0)

    def stop(self) -> None:
        """The time is up now."""
        self._end = 0.0


def machine(standin: bool) -> dict[str, Any]:
    """What the results are of."""
    found = driver()
    devices = ("stand-in",) if standin else found.devices or ("no GPU",)
    version = Path("/proc/driver/nvidia/version")
    number = re.search(r" (\d+\.[\d.]+) ", version.read_text()) if version.exists() else None
    packages = {name: installed_version(name) for name in _PACKAGES}
    return {
        "device": devices[0],
        "standin": standin,
        "driver": f"{number[1] if number else 'unknown'} (CUDA {found.version or 'none'})",
        "environment": {
            "python": platform.python_version(),
            **{name: number for name, number in packages.items() if number},
        },
    }


class Worker:
    """A process that runs items of a step: what ends it, ends neither the run nor the record."""

    def __init__(self, step: str, keys: Sequence[str], choice: Choice) -> None:
        command = [sys.executable, str(SCRIPT), "--worker", step, *choice.arguments]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and says how
            self._process.stdin.write(json.dumps(list(keys)))
            self._process.stdin.close()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def message(self, seconds: float) -> dict[str, Any] | None:
        """What it says next, None at its end. Raises queue.Empty where it takes longer."""
        line = self._lines.get(timeout=seconds)
        return None if line is None else json.loads(line)

    def end(self) -> int:
        """Kill what still runs of it and of what it started; its exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()


def run_step(name: str, record: Record, choice: Choice, clock: Clock, jobs: int = 1) -> None:
    """Run what a step has left, in `jobs` processes at a time, until the time is up."""
    left = record.steps[name].left
    shares = [left[lane::jobs] for lane in range(min(jobs, len(left)))]
    if len(shares) < 2:
        run_lane(name, left, record, choice, clock, [])
        return
    workers: list[Worker] = []
    with ThreadPoolExecutor(len(shares)) as pool:
        lanes = [
            pool.submit(run_lane, name, keys, record, choice, clock, workers) for keys in shares
        ]
        try:
            for lane in lanes:
                lane.result()
        except (KeyboardInterrupt, SystemExit):
            clock.stop()
            for worker in workers:
                worker.end()
            raise


def run_lane(
    name: str,
    keys: Sequence[str],
    record: Record,
    choice: Choice,
    clock: Clock,
    workers: list[Worker],
) -> None:
    """Run items of a step one after the other, in as many `workers` as that takes."""
    step = record.steps[name]
    while clock.left and (keys := [key for key in step.left if key in keys]):
        begun: str | None = keys[0]
        worker, result = Worker(name, keys, choice), None
        workers.append(worker)
        try:
            since = time.monotonic()
            while True:
                spare = ITEM_S - (time.monotonic() - since)
                said = worker.message(max(min(clock.left, spare), 0))
                if said is None:
                    ended = f"its process ended with code {worker.end()}"
                    result = {"status": FAILED, "reason": ended} if clock.left else {"status": CUT}
                    break
                if "begin" in said:
                    begun, since = said["begin"], time.monotonic()
                    continue
                record.add(name, str(begun), said)
                print(f"{name}: {begun}: {said['status']} {said.get('reason', '')}", flush=True)
                begun = None
        except queue.Empty:
            late = f"ran longer than {ITEM_S:.0f} s"
            result = {"status": FAILED, "reason": late} if clock.left else {"status": CUT}
        except (KeyboardInterrupt, SystemExit):
            result = {"status": CUT}
            raise
        finally:
            worker.end()
            if begun is not None and result is not None:
                record.add(name, begun, result)
                print(f"{name}: {begun}: {result['status']}", flush=True)


def work(name: str, choice: Choice) -> None:
    """Run the items that stdin names, and say so on stdout, until one fails.

    What has failed may have broken the device's context: the next item gets a new process.
    """
    keys = json.load(sys.stdin)
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print too
    items = steps()[name].items(choice)
    for key in keys:
        print(json.dumps({"begin": key}), file=channel)
        begin = time.monotonic()
        result = attempt(items[key])
        seconds = round(time.monotonic() - begin, 3)
        print(json.dumps({**result, "seconds": seconds}), file=channel)
        if result["status"] == FAILED:
            break


def attempt(run: Callable[[], Result]) -> Result:
    """The result of an item; whatever it raises is a failure."""
    try:
        return run()
    except Exception as error:  # of any library
        return {"status": FAILED, "reason": f"{type(error).__name__}: {one_line(error)}"}


def day(
    record: Record, choice: Choice, clock: Clock, names: Sequence[str] = (), jobs: int = 1
) -> int:
    """Plan all steps, run what is left of them (of `names`, if given); the exit code.

    What is timed runs alone, of the rest `jobs` items at a time.
    """
    for name, step in steps().items():
        missing = absence(step, choice)
        record.plan(name, [] if missing else list(step.items(choice)), missing)
    record.save()
    try:
        for name, planned in record.steps.items():
            if planned.absence is None and (not names or name in names):
                run_step(name, record, choice, clock, 1 if steps()[name].timed else jobs)
    finally:
        summary = list(sentences(record))
        print("\n".join(summary))
    if record.count(FAILED):
        return SOME_FAILED
    if record.left:
        return SOME_LEFT
    return PASSED_ALL if record.count("passed") else NONE_RAN


def sentences(record: Record) -> Iterator[str]:
    """How it went, what is missing and what is left."""
    for name, step in record.steps.items():
        if step.absence is not None:
            yield f"{name}: not run here: {step.absence}"
        else:
            counts = (f"{step.count(s)} {s}" for s in ("passed", "failed", "not run here"))
            yield f"{name}: {', '.join(counts)}, {len(step.left)} left"
    if kernels := unreached():
        yield f"no item launches {', '.join(kernels)}"
    yield f"results: {record.folder}"
    if left := record.left:
        yield f"left: {', '.join(f'{count} of {name}' for name, count in left.items())}; run again"


def _jobs(text: str) -> int:
    if not 0 < (number := int(text)) <= 1024:
        raise ValueError(text)
    return number


def _minutes(text: str) -> float:
    if not 0 < (number := float(text)) < 1e6:
        raise ValueError(text)
    return number


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, help="folder of the dated folders")
    parser.add_argument("--minutes", type=_minutes, help="stop after as many")
    parser.add_argument("--jobs", type=_jobs, default=1, help="items at a time")
    parser.add_argument("--op", action="append", default=[], choices=list(BUILTIN), metavar="OP")
    parser.add_argument("--step", action="append", default=[], choices=list(steps()))
    parser.add_argument("--standin", action="store_true", help="emulate the kernels on the CPU")
    parser.add_argument("--fresh", action="store_true", help="begin a new folder")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--launch-each", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    choice = Choice(given.standin, tuple(given.op))
    if given.worker:
        work(given.worker, choice)
        return 0
    if given.launch_each:
        print(f"launched {launch_each(choice)} kernels")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(SOME_LEFT))
    # What shows nothing of a GPU does not belong among the results.
    real = not choice.standin and driver().reason is None
    out = given.out or (RESULTS / "gpu" if real else ROOT / "build" / "gpu")
    record = Record.open(out, machine(choice.standin), given.fresh)
    try:
        return day(record, choice, Clock(given.minutes), given.step, given.jobs)
    except KeyboardInterrupt:
        return SOME_LEFT


if __name__ == "__main__":
    sys.exit(main())

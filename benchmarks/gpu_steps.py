"""The steps of a day on a GPU: what each needs, its items, and how an item runs."""

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_record import ABSENT, FAILED, PASSED, ROOT, Result, sources
from gpu_speed import speed

import lossexport
from lossexport.catalog import BUILTIN
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError
from lossexport.kernels import declared, kernels, ptx
from lossexport.names import PRECISIONS, Builder
from lossexport.parity.artifact import Target
from lossexport.parity.cases import Case
from lossexport.runtime import available
from lossexport.runtime.backends import has_module
from lossexport.runtime.cuda import driver
from tests.kernels import launching
from tests.kernels.device import Device
from tests.kernels.launching import Memory

SCRIPT = Path(__file__).with_name("gpu_day.py")
WORK = ROOT / "build" / "gpu-exports"
_SANITIZERS = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer")
_FOUND = 86  # the exit code of a sanitizer that has found something
_STANDIN_TESTS = "tests/kernels/test_gpu.py"

Run = Callable[[], Result]


@dataclass(frozen=True)
class Choice:
    """Whether the stand-ins for a GPU take part, and the ops to look at (none: all)."""

    standin: bool = False
    ops: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """The same choice on a command line."""
        return [*(["--standin"] if self.standin else []), *(f"--op={op}" for op in self.ops)]

    def has(self, op: str) -> bool:
        """Whether an op is looked at."""
        return not self.ops or op in self.ops

    @functools.cached_property
    def device(self) -> Device:
        """The first GPU, or its stand-in."""
        if self.standin:
            from tests.kernels.standin import Emulated

            return Emulated()
        from cuda.bindings import driver as bindings

        return Device(bindings)


@dataclass(frozen=True)
class Step:
    """`absence` says why nothing of it can run here; `items` are what runs, by name.

    What is `timed` runs alone.
    """

    absence: Callable[[Choice], str | None]
    items: Callable[[Choice], dict[str, Run]]
    timed: bool = False


def steps() -> dict[str, Step]:
    """In the order in which they run."""
    verified = {
        f"verify {label}": Step(functools.partial(_unverifiable, label), _verified(label))
        for label in ("ort-cuda", "tensorrt", "rtx", "ort-rtx")
    }
    return {
        "tests": Step(lambda choice: None, _tests),
        "kernels": Step(_uncompiled, _kernels),
        "sanitizer": Step(_unsanitized, _sanitizers),
        **verified,
        "speed": Step(_uncompiled, _speeds, timed=True),
    }


def absence(step: Step, choice: Choice) -> str | None:
    """Why a step cannot run here, the lack of a GPU first."""
    return (None if choice.standin else driver().reason) or step.absence(choice)


def _tests(choice: Choice) -> dict[str, Run]:
    """A pytest run for each file with tests marked `gpu`; with stand-ins the test of these."""
    mark = re.compile(r"^@pytest\.mark\.gpu\b", re.MULTILINE)
    files = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if mark.search(path.read_text("utf-8"))
    ]
    if choice.standin:
        return {_STANDIN_TESTS: functools.partial(_pytest, _STANDIN_TESTS, "-k", "hands_over")}
    # The step "kernels" runs the cases of this one, and keeps their numbers.
    chosen = ("-m", "gpu", "--deselect", f"{_STANDIN_TESTS}::test_every_size")
    return {file: functools.partial(_pytest, file, *chosen) for file in files}


def _pytest(file: str, *options: str) -> Result:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", file, *options]
    done = _run(command)
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (\w+)", done.stdout[-300:])}
    failed = done.returncode not in (0, 5)  # 5: all are deselected
    skips = re.findall(r"^SKIPPED \[\d+\] \S+ (.*)$", done.stdout, re.MULTILINE)
    ran, skipped = counts.get("passed", 0), counts.get("skipped", 0)
    missing = re.search(r"No module named '([^']+)'", done.stdout)
    if done.returncode in (2, 4) and missing:  # before any test has run
        return {"status": ABSENT, "reason": f"{missing[1]} is not installed"}
    if failed:
        return {"status": FAILED, "reason": _last_line(done.stdout)}
    if not ran:
        why = "; ".join(skips) or 'its cases are those of the step "kernels"'
        return {"status": ABSENT, "reason": why}
    return {"status": PASSED, "ran": ran, "skipped": skipped}


def _uncompiled(choice: Choice) -> str | None:
    if choice.standin and shutil.which("g++") is None:
        return "no g++ to compile the emulation with"
    try:
        ptx.nvrtc()
    except LossexportError as error:
        return str(error)
    return None


def _variants(choice: Choice, *precisions: Any) -> Iterator[Variant]:
    for precision in precisions:
        found = launching.variants(precision)
        yield from (variant for variant in found if choice.has(variant.op.name))


def _kernels(choice: Choice) -> dict[str, Run]:
    precisions = PRECISIONS[:1] if choice.standin else PRECISIONS
    return {
        launching.label(variant): functools.partial(_compare, variant, choice)
        for variant in _variants(choice, *precisions)
    }


def _compare(variant: Variant, choice: Choice) -> Result:
    """All sizes from 1 to 100,000 against the oracle; an AssertionError is a breach."""
    cases = [*launching.cases(variant), *launching.large(variant)]
    if choice.standin:
        cases = [_ordinary(variant, size) for size in (1, 3)]
    errors = [
        error
        for case in cases
        for error in launching.compare(variant, case, choice.device).values()
    ]
    worst = max((e.worst for e in errors if e.worst), key=lambda w: w.used, default=None)
    return {
        "status": PASSED,
        "kernels": [kernel.name for kernel in kernels(variant.op, variant.gradient)],
        "cases": len(cases),
        "largest": max((size for case in cases for _, size in case.sizes), default=0),
        "max_ulp": max((e.max_ulp for e in errors), default=0.0),
        "used": worst.used if worst else 0.0,
        "worst": worst.case if worst else None,
    }


def _ordinary(variant: Variant, size: int) -> Case:
    sizes = {dim: max(size, allowed.min) for dim, allowed in variant.ranges.items()}
    return Case(next(iter(variant.op.samplers)), tuple(sizes.items()), 0)


def _sanitizer() -> str | None:
    return shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path=os.pathsep.join(_SANITIZERS)
    )


def _unsanitized(choice: Choice) -> str | None:
    if not choice.standin and _sanitizer() is None:
        return "compute-sanitizer is not installed (it comes with the CUDA toolkit)"
    return _uncompiled(choice)


def _sanitizers(choice: Choice) -> dict[str, Run]:
    return {tool: functools.partial(_sanitize, tool, choice) for tool in ("memcheck", "racecheck")}


def _sanitize(tool: str, choice: Choice) -> Result:
    command = [sys.executable, str(SCRIPT), "--launch-each", *choice.arguments]
    if not choice.standin:
        sanitizer = [str(_sanitizer()), "--tool", tool, "--error-exitcode", str(_FOUND)]
        command = [*sanitizer, *command]
    done = _run(command)
    if done.returncode == 0:
        return {"status": PASSED, "said": _last_line(done.stdout)}
    # What the tool has found, or else how the program itself has failed.
    whole = done.returncode == _FOUND
    text = done.stdout if whole else re.sub(r"(?m)^=========.*$", "", done.stdout)
    return {"status": FAILED, "reason": _last_line(text)}


def launch_each(choice: Choice) -> int:
    """Launch every kernel once, without guard zones: the tool watches the ends. How many ran."""
    Memory.guard = 0
    names = set()
    for variant in _variants(choice, "fp32"):
        inputs = launching.rounded(variant, _ordinary(variant, 33).inputs(variant))
        launching.run(variant, inputs, choice.device)
        names |= {kernel.name for kernel in kernels(variant.op, variant.gradient)}
    return len(names)


def _unverifiable(label: str, choice: Choice) -> str | None:
    for module in ("onnx", "onnxscript"):
        if not has_module(module):
            return f"{module} is not installed, and files are exported first"
    target = _target(label, choice)
    for backend in ("ort", target.backend):  # an export is compared in onnxruntime first
        if not (here := available()[backend]).runs:
            return here.reason
    return target.absence(Variant.make(BUILTIN["box_iou"]))


def _target(label: str, choice: Choice) -> Target:
    backend, _, provider = label.partition("-")
    # The same files in onnxruntime, where no GPU takes part.
    return Target(backend, "cpu" if choice.standin or not provider else provider)


def _verified(label: str) -> Callable[[Choice], dict[str, Run]]:
    def items(choice: Choice) -> dict[str, Run]:
        return {
            op: functools.partial(_verify, op, _target(label, choice))
            for op in BUILTIN
            if choice.has(op)
        }

    return items


def _verify(op: str, target: Target) -> Result:
    """Export an op, with its gradient where it has one, and verify the files."""
    engine: Builder | None = {"tensorrt": "tensorrt", "rtx": "rtx"}.get(target.backend)  # type: ignore[assignment]
    folder = WORK / sources() / (engine or "onnx") / op
    if not folder.exists():
        chosen: Mapping[str, Any] = {"formats": ["engine"], "backend": engine} if engine else {}
        lossexport.export(op, folder, gradient=bool(BUILTIN[op].gradient), **chosen)
    report = lossexport.verify(folder, backends=[target.label])
    results = [(file.path.name, result) for file in report.files for result in file.results]
    reasons = [
        f"{name}: {result.reason or 'beyond tolerance'}"
        for name, result in results
        if result.status != "passed"
    ]
    used = [e["tolerance_used"] for _, r in results for e in r.outputs.values()]
    status = FAILED if report.failed else PASSED if not reasons else ABSENT
    found: Result = {
        "status": status,
        "files": len(results),
        "cases": sum(result.cases for _, result in results),
        "used": float(max((number for number in used if number is not None), default=0.0)),
    }
    return found | ({"reason": "; ".join(reasons)} if reasons else {})


def _speeds(choice: Choice) -> dict[str, Run]:
    defaults = (v for v in _variants(choice, "fp32") if v.attributes == _plain(v).attributes)
    return {variant.stem: functools.partial(_speed, variant, choice) for variant in defaults}


def _plain(variant: Variant) -> Variant:
    return Variant.make(variant.op, {}, variant.precision, variant.gradient)


def _speed(variant: Variant, choice: Choice) -> Result:
    return {"status": PASSED, **speed(variant, choice.device, choice.standin)}


def unreached() -> list[str]:
    """Kernels that no item of the step "kernels" launches."""
    reached = {
        kernel.name
        for variant in launching.variants("fp32")
        for kernel in kernels(variant.op, variant.gradient)
    }
    return sorted(declared().keys() - reached)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"

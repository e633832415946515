"""What a day on a GPU has shown so far: one folder, written anew after every result."""

import hashlib
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_page import page

from lossexport.files import write_bytes

ROOT = Path(__file__).resolve().parent.parent
NAME = "results.json"
PASSED, FAILED, CUT, ABSENT = "passed", "failed", "cut off", "not run here"
_SOURCES = ("lossexport", "plugins", "tests/kernels", "benchmarks")
_SUFFIXES = {".py", ".h", ".hpp", ".cpp", ".cuh", ".cu", ".inc"}

Result = dict[str, Any]


def sources() -> str:
    """A hash of the code that the results are of."""
    found = hashlib.sha256()
    for folder in _SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in _SUFFIXES:
                found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:12]


@dataclass
class Step:
    """A step's items and their results; `absence` is why none of them can run here."""

    planned: list[str] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    absence: str | None = None

    @property
    def left(self) -> list[str]:
        """What is planned and has no result yet; what was cut off comes last."""
        open_items = [key for key in self.planned if self._status(key) in (None, CUT)]
        return sorted(open_items, key=self.cuts)

    def cuts(self, key: str) -> int:
        """How often the end of a run has cut off an item."""
        result = self.results.get(key, {})
        return int(result.get("times", 0)) if result.get("status") == CUT else 0

    def count(self, status: str) -> int:
        """How many results have that status."""
        return sum(result["status"] == status for result in self.results.values())

    def _status(self, key: str) -> str | None:
        status: str | None = self.results.get(key, {}).get("status")
        return status


@dataclass
class Record:
    """The results of one machine and one state of the code, in `folder`."""

    folder: Path
    machine: dict[str, Any]
    sources: str
    steps: dict[str, Step] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def open(cls, out: Path, machine: Mapping[str, Any], fresh: bool = False) -> "Record":
        """The newest record in `out` of the same device and code, or a new one of today."""
        code = sources()
        device = re.sub(r"\W+", "-", str(machine["device"])).strip("-")
        for path in sorted(out.glob(f"*-{device}*/{NAME}"), reverse=True):
            text = json.loads(path.read_text("utf-8"))
            same = (text["machine"]["device"], text["sources"]) == (machine["device"], code)
            if same and not fresh:
                steps = {name: Step(**step) for name, step in text["steps"].items()}
                return cls(path.parent, dict(machine), code, steps)
        today = f"{datetime.now(UTC).date()}-{device}"
        names = (today, *(f"{today}-{number}" for number in range(2, 1000)))
        folder = next(out / name for name in names if not (out / name).exists())
        return cls(folder, dict(machine), code)

    def plan(self, name: str, keys: Sequence[str], absence: str | None) -> None:
        """What a step has to do. What was missing is tried again."""
        step = self.steps.setdefault(name, Step())
        step.planned, step.absence = list(keys), absence
        step.results = {k: r for k, r in step.results.items() if r["status"] != ABSENT}

    def add(self, name: str, key: str, result: Result) -> None:
        """Note the result of an item, and write everything. For any thread."""
        step = self.steps[name]
        with self._lock:
            if result["status"] == CUT:
                times = step.cuts(key) + 1
                result = {**result, "times": times, "reason": f"time was up, {times} times"}
            step.results[key] = result
            self.save()

    def save(self) -> None:
        """Write the record and its page, each in one step."""
        data = {
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": self.machine,
            "sources": self.sources,
            "steps": {
                name: {"absence": s.absence, "planned": s.planned, "results": s.results}
                for name, s in self.steps.items()
            },
        }
        write_bytes(self.folder / NAME, (json.dumps(data, indent=1) + "\n").encode())
        write_bytes(self.folder / "README.md", page(data).encode())

    @property
    def left(self) -> dict[str, int]:
        """How many items each step has left."""
        return {n: len(s.left) for n, s in self.steps.items() if s.absence is None and s.left}

    def count(self, status: str) -> int:
        """How many results of all steps have that status."""
        return sum(step.count(status) for step in self.steps.values())

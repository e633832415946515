"""What the benchmarks share: turns, the environment, the files that results are written to."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lossexport.files import write_bytes

RESULTS = Path(__file__).with_name("results")


def take_turns(
    runners: Mapping[str, Callable[[], object]],
    seconds: float,
    fewest: int = 5,
    most: int = 200,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, float]]:
    """Milliseconds of each, median and least, of rounds in which all take a turn.

    So what else the machine does falls on all of them. A turn is two calls, of which the second is
    timed: what the one before left in the caches, or spinning, is gone.
    """
    times: dict[str, list[float]] = {name: [] for name in runners}
    start = time.perf_counter()
    for done in range(most):
        if done >= fewest and time.perf_counter() - start > seconds:
            break
        for name, runner in runners.items():
            runner()
            begin = clock()
            runner()
            times[name].append(1e3 * (clock() - begin))
    return {
        name: {"median_ms": statistics.median(row), "least_ms": min(row), "rounds": len(row)}
        for name, row in times.items()
    }


def environment(packages: Sequence[str]) -> dict[str, str]:
    """What the figures depend on."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def write(name: str, record: Mapping[str, Any], markdown: Callable[[str], str], out: Path) -> None:
    """Write NAME.json and NAME.md to `out`; `markdown` gets the date."""
    now = datetime.now(UTC).isoformat(timespec="minutes")
    data = json.dumps({"created": now, **record}, indent=2) + "\n"
    write_bytes(out / f"{name}.json", data.encode())
    write_bytes(out / f"{name}.md", markdown(now).encode())


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    rule = ["---"] + ["---:"] * (len(columns) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, rule, *rows))

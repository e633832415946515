"""The page of a day on a GPU: what ran, what did not and why."""

from collections.abc import Iterator, Mapping
from typing import Any

from measure import table

Data = Mapping[str, Any]


def page(data: Data) -> str:
    """The record of `gpu_record` as Markdown."""
    machine = data["machine"]
    facts = ", ".join(f"{name} {value}" for name, value in machine["environment"].items())
    parts = [
        f"# {machine['device']}",
        f"{data['updated']}; driver {machine['driver']}; sources {data['sources']}; {facts}.",
    ]
    if machine["standin"]:
        parts.append("**No GPU took part: the kernels were emulated on the CPU.**")
    parts.append(_overview(data["steps"]))
    for name, step in data["steps"].items():
        for title, text in _details(name, step):
            parts += [f"## {title}", text]
    return "\n\n".join(parts) + "\n"


def _overview(steps: Data) -> str:
    rows = []
    for name, step in steps.items():
        counts = dict.fromkeys(("passed", "failed", "not run here", "cut off"), 0)
        for result in step["results"].values():
            counts[result["status"]] += 1
        ended = sum(counts.values()) - counts["cut off"]
        left = 0 if step["absence"] else max(len(step["planned"]) - ended, 0)
        why = f"not run here: {step['absence']}" if step["absence"] else ""
        shown = (counts["passed"], counts["failed"], counts["not run here"], left)
        rows.append([name, *map(str, shown), why])
    return table(["step", "passed", "failed", "not run here", "left", "why"], rows)


def _details(name: str, step: Data) -> Iterator[tuple[str, str]]:
    results = step["results"]
    notable = [
        f"- `{key}`: {result['status']}: {result['reason']}"
        for key, result in results.items()
        if result["status"] != "passed"
    ]
    if notable:
        yield f"{name}: what did not pass", "\n".join(notable)
    columns, rows = _COLUMNS.get(name.partition(" ")[0]), []
    if columns is None:
        return
    for key, result in results.items():
        if result["status"] == "passed":
            rows.append([f"`{key}`", *(_cell(result.get(column)) for column in columns)])
    if rows:
        yield name, table(["", *columns.values()], rows)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return ", ".join(value)
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


_COLUMNS: dict[str, dict[str, str]] = {
    "tests": {"ran": "tests that ran", "skipped": "skipped"},
    "kernels": {
        "kernels": "kernels",
        "cases": "cases",
        "largest": "largest size",
        "max_ulp": "max ULP",
        "used": "of tolerance",
        "worst": "worst case",
    },
    "sanitizer": {"said": "last line"},
    "verify": {"files": "files", "cases": "cases", "used": "of tolerance"},
    "speed": {
        "sizes": "sizes",
        "kernel_ms": "kernel, ms",
        "eager": "eager, times as long",
        "compiled": "torch.compile, times as long",
        "of_copy": "of the bandwidth of a copy",
        "copy_gbs": "copy, GB/s",
    },
}

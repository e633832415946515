"""Race `lossexport score` against other evaluators of COCO boxes, from two files to the numbers.

    pip install --target DIR --no-deps hotcoco ultrafast-pycocotools vernier faster-coco-eval
    python benchmarks/scoring.py --site DIR

Every run is a process of its own, so that starting Python, importing and reading the files count
for all; the runs take turns. DIR comes after the environment on the path of the rivals, which so
use its numpy. Writes `scoring.json` and `scoring.md` after each set, the slowest last, so that a
run that is cut off leaves what it has measured; the page says what is missing. Prints the sentence
that the README has of it. Exits with 1 when the twelve COCO numbers of any two are not equal.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from measure import RESULTS, environment, table, write

from lossexport import sample
from lossexport.names import COCO_NUMBERS

RACES = {
    "COCO": sample.Counts(images=5000, references=36_000, predictions=500_000, even=True),
    "large": sample.Counts(images=80_000, references=1_000_000, predictions=4_000_000),
}
GROWTH = {
    "80 categories": sample.Counts(20_000, 100_000, 500_000),
    "1,203 categories": sample.Counts(20_000, 100_000, 500_000, categories=1203),
    "10,000 categories": sample.Counts(20_000, 100_000, 500_000, categories=10_000),
    "1,000,000 images": sample.Counts(1_000_000, 200_000, 1_000_000),
}
"""Sets over which the time for each prediction should stay the same."""
GROWING = "growth"
PARTS = ("COCO", GROWING, "large")
"""In the order in which they run: the slowest last."""
SEED = 0
TOLERANCE = 1e-12
COMMAND, WRITING, PYTHON = "lossexport score", "lossexport score --out", "lossexport.score()"
PACKAGES = ("lossexport", "numpy", "msgspec")

SCORE = "from lossexport.cli import main; main()"  # what the console script runs
OURS = """
import json, sys
from lossexport import score
from lossexport.names import COCO_NUMBERS
found = score(sys.argv[2], sys.argv[1])
print(json.dumps([found[name] for name in COCO_NUMBERS]))
"""
_LIKE_PYCOCOTOOLS = """
import json, sys
sys.path.append(sys.argv[3])
from {module} import COCO, {name} as COCOeval
truth = COCO(sys.argv[1])
run = COCOeval(truth, truth.{load}(sys.argv[2]), "bbox")
run.evaluate()
run.accumulate()
run.summarize()
print(json.dumps([float(value) for value in run.stats[:12]]))
"""
RIVALS = {
    "hotcoco": _LIKE_PYCOCOTOOLS.format(module="hotcoco", name="COCOeval", load="load_res"),
    "ultrafast-pycocotools": _LIKE_PYCOCOTOOLS.format(
        module="ultrafast_pycocotools", name="COCOeval", load="loadRes"
    ),
    "vernier": """
import json, os, sys
from pathlib import Path
sys.path.append(sys.argv[3])
from vernier.instance import Bbox, CocoDataset, Evaluator
truth = CocoDataset.from_json(Path(sys.argv[1]).read_bytes())
found = Path(sys.argv[2]).read_bytes()
threads = len(os.sched_getaffinity(0))
summary = Evaluator(iou=Bbox(), parity_mode="strict").evaluate(truth, found, num_threads=threads)
print(json.dumps([float(value) for value in summary.stats[:12]]))
""",
    "faster-coco-eval": _LIKE_PYCOCOTOOLS.format(
        module="faster_coco_eval", name="COCOeval_faster", load="loadRes"
    ),
}


@dataclass(slots=True)
class Contender:
    command: Sequence[str]
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)
    output: str = ""

    def run(self) -> None:
        """Start the process, wait for it, note its times and its largest memory."""
        # As in an installation, where modules are compiled already.
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        with tempfile.TemporaryFile("w+") as stdout:
            begun = time.perf_counter()
            process = subprocess.Popen(
                self.command, stdout=stdout, stderr=subprocess.DEVNULL, env=kept
            )
            _, status, usage = os.wait4(process.pid, 0)
            self.seconds.append(time.perf_counter() - begun)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                sys.exit(f"exit code {process.returncode} of {self.command}")
            stdout.seek(0)
            self.output = stdout.read()
        self.cpu.append(usage.ru_utime + usage.ru_stime)
        self.peak.append(usage.ru_maxrss)

    def figures(self) -> dict[str, Any]:
        return {
            "median_s": statistics.median(self.seconds),
            "least_s": min(self.seconds),
            "median_cpu_s": statistics.median(self.cpu),
            "least_cpu_s": min(self.cpu),
            "peak_mib": max(self.peak) / 1024,
            "seconds": self.seconds,
            "cpu": self.cpu,
        }


def contenders(folder: Path, site: Path) -> dict[str, Contender]:
    truth, found, out = (str(folder / name) for name in ("gt.json", "dets.json", "out"))
    score = [sys.executable, "-c", SCORE, "score", "--pred", found, "--ref", truth]
    commands = {
        COMMAND: score,
        WRITING: [*score, "--out", out],
        PYTHON: [sys.executable, "-c", OURS, truth, found],
    }
    for name, script in RIVALS.items():
        commands[name] = [sys.executable, "-c", script, truth, found, str(site)]
    return {name: Contender(command) for name, command in commands.items()}


def race(counts: sample.Counts, rounds: int, site: Path, warm: bool) -> dict[str, Any]:
    """Run every contender `rounds` times in turn; `warm` them by one that does not count."""
    with tempfile.TemporaryDirectory() as folder:
        sample.write(counts, SEED, Path(folder))
        for one in contenders(Path(folder), site).values() if warm else ():
            one.run()
        running = contenders(Path(folder), site)
        for turn in range(rounds):
            for name, one in running.items():
                one.run()
                cpu, seconds = one.cpu[-1], one.seconds[-1]
                print(f"{turn + 1}/{rounds} {name}: {seconds:.2f} s, CPU {cpu:.2f} s", flush=True)
        written = json.loads(Path(folder, "out", "summary.json").read_text())
    ours = [written[name] for name in COCO_NUMBERS]
    gaps = {}
    for name, one in running.items():
        if name not in (COMMAND, WRITING):
            numbers = json.loads(one.output.splitlines()[-1])
            gaps[name] = max(abs(a - b) for a, b in zip(ours, numbers, strict=True))
    figures = {name: one.figures() for name, one in running.items()}
    return {"counts": sizes(counts), "rounds": rounds, "figures": figures, "gaps": gaps}


def growth(rounds: int) -> dict[str, Any]:
    """Least CPU time of `lossexport score` for each of GROWTH."""
    found = {}
    for name, counts in GROWTH.items():
        with tempfile.TemporaryDirectory() as folder:
            sample.write(counts, SEED, Path(folder))
            command = contenders(Path(folder), Path())[COMMAND].command
            one = Contender(command)
            for _ in range(rounds + 1):
                one.run()
        micro = 1e6 * min(one.cpu) / counts.predictions
        found[name] = {
            "counts": sizes(counts),
            "least_cpu_s": min(one.cpu),
            "microseconds": micro,
            "peak_mib": max(one.peak) / 1024,
        }
        print(f"{name}: {micro:.2f} us a prediction", flush=True)
    return found


def sizes(counts: sample.Counts) -> dict[str, int]:
    return {
        "images": counts.images,
        "references": counts.references,
        "predictions": counts.predictions,
        "categories": counts.categories,
    }


def versions(site: Path) -> dict[str, str]:
    """Those of the rivals in the folder."""
    installed = {
        d.metadata["Name"].lower(): d.version for d in metadata.distributions(path=[str(site)])
    }
    return {name: installed[name] for name in RIVALS}


def _race_table(record: Mapping[str, Any], of: Mapping[str, Any]) -> list[str]:
    figures = of["figures"]
    columns = ("least_s", "median_s", "least_cpu_s", "median_cpu_s", "peak_mib")
    best = {key: min(figures[name][key] for name in RIVALS) for key in columns}
    rows = []
    for name, row in figures.items():
        version = record["rivals"].get(name, "")
        cells = [f"{row[key]:.2f}" for key in columns[:-1]] + [f"{row['peak_mib']:.0f}"]
        parts = [f"{row[key] / best[key]:.2f}" for key in ("least_s", "least_cpu_s", "peak_mib")]
        rows.append([f"{name} {version}".strip(), *cells, *parts])
    titles = ["", "wall s, least", "median", "CPU s, least", "median", "peak MiB"]
    titles += ["wall / best rival", "CPU / best rival", "memory / best rival"]
    worst = max(of["gaps"].values())
    counts = ", ".join(f"{value:,} {name}" for name, value in of["counts"].items())
    return [
        f"{counts}, seed {SEED}; {of['rounds']} runs each.",
        "",
        table(titles, rows),
        "",
        f"Largest difference of the twelve COCO numbers of any: {worst:.1e}.",
        "",
    ]


def markdown(record: Mapping[str, Any], created: str) -> str:
    where = record["environment"]
    lines = [
        "# Scoring, from two files to the numbers",
        "",
        f"{created}; {', '.join(f'{name} {value}' for name, value in where.items())}.",
        "",
        "Each run is a new process that imports, reads both files and scores; the runs take turns, "
        f"before the first set after one that does not count. `{COMMAND}` is the command, which "
        "also counts, matches and measures every box, and prints its tables; with `--out` it "
        "writes the summary, a table of all boxes and the report. "
        f"`{PYTHON}` is the same from Python.",
        "",
    ]
    missing = [name for name in PARTS if name not in record["races"] and name != GROWING]
    missing += [] if record["growth"] else [GROWING]
    if missing:
        lines += [f"Not measured in this run: {', '.join(missing)}.", ""]
    for name, of in record["races"].items():
        lines += [f"## {name}", "", *_race_table(record, of)]
    if record["growth"]:
        rows = [
            [
                name,
                f"{row['least_cpu_s']:.2f}",
                f"{row['microseconds']:.2f}",
                f"{row['peak_mib']:.0f}",
            ]
            for name, row in record["growth"].items()
        ]
        titles = ["", "CPU s, least", "microseconds a prediction", "peak MiB"]
        counts = [row["counts"] for row in record["growth"].values()]
        lines += [
            "## Growth",
            "",
            f"`{COMMAND}` on sets of {counts[0]['predictions']:,} predictions on "
            f"{counts[0]['images']:,} images, and of {counts[-1]['predictions']:,} predictions on "
            f"{counts[-1]['images']:,} images.",
            "",
            table(titles, rows),
            "",
        ]
    return "\n".join(lines)


def readme(race: Mapping[str, Any]) -> str:
    """What the README says of the race on the COCO-size set, by medians."""

    def of(name: str) -> tuple[str, str, str]:
        row = race["figures"][name]
        return (
            f"{row['median_s']:.2f} s",
            f"{row['median_cpu_s']:.2f} s",
            f"{row['peak_mib']:.0f} MiB",
        )

    counts, ours = race["counts"], of(COMMAND)
    best, last = (
        choose(RIVALS, key=lambda name: race["figures"][name]["median_s"]) for choose in (min, max)
    )
    rival = of(best)
    text = (
        f"- Scoring {counts['predictions']:,} detections against {counts['references']:,} "
        "references by the COCO protocol, reading the files included, with the quality of every "
        f"box: {ours[0]}, {ours[1]} of CPU and {ours[2]}; {best} takes {rival[0]}, {rival[1]} and "
        f"{rival[2]}, {last} {of(last)[0]} ([results](benchmarks/results/scoring.md))."
    )
    return textwrap.fill(text, 100, subsequent_indent="  ", break_on_hyphens=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--site", type=Path, required=True, help="folder of the rivals")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--large-rounds", type=int, default=2, help="of the other sets")
    parser.add_argument("--sets", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the two files")
    given = parser.parse_args()
    if min(given.rounds, given.large_rounds) < 1:
        parser.error("--rounds and --large-rounds must be at least 1")
    record: dict[str, Any] = {
        "environment": environment(PACKAGES),
        "rivals": versions(given.site),
        "races": {},
        "growth": {},
    }
    for name in PARTS:
        if name not in given.sets:
            continue
        if name == GROWING:
            record["growth"] = growth(given.large_rounds)
        else:
            first = not record["races"]
            rounds = given.rounds if name == "COCO" else given.large_rounds
            record["races"][name] = race(RACES[name], rounds, given.site, first)
        write("scoring", record, lambda now: markdown(record, now), given.out)
    print((given.out / "scoring.md").read_text())
    if "COCO" in record["races"]:
        print(f"For README.md:\n\n{readme(record['races']['COCO'])}")
    gaps = [gap for of in record["races"].values() for gap in of["gaps"].values()]
    if gaps and max(gaps) > TOLERANCE:
        sys.exit(f"the COCO numbers are not equal to {TOLERANCE:g}")


if __name__ == "__main__":
    main()

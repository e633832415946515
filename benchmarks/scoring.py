"""Time scoring a COCO-size set end to end, against faster-coco-eval on the same machine.

Every run is a process of its own, so that starting Python, importing and reading the files count
for all; the runs take turns. Writes `scoring.json` and `scoring.md`, and exits with 1 when the
twelve COCO numbers are not equal.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import RESULTS, environment, table, write

from lossexport import sample
from lossexport.names import COCO_NUMBERS

SET = sample.Counts(images=5000, references=36_000, predictions=500_000, even=True)
SEED = 0
TOLERANCE = 1e-12
OURS, WRITING, THEIRS = "lossexport score", "lossexport score --out", "faster-coco-eval"
PACKAGES = ("lossexport", "faster-coco-eval", "numpy", "msgspec", "onnxruntime", "pyarrow")

SCORE = "from lossexport.cli import main; main()"  # what the console script runs
FASTER = """
import json, sys
from faster_coco_eval import COCO, COCOeval_faster
truth = COCO(sys.argv[1])
run = COCOeval_faster(truth, truth.loadRes(sys.argv[2]), "bbox")
run.evaluate()
run.accumulate()
run.summarize()
print(json.dumps([float(value) for value in run.stats[:12]]))
"""


@dataclass(slots=True)
class Contender:
    command: Sequence[str]
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)
    output: str = ""

    def run(self) -> None:
        """Start the process, wait for it, note its times and its largest memory."""
        with tempfile.TemporaryFile("w+") as stdout:
            begun = time.perf_counter()
            process = subprocess.Popen(self.command, stdout=stdout)
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
            "most_s": max(self.seconds),
            "median_cpu_s": statistics.median(self.cpu),
            "peak_mib": max(self.peak) / 1024,
            "seconds": self.seconds,
        }


def measure(folder: Path, rounds: int) -> tuple[dict[str, Contender], dict[str, float]]:
    """Run every contender `rounds` times in turn, after one run of each that does not count.

    Returns them, and by name how far the COCO numbers of ours are from theirs.
    """
    truth, found, out = (str(folder / name) for name in ("gt.json", "dets.json", "out"))
    score = [sys.executable, "-c", SCORE, "score", "--pred", found, "--ref", truth]
    commands = {
        OURS: score,
        WRITING: [*score, "--out", out],
        THEIRS: [sys.executable, "-c", FASTER, truth, found],
    }
    for command in commands.values():
        Contender(command).run()
    contenders = {name: Contender(command) for name, command in commands.items()}
    for turn in range(rounds):
        for name, contender in contenders.items():
            contender.run()
            print(f"{turn + 1}/{rounds} {name}: {contender.seconds[-1]:.2f} s", flush=True)
    ours = json.loads(Path(out, "summary.json").read_text())
    theirs = json.loads(contenders[THEIRS].output.splitlines()[-1])
    gaps = {name: abs(ours[name] - theirs[i]) for i, name in enumerate(COCO_NUMBERS)}
    return contenders, gaps


def markdown(record: Mapping[str, Any], created: str) -> str:
    where = record["environment"]
    of = record["set"]
    lines = [
        "# Scoring a COCO-size set, end to end",
        "",
        f"{created}; {', '.join(f'{name} {value}' for name, value in where.items())}.",
        "",
        f"{of['images']:,} images, {of['references']:,} references, {of['predictions']:,} "
        f"predictions, seed {of['seed']}: `{record['command']}`. Each run is a new process that "
        f"imports, reads both files and scores; {record['rounds']} runs each, taking turns, after "
        "one that does not count.",
        "",
    ]
    rows = []
    base = record["figures"][THEIRS]["median_s"]
    for name, row in record["figures"].items():
        cells = [f"{row[key]:.2f}" for key in ("median_s", "least_s", "most_s", "median_cpu_s")]
        ratio = f"{base / row['median_s']:.1f} x"
        rows.append([name, *cells, f"{row['peak_mib']:.0f}", ratio])
    titles = ["", "median s", "least", "most", "CPU s", "peak MiB", f"{THEIRS} takes"]
    worst = max(record["gaps"].values())
    lines += [
        table(titles, rows),
        "",
        f"Largest difference of the twelve COCO numbers: {worst:.1e}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the two files")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error(f"--rounds {given.rounds}: must be at least 1")
    where = environment(PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        sample.write(SET, SEED, Path(folder))
        contenders, gaps = measure(Path(folder), given.rounds)
    record = {
        "environment": where,
        "set": {
            "images": SET.images,
            "references": SET.references,
            "predictions": SET.predictions,
            "seed": SEED,
        },
        "command": f"python -m lossexport.sample --even --images {SET.images} "
        f"--references {SET.references} --predictions {SET.predictions}",
        "rounds": given.rounds,
        "figures": {name: contender.figures() for name, contender in contenders.items()},
        "gaps": gaps,
    }
    write("scoring", record, lambda now: markdown(record, now), given.out)
    print((given.out / "scoring.md").read_text())
    if max(gaps.values()) > TOLERANCE:
        sys.exit(f"the COCO numbers are not equal to {TOLERANCE:g}: {gaps}")


if __name__ == "__main__":
    main()

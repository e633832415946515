"""Time the error bars of two results against those of hotcoco, draw for draw.

    pip install --target DIR --no-deps hotcoco==1.3.0
    python benchmarks/error_bars.py --site DIR --data data/coco_val2017_100

Both evaluate two results on the same references once, then draw the images. The time of the draws
alone counts: that of two draws is taken off. lossexport gives the intervals of 36 numbers and of
the AP of each category, hotcoco those of COCO's numbers. The runs take turns, each in a process of
its own. Writes `error_bars.json` and `error_bars.md`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import RESULTS, environment, table, write

from lossexport import sample

COCO = sample.Counts(images=5000, references=36_000, predictions=500_000, even=True)
OURS, THEIRS = "lossexport", "hotcoco"
_TIMED = """
import json, sys, time
draws = int(sys.argv[4])
def timed(run):
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall
def show(run):
    few, all = timed(lambda: run(2)), timed(lambda: run(2 + draws))
    print(json.dumps([b - a for a, b in zip(few, all)]))
"""
PROGRAMS = {
    OURS: _TIMED
    + """
from pathlib import Path
from lossexport import formats
from lossexport.bootstrap.draws import Draws
from lossexport.bootstrap.pair import compared
from lossexport.boxes.quality import BoxQuality
from lossexport.scoring.run import evaluate
from lossexport.scoring.summary import summarize
ref, *files = map(Path, sys.argv[1:4])
measure, settings = BoxQuality(), {"iou_threshold": 0.5}
runs = [
    evaluate(formats.read(file, ref, "coco"), measure, None, settings, lambda *_: None).run
    for file in files
]
sides = [(run.results, summarize(run)) for run in runs]
show(lambda count: compared(sides, Draws(count, 0), lambda *_: None))
""",
    THEIRS: _TIMED
    + """
sys.path.append(sys.argv[5])
from hotcoco import COCO, COCOeval, compare
truth = COCO(sys.argv[1])
runs = [COCOeval(truth, truth.load_res(file), "bbox") for file in sys.argv[2:4]]
for run in runs:
    run.evaluate()
show(lambda count: compare(*runs, n_bootstrap=count, seed=0))
""",
}


def measure(
    files: list[Path], draws: dict[str, int], site: Path, rounds: int
) -> dict[str, dict[str, float]]:
    """Draws, and the median seconds of processor and of the clock, of each program."""
    times: dict[str, list[list[float]]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            command = [sys.executable, "-c", program, *map(str, files), str(draws[name]), str(site)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            times[name].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        name: {
            "draws": draws[name],
            "cpu_s": statistics.median(cpu for cpu, _ in found),
            "wall_s": statistics.median(wall for _, wall in found),
        }
        for name, found in times.items()
    }


def page(results: dict[str, Any], when: str) -> str:
    """The results as a page."""
    rows = []
    for title, found in results["sets"].items():
        each = {name: one["cpu_s"] / one["draws"] * 1e3 for name, one in found.items()}
        for name, one in found.items():
            ratio = f"{each[THEIRS] / each[OURS]:.1f}" if name == OURS else ""
            cells = f"{one['cpu_s']:.2f}", f"{one['wall_s']:.2f}", f"{each[name]:.2f}", ratio
            rows.append((title, name, str(one["draws"]), *cells))
    columns = ("set", "program", "draws", "CPU s", "wall s", "CPU ms a draw", "times less CPU")
    where = ", ".join(f"{name} {value}" for name, value in results["environment"].items())
    return "\n\n".join(
        [
            "# Error bars of two results",
            f"{when}; {where}.",
            "The draws of two results on the same references, without what is done once: median "
            f"of {results['rounds']} runs in turns, each in a process of its own. lossexport makes "
            "the intervals of 36 numbers and of the AP, AP50 and AP75 of each category, hotcoco "
            "those of COCO's numbers.",
            table(columns, rows) + "\n",
        ]
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--site", type=Path, required=True, help="where hotcoco is")
    parser.add_argument("--data", type=Path, required=True, help="the folder coco_val2017_100")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    real = [
        given.data / name
        for name in ("gt.json", "dets_yolact_resnet50.json", "dets_yolact_base.json")
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample.write(COCO, 0, folder)
        made = [folder / "gt.json", folder / "dets.json", folder / "dets.json"]
        results = {
            "environment": environment(("lossexport", "numpy")),
            "rounds": given.rounds,
            "sets": {
                "100 photos": measure(real, {OURS: 1000, THEIRS: 100}, given.site, given.rounds),
                "COCO size": measure(made, {OURS: 200, THEIRS: 4}, given.site, given.rounds),
            },
        }
    write("error_bars", results, lambda when: page(results, when), RESULTS)


if __name__ == "__main__":
    main()

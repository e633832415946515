"""Time scoring sets with many boxes in an image: the matching alone, and the whole process.

Every run is a process of its own, under a limit of time. `--before` is a checkout of an earlier
version, and `--rivals` a Python with hotcoco, faster-coco-eval and pycocotools. Writes `dense.json`
and `dense.md`, and exits with 1 if the twelve numbers of any two that finish are not equal.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, environment, table, write

from lossexport.names import COCO_NUMBERS

TOLERANCE = 1e-12
SIZE = np.array([1920.0, 1080.0])
PACKAGES = ("lossexport", "numpy", "msgspec")
Array = np.ndarray[Any, np.dtype[np.float64]]

# A limit, so that the machine goes on, and the largest memory since the process began: what `wait4`
# gives includes that of its parent.
MEMORY = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
"""
OURS = """
import json, sys, time
from pathlib import Path
from lossexport import formats
from lossexport.boxes import matching, pairs
from lossexport.names import COCO_NUMBERS
from lossexport.scoring import coco_ap
data = formats.read(Path(sys.argv[2]), Path(sys.argv[1]), "coco")
begun = time.perf_counter()
order = pairs.sort_boxes(data)
found = pairs.find_pairs(data, order, 0.5)
result = coco_ap.evaluate(data, order, found)
matching.match(data, order, found, 0.5)
took = time.perf_counter() - begun
print(json.dumps([took, peak(), [result.values[name] for name in COCO_NUMBERS]]))
"""
THEIRS = """
import json, sys, time
from {module} import COCO, {evaluator} as COCOeval
truth = COCO(sys.argv[1])
run = COCOeval(truth, {results}, "bbox")
begun = time.perf_counter()
run.evaluate()
run.accumulate()
took = time.perf_counter() - begun
run.summarize()
print(json.dumps([took, peak(), [float(value) for value in run.stats[:12]]]))
"""
RIVALS = {
    "hotcoco": ("hotcoco", "COCOeval", "truth.load_res(sys.argv[2])"),
    "faster-coco-eval": ("faster_coco_eval", "COCOeval_faster", "truth.loadRes(sys.argv[2])"),
}
VERSIONS = """
from importlib.metadata import version
print(", ".join(f"{name} {version(name)}" for name in ("hotcoco", "faster-coco-eval")))
"""


def scene(rng: np.random.Generator, predictions: int, references: int) -> tuple[Array, Array]:
    """References of 40 pixels anywhere; 60 % of the predictions are moved ones, others false."""
    side = np.exp(rng.normal(np.log(40), 0.9, (references, 1)))
    side = np.clip(side * np.exp(rng.normal(0, 0.4, (references, 1)) * [0.5, -0.5]), 2, SIZE)
    ref = np.concatenate([rng.random((references, 2)) * (SIZE - side), side], axis=1)
    source = ref[rng.integers(0, references, predictions)]
    part = rng.gamma(2, 0.06, (predictions, 1))
    low = source[:, :2] + rng.normal(0, 1, (predictions, 2)) * part * source[:, 2:]
    pred = np.concatenate(
        [low, source[:, 2:] * np.exp(rng.normal(0, 1, (predictions, 2)) * part)], axis=1
    )
    false = np.flatnonzero(rng.random(predictions) < 0.4)
    side = np.exp(rng.normal(np.log(40), 0.9, (len(false), 2)))
    pred[false] = np.concatenate([rng.random((len(false), 2)) * SIZE, side], axis=1)
    return pred, ref


def identical(rng: np.random.Generator, predictions: int, references: int) -> tuple[Array, Array]:
    box = np.array([[100.0, 100, 50, 50]])
    return np.repeat(box, predictions, axis=0), np.repeat(box, references, axis=0)


def alike(rng: np.random.Generator, predictions: int, references: int) -> tuple[Array, Array]:
    """Nearly all pairs overlap by more than one half, no two equally."""
    pred, ref = identical(rng, predictions, references)
    return pred + rng.normal(0, 1.5, pred.shape), ref + rng.normal(0, 1.5, ref.shape)


Outcome = dict[str, Any] | str
Results = dict[str, dict[str, Outcome]]
Draw = Callable[[np.random.Generator, int, int], tuple[Array, Array]]
SETS: dict[str, tuple[Draw, int, int, int]] = {
    "60 images, 8,400 x 40 boxes": (scene, 60, 8400, 40),
    "60 images, 8,400 x 8,400 boxes": (scene, 60, 8400, 8400),
    "15,000 x 15,000 boxes": (scene, 1, 15_000, 15_000),
    "200,000 x 20,000 boxes": (scene, 1, 200_000, 20_000),
    "15,000 x 15,000 identical boxes": (identical, 1, 15_000, 15_000),
    "15,000 x 15,000 boxes that all overlap": (alike, 1, 15_000, 15_000),
}
"""By name: how it is drawn, the images, and the predictions and references of each."""


def write_set(name: str, folder: Path) -> tuple[str, str]:
    """Write `gt.json` and `dets.json`; equal names give equal files."""
    draw, images, predictions, references = SETS[name]
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        pred, ref = draw(rng, predictions, references)
        for box in ref.round(3).tolist():
            row = {"image_id": image, "category_id": 1, "bbox": box, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "area": box[2] * box[3], **row})
        score = rng.random(predictions).round(5).tolist()
        detections += (
            {"image_id": image, "category_id": 1, "bbox": box, "score": s}
            for box, s in zip(pred.round(3).tolist(), score, strict=True)
        )
    truth = {
        "images": [{"id": image, "width": 1920, "height": 1080} for image in range(1, images + 1)],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": annotations,
    }
    files = folder / "gt.json", folder / "dets.json"
    for file, data in zip(files, (truth, detections), strict=True):
        file.write_text(json.dumps(data))
    return str(files[0]), str(files[1])


def run(command: list[str], folder: Path | None, limit: float) -> Outcome:
    """Times, peak memory and the twelve numbers of a process, or why there are none."""
    env = os.environ | ({"PYTHONPATH": str(folder)} if folder else {})
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=env)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.perf_counter() - begun > limit:
                process.kill()
                process.wait()
                return f"over {limit:g} s"
            time.sleep(0.01)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - begun
        if process.returncode:
            stderr.seek(0)
            said = stderr.read().splitlines() or [f"exit code {process.returncode}"]
            return next((line for line in said if "memory" in line), said[-1])
        stdout.seek(0)
        matching, peak, numbers = json.loads(stdout.read().splitlines()[-1])
    return {
        "matching_s": matching,
        "wall_s": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": peak,
        "numbers": dict(zip(COCO_NUMBERS, numbers, strict=True)),
    }


def measure(
    commands: Mapping[str, tuple[list[str], Path | None]], rounds: int, limit: float
) -> Results:
    """The least of `rounds` runs of each, taking turns, by the name of the set."""
    results: Results = {}
    for name in SETS:
        best: dict[str, Outcome] = {}
        with tempfile.TemporaryDirectory() as folder:
            files = write_set(name, Path(folder))
            for _ in range(rounds):
                for who, (command, place) in commands.items():
                    before = best.get(who)
                    if isinstance(before, str):
                        continue
                    found = run([*command, *files], place, limit)
                    said = found if isinstance(found, str) else f"{found['matching_s']:.3f} s"
                    print(f"{name}, {who}: {said}", flush=True)
                    if (
                        before is None
                        or isinstance(found, str)
                        or found["matching_s"] < before["matching_s"]
                    ):
                        best[who] = found
        results[name] = best
    return results


def markdown(record: Mapping[str, Any], created: str) -> str:
    where = record["environment"]
    lines = [
        "# Scoring dense sets",
        "",
        f"{created}; {', '.join(f'{name} {value}' for name, value in where.items())}.",
        "",
        f"The least of {record['rounds']} runs, each a new process, taking turns. Matching is "
        "what follows reading: COCO AP and the matching of all boxes at an IoU of 0.5 for "
        "lossexport, `evaluate` and `accumulate` for the others, which look at the best 100 "
        "predictions of an image alone. Wall, CPU and memory are those of the whole process. "
        f"Each had at most {record['limit_s']:g} s and 8 GiB of addresses.",
        "",
    ]
    titles = ["", "matching s", "wall s", "CPU s", "peak MiB"]
    for name, results in record["results"].items():
        rows = []
        for who, found in results.items():
            if isinstance(found, str):
                rows.append([who, found, "", "", ""])
                continue
            keys = ("matching_s", "wall_s", "cpu_s")
            times = [f"{found[key]:.2f}" for key in keys]
            rows.append([who, *times, f"{found['peak_mib']:.0f}"])
        lines += [f"## {name}", "", table(titles, rows), ""]
    lines += [f"Largest difference of the twelve COCO numbers: {record['gap']:.1e}.", ""]
    return "\n".join(lines)


def gap(results: Results) -> float:
    """The largest difference of a number between any two that finished the same set."""
    most = 0.0
    for by_name in results.values():
        done = [found["numbers"] for found in by_name.values() if not isinstance(found, str)]
        for key in COCO_NUMBERS:
            values = [numbers[key] for numbers in done] or [0.0]
            most = max(most, max(values) - min(values))
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version")
    parser.add_argument("--rivals", type=Path, help="a Python that has the rivals")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds of a run")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the two files")
    given = parser.parse_args()
    where = environment(PACKAGES)
    own = [sys.executable, "-P", "-c", MEMORY + OURS]  # not what lies in the current folder
    commands: dict[str, tuple[list[str], Path | None]] = {"lossexport": (own, None)}
    if given.before:
        commands["lossexport before"] = (own, given.before.absolute())
    if given.rivals:
        python = str(given.rivals)
        said = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True, check=True)
        where["rivals"] = said.stdout.strip()
        for who, (module, evaluator, load) in RIVALS.items():
            code = THEIRS.format(module=module, evaluator=evaluator, results=load)
            commands[who] = ([python, "-c", MEMORY + code], None)
    results = measure(commands, given.rounds, given.limit)
    record = {
        "environment": where,
        "rounds": given.rounds,
        "limit_s": given.limit,
        "results": results,
        "gap": gap(results),
    }
    write("dense", record, lambda now: markdown(record, now), given.out)
    print((given.out / "dense.md").read_text())
    if record["gap"] > TOLERANCE:
        sys.exit(f"the COCO numbers are not equal to {TOLERANCE:g}")


if __name__ == "__main__":
    main()

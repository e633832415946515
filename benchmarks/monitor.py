"""Measure `lossexport.calibrate` and `lossexport.Watch` on labelled images that they do not see.

    python benchmarks/monitor.py SHARED/data        # writes benchmarks/results/monitor.*

For each detector the images are halved at random, again and again: one half calibrates, and the
watch sees windows of the other without its labels: all of it, the third of all images with the
most boxes (busy), and the third with the lowest mean score (hard), each without the images of the
first half. The truth of each window then comes from the labels. Smaller samples, windows and
corrupted photos show where the estimates fail. The time of a frame is that of the CPU.

The ridge of the curve was chosen on `SETS`. So two checks hold data out: the ridge is chosen anew
on the sets of one source of images and measured on those of the other, and `HELD_OUT` took no part
in any choice.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, environment, table, write
from monitor_photos import corrupted

from lossexport import Calibration, Watch, calibrate, formats
from lossexport.boxes import matching, pairs
from lossexport.monitor import curve
from lossexport.monitor.learn import LEAST_IMAGES
from lossexport.monitor.numbers import pooled_ap

SETS = {
    "YOLO v3, VOC": ("voc2007_half/dets_yolo_v3.json.gz", "voc2007_half/gt.json"),
    "Tiny YOLO v2, VOC": ("voc2007_half/dets_tiny_yolo_v2.json.gz", "voc2007_half/gt.json"),
    "YOLACT base, COCO": ("coco_val2017_100/dets_yolact_base.json", "coco_val2017_100/gt.json"),
    "YOLACT r50, COCO": ("coco_val2017_100/dets_yolact_resnet50.json", "coco_val2017_100/gt.json"),
}
HELD_OUT = {"VOC 2012": ("voc2012_100/dets.json", "voc2012_100/gt_v1.json")}
"""A detector that its source does not name, on 100 images."""
SOURCES = ("VOC", "COCO")
"""The ends of the names of `SETS`: two detectors each, on the same images."""
RIDGES = (4.0, curve.RIDGE, 64.0)
SHIFTS = ("random", "busy", "hard")
NUMBERS = ("precision", "AP50", "correct")
THRESHOLD = 0.25
TRIALS = 40
PACKAGES = ("numpy", "lossexport")

Array = np.ndarray[Any, np.dtype[Any]]
Estimates = dict[str, tuple[float, float, float, float, float]]
"""By number: truth, estimate, lower and upper bound, and the number of the sample."""


@dataclass(frozen=True)
class Labelled:
    """The boxes of a detector that are right or wrong; without those on ignored references."""

    images: int
    image: Array
    category: Array
    box: Array
    score: Array
    correct: Array
    objects: Array
    references: dict[str, Array]
    categories: int

    def sample(self, images: Array) -> tuple[dict[str, Any], dict[str, Any]]:
        """Predictions and references of some images, for `calibrate`."""
        rows = np.isin(self.image, images)
        refs = np.isin(self.references["image_id"], images)
        found = {
            "image_id": self.image[rows],
            "category_id": self.category[rows],
            "box": self.box[rows],
            "score": self.score[rows],
        }
        labels: dict[str, Any] = {key: value[refs] for key, value in self.references.items()}
        return found, {
            **labels,
            "images": {int(i): str(i) for i in images},
            "categories": {k: str(k) for k in range(self.categories)},
        }

    def frames(self, images: Array) -> Iterator[dict[str, Array]]:
        """Frames for `Watch.update`."""
        order = np.argsort(self.image, kind="stable")
        bounds = np.searchsorted(self.image[order], np.arange(self.images + 1))
        for image in images:
            rows = order[bounds[image] : bounds[image + 1]]
            found = {"boxes": self.box[rows], "scores": self.score[rows]}
            yield {**found, "labels": self.category[rows]}

    def truth(self, images: Array) -> dict[str, float]:
        """What the labels say."""
        rows = np.isin(self.image, images)
        counted = rows & (self.score >= THRESHOLD)
        ap = pooled_ap(self.score[rows], self.correct[rows], int(self.objects[images].sum()))
        return {
            "precision": float(self.correct[counted].mean()),
            "AP50": ap,
            "correct": float(self.correct[counted].sum()),
        }

    def third(self, shift: str) -> Array:
        """The images of a window before those of the sample are taken out of it."""
        counted = self.image[self.score >= THRESHOLD]
        boxes = np.bincount(counted, minlength=self.images)
        if shift == "random":
            return np.arange(self.images)
        total = np.bincount(counted, self.score[self.score >= THRESHOLD], self.images)
        key = -boxes if shift == "busy" else total / np.maximum(boxes, 1)
        return np.argsort(key, kind="stable")[: self.images // 3]


def load(folder: Path, name: str) -> Labelled:
    """A set of the folder, matched at an IoU of 0.5."""
    pred, ref = (folder / part for part in (SETS | HELD_OUT)[name])
    data = formats.read(pred, ref, "coco")
    order = pairs.sort_boxes(data)
    status = matching.match(data, order, pairs.find_pairs(data, order, 0.5), 0.5).status
    kept = np.flatnonzero(status != matching.IGNORED)
    predictions, references = data.predictions.take(kept), data.references
    box = predictions.box.copy()
    box[:, 2:] += box[:, :2]
    counted = ~references.ignored
    return Labelled(
        len(data.images),
        predictions.image,
        predictions.category,
        box,
        predictions.score,
        status[kept] == matching.MATCHED,
        np.bincount(references.image[counted], minlength=len(data.images)),
        {
            "image_id": references.image[counted],
            "category_id": references.category[counted],
            "bbox": references.box[counted],
        },
        len(data.categories),
    )


def estimates(calibration: Calibration, labelled: Labelled, images: Array) -> Estimates:
    """Truth and estimates of one window of all `images`."""
    watch = Watch(calibration, len(images))
    for frame in labelled.frames(images):
        watch.update(frame)
    found, truth = watch.compute()["estimate"], labelled.truth(images)
    assert calibration.precision is not None
    before = {
        "precision": calibration.precision,
        "AP50": calibration.ap50,
        "correct": calibration.precision * calibration.boxes_at_threshold / calibration.images
        * len(images),
    }  # fmt: skip
    return {
        name: (
            truth[name],
            *(found[name][key] for key in ("value", "lower", "upper")),
            before[name],
        )
        for name in NUMBERS
    }


def splits(
    labelled: Labelled,
    trials: int,
    part: float = 0.5,
    shifts: Sequence[str] = SHIFTS,
    **options: Any,
) -> Iterator[tuple[str, Calibration, Array]]:
    """The shift, the calibration and the images of its window, of `trials` random samples."""
    rng = np.random.default_rng(0)
    for _ in range(trials):
        chosen = np.sort(rng.permutation(labelled.images)[: round(labelled.images * part)])
        calibration = calibrate(*labelled.sample(chosen), **options)
        for shift in shifts:
            yield shift, calibration, np.setdiff1d(labelled.third(shift), chosen)


def collected(
    labelled: Labelled, trials: int, part: float = 0.5, shifts: Sequence[str] = SHIFTS
) -> dict[str, list[Estimates]]:
    """The estimates of all trials by shift."""
    found: dict[str, list[Estimates]] = {shift: [] for shift in shifts}
    for shift, calibration, images in splits(labelled, trials, part, shifts):
        found[shift].append(estimates(calibration, labelled, images))
    return found


def summary(trials: Sequence[Estimates], name: str) -> dict[str, float]:
    """Mean error, bias and coverage of an estimate, and the error of "as before"."""
    rows = np.array([trial[name] for trial in trials])
    truth, value, lower, upper, before = rows.T
    return {
        "error": float(np.abs(value - truth).mean()),
        "bias": float((value - truth).mean()),
        "covered": float(((lower <= truth) & (truth <= upper)).mean()),
        "width": float((upper - lower).mean()),
        "as before": float(np.abs(before - truth).mean()),
        "windows": len(rows),
    }


def summaries(labelled: Labelled, trials: int) -> dict[str, dict[str, dict[str, float]]]:
    """By shift and number, what `summary` says."""
    return {
        shift: {number: summary(rows, number) for number in NUMBERS}
        for shift, rows in collected(labelled, trials).items()
    }


def mean_error(shifts: Mapping[str, Mapping[str, Mapping[str, float]]]) -> float:
    """The mean error of precision and AP50 in all shifts."""
    rows = [found[number]["error"] for found in shifts.values() for number in ("precision", "AP50")]
    return float(np.mean(rows))


def chosen_elsewhere(
    sets: Mapping[str, Labelled], shifts: Mapping[str, Any], trials: int
) -> dict[str, dict[str, float]]:
    """By source, the ridge of least error on the other source, and its error here.

    `shifts` are the summaries of all sets with the ridge of the package.
    """
    errors: dict[str, dict[float, float]] = {}
    shipped = curve.RIDGE
    for source in SOURCES:
        own = [name for name in sets if name.endswith(source)]
        errors[source] = {shipped: float(np.mean([mean_error(shifts[name]) for name in own]))}
        for ridge in set(RIDGES) - {shipped}:
            curve.RIDGE = ridge
            found = [mean_error(summaries(sets[name], trials)) for name in own]
            errors[source][ridge] = float(np.mean(found))
        curve.RIDGE = shipped
    results = {}
    for source, other in zip(SOURCES, SOURCES[::-1], strict=True):
        ridge = min(errors[other], key=errors[other].__getitem__)
        results[source] = {
            "ridge": ridge,
            "error": errors[source][ridge],
            "shipped": errors[source][shipped],
            "best": min(errors[source].values()),
        }
    return results


def alarms(labelled: Labelled, trials: int, size: int) -> dict[str, float]:
    """The part of windows of `size` images, or all there are, in which a test finds drift."""
    found: dict[str, list[dict[str, float]]] = {shift: [] for shift in SHIFTS}
    rng = np.random.default_rng(1)
    for shift, calibration, images in splits(labelled, trials, replicas=2):
        frames = min(size, len(images))
        watch = Watch(calibration, frames)
        for frame in labelled.frames(rng.choice(images, frames, replace=False)):
            watch.update(frame)
        state = watch.compute()
        parts = {name: float(row["drifted"]) for name, row in state["drift"].items()}
        found[shift].append({"any": float(state["drifted"]), **parts})
    return {
        f"{shift}, {part}": float(np.mean([row[part] for row in rows]))
        for shift, rows in found.items()
        for part in rows[0]
    }


def frame_times(labelled: Labelled, windows: Sequence[int]) -> dict[str, float]:
    """CPU milliseconds of a frame, with the statements, by frames of a window and boxes."""
    calibration = calibrate(*labelled.sample(np.arange(labelled.images)))
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(2000):
        rows = rng.integers(0, len(labelled.score), 100)
        found = {"boxes": labelled.box[rows], "scores": labelled.score[rows]}
        frames.append({**found, "labels": labelled.category[rows]})
    times = {}
    for size in windows:
        watch = Watch(calibration, size)
        runs = []
        for _ in range(5):
            begin = time.process_time()
            for frame in frames:
                watch.update(frame)
            runs.append(1e3 * (time.process_time() - begin) / len(frames))
        times[str(size)] = float(np.median(runs))
    return times


def measure(folder: Path, trials: int) -> dict[str, Any]:
    sets = {name: load(folder, name) for name in SETS}
    shifts = {name: summaries(labelled, trials) for name, labelled in sets.items()}
    voc = sets["YOLO v3, VOC"]
    small = {}
    for images in (LEAST_IMAGES, 50, 100, 300, 1000):
        rows = collected(voc, trials, images / voc.images, ("random", "hard"))
        small[images] = {
            shift: {number: summary(found, number) for number in ("precision", "AP50")}
            for shift, found in rows.items()
        }
    return {
        "trials": trials,
        "shifts": shifts,
        "held out": {name: summaries(load(folder, name), trials) for name in HELD_OUT},
        "chosen elsewhere": chosen_elsewhere(sets, shifts, trials),
        "small": small,
        "alarms": {name: alarms(labelled, 2 * trials, 100) for name, labelled in sets.items()},
        "corrupted": corrupted(folder),
        "times": frame_times(sets["YOLACT base, COCO"], (50, 200, 1000)),
    }


def _row(label: str, found: Mapping[str, float]) -> list[str]:
    return [
        label,
        f"{found['error']:.3f}",
        f"{found['bias']:+.3f}",
        f"{found['as before']:.3f}",
        f"{found['covered']:.0%}",
        f"{found['width']:.3f}",
    ]


COLUMNS = ("mean error", "bias", "as before", "covered", "width")


def page(results: dict[str, Any], created: str, where: dict[str, str]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in where.items())
    tables = []
    for number in ("precision", "AP50"):
        rows = [
            _row(f"{name}, {shift}", found[number])
            for name, shifts in results["shifts"].items()
            for shift, found in shifts.items()
        ]
        tables.append(table([number, *COLUMNS], rows))
    elsewhere = [
        [source, f"{row['ridge']:g}", *(f"{row[k]:.4f}" for k in ("error", "shipped", "best"))]
        for source, row in results["chosen elsewhere"].items()
    ]
    held_out = [
        _row(f"{name}, {shift}, {number}", found[number])
        for name, shifts in results["held out"].items()
        for shift, found in shifts.items()
        for number in ("precision", "AP50")
    ]
    small = [
        _row(f"{images} images, {shift}, {number}", values)
        for images, shifts in results["small"].items()
        for shift, found in shifts.items()
        for number, values in found.items()
    ]
    kinds = next(iter(results["alarms"].values()))
    rates = [
        [name, *(f"{rows[kind]:.0%}" for name, rows in results["alarms"].items())]
        for name, kind in ((kind, kind) for kind in kinds)
    ]
    broken = []
    for name, rows in results["corrupted"].items():
        for condition, row in rows.items():
            if row["truth"] is None or row["value"] is None:
                continue
            broken.append(
                [
                    f"{name}, {condition}",
                    f"{row['truth']:.3f}",
                    f"{row['value']:.3f}",
                    f"{row['lower']:.3f} to {row['upper']:.3f}",
                    "yes" if row["drifted"] else "no",
                ]
            )
    errors = [
        [
            name,
            f"{np.mean([abs(r['value'] - r['truth']) for r in _changed(rows)]):.3f}",
            f"{np.mean([abs(r['before'] - r['truth']) for r in _changed(rows)]):.3f}",
            f"{np.mean([r['lower'] <= r['truth'] <= r['upper'] for r in _changed(rows)]):.0%}",
        ]
        for name, rows in results["corrupted"].items()
    ]
    times = [[size, f"{value:.3f}"] for size, value in results["times"].items()]
    return f"""# Quality without references

{created}; {facts}.

`calibrate` on half of the images, drawn {results["trials"]} times, and `Watch` on windows of the
others: at random, the busiest third, the third of lowest scores. "As before" assumes that the
number is that of the sample. "Covered" is how often the 95 % interval has the truth.

{tables[0]}

{tables[1]}

## Held out

The ridge of the curve, {curve.RIDGE:g}, was chosen on the sets above. Chosen anew from
{", ".join(f"{ridge:g}" for ridge in RIDGES)} on the sets of the other source, it gives these mean
errors of precision and AP50:

{table(["sets", "ridge", "error", f"with {curve.RIDGE:g}", "best of all"], elsewhere)}

A set that took no part in any choice:

{table(["set", *COLUMNS], held_out)}

## Small samples

YOLO v3 on VOC, calibrated on few images; the windows are as above.

{table(["sample", *COLUMNS], small)}

## Drift

The part of windows of 100 images (of COCO all, about 50 at random and 16 of
a third) in which a test at alpha 0.01 finds drift. Those at random have
none.

{table(["test", *results["alarms"]], rates)}

## Corruptions that the sample has not seen

Eight photos in three views calibrate, and corrupted copies of the same are watched: precision.

{table(["detector", "mean error", "as before", "covered"], errors)}

{table(["condition", "truth", "estimate", "interval", "drift"], broken)}

## Time

CPU milliseconds of a frame of 100 boxes of 80 categories, with its part of the statement.

{table(["frames of a window", "ms"], times)}
"""


def _changed(rows: Mapping[str, Any]) -> list[Any]:
    return [
        row
        for name, row in rows.items()
        if name != "clean" and row["truth"] is not None and row["value"] is not None
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the watch.", allow_abbrev=False)
    parser.add_argument("data", type=Path, help="the folder of labelled detections")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--trials", type=int, default=TRIALS)
    given = parser.parse_args()
    where = environment(PACKAGES)
    results = measure(given.data, given.trials)
    record = {"environment": where, "results": results}
    write("monitor", record, lambda now: page(results, now, where), given.out)
    print((given.out / "monitor.md").read_text())


if __name__ == "__main__":
    main()

"""`distributed.score`: from pieces of files to parts by image, from these to states, to numbers.

Only functions without a state of their own run on the workers: Ray repeats those of a worker that
dies, and their results do not depend on when and where they run.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lossexport import arguments, formats
from lossexport.boxes.boxset import Category, Id
from lossexport.boxes.matching import check_iou_threshold
from lossexport.boxes.quality import BoxQuality
from lossexport.boxes.side import Side
from lossexport.distributed import pieces
from lossexport.distributed.cluster import Cluster, connected
from lossexport.errors import LossexportError
from lossexport.evaluator import wire
from lossexport.evaluator.layout import Kept
from lossexport.evaluator.state import State
from lossexport.evaluator.totals import Totals
from lossexport.files import appear_together
from lossexport.progress import Progress, follow
from lossexport.reports.output import check_summary_folder, write_summary
from lossexport.scoring.extras import Extras


def score(
    pred: str | os.PathLike[str],
    ref: str | os.PathLike[str],
    *,
    address: str | None = None,
    workers: int | None = None,
    iou_threshold: float = 0.5,
    backend: str | None = None,
    out: str | os.PathLike[str] | None = None,
    fail_below: Mapping[str, float] | None = None,
    fail_above: Mapping[str, float] | None = None,
    baseline: str | os.PathLike[str] | None = None,
    max_drop: Mapping[str, float] | None = None,
    explain: bool = False,
    at_precision: float | None = None,
    at_recall: float | None = None,
    slices: str | os.PathLike[str] | Mapping[str, Sequence[int | str]] | None = None,
    slice_by: str | Sequence[str] = (),
    size_grid: Sequence[float] = (),
    bootstrap: int | None = None,
    seed: int = 0,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Score predictions against references on a cluster of Ray and return the summary.

    `pred` is a Parquet file, a folder of them or a pattern such as `dets/*.parquet`; `ref` is the
    same or a COCO dictionary. Every machine has to find the Parquet files at their paths. The rows
    of an image may be in any of them. The numbers are those of `lossexport.score`, to the last bit,
    whatever the number of workers and whichever of them die. Equal scores in an image are ordered
    by the names of their files, then by their rows.

    `address` is that of a cluster, such as "auto" or "ray://head:10001". None is the cluster that
    this process is connected to, or that of RAY_ADDRESS; without either, one with `workers`
    processes (None: one for each core) is started here and ended with the call. With `out`, the
    summary is written to `summary.json` in that folder, without a table and a report. The other
    arguments are those of `lossexport.score`. Raises LossexportError on a bad argument or input,
    and if Ray is not installed or the cluster cannot be reached.
    """
    extras = Extras.of(
        explain=explain,
        at_precision=at_precision,
        at_recall=at_recall,
        slices=slices,
        slice_by=slice_by,
        size_grid=size_grid,
        bootstrap=bootstrap,
        seed=seed,
    )
    gates = extras.gates(fail_below, fail_above, baseline, max_drop)
    inputs = arguments.path("pred", pred), arguments.path("ref", ref)
    threshold = check_iou_threshold(iou_threshold)
    folder = arguments.optional_path("out", out)
    if folder is not None:
        check_summary_folder(folder)
    measure = BoxQuality(backend)
    with follow(progress, "scoring") as tell, connected(address, workers) as cluster:
        start = State(threshold, None, kept=Kept(explain, extras.sizes))
        state, side = _state(cluster, *inputs, start, tell)
        tell("box quality", 0.0)
        rows = {} if side is None else side.images.rows or {}
        names = {value: row.name for value, row in rows.items() if row.name}
        form = "parquet" if side is None else "coco"
        found = Totals.of(state, measure, backend, names)
        parts = extras.read(inputs[1], form, found.results)
        summary = found.summary(extras, parts, partial(tell, "drawing images"))
    form = "parquet" if side is None else "parquet, coco"
    summary["settings"] = {"format": form, **summary["settings"]}
    summary["inputs"] = {"pred": {"name": inputs[0].name}, "ref": {"name": inputs[1].name}}
    summary["notes"] = []
    gates.apply(summary)
    if folder is not None:
        with appear_together(folder) as stage:
            write_summary(stage, summary)
    return summary


def _state(
    cluster: Cluster, pred: Path, ref: Path, state: State, tell: Progress
) -> tuple[State, Side | None]:
    """The `state` after all images, and the references if they are a COCO dictionary."""
    todo = list(pieces.pieces_of(pred, scored=True))
    side = None
    if ref.is_file() and formats.of_path(ref, "coco") == "coco":
        side = formats.read_side(ref, "coco", False, partial(tell, "reading references"))
        more = []
    else:
        more = list(pieces.pieces_of(ref, scored=False))
    rows = sum(piece.rows for piece in [*todo, *more]) + (side.boxes.count if side else 0)
    count = max(1, -(-rows // pieces.ROWS))
    split = [cluster.call(pieces.split_piece, piece, count, results=count) for piece in todo + more]
    listed: list[list[Id]] = [[] for _ in range(count)]
    names: list[Category] = []
    if side is not None:
        for value in side.images.rows or ():
            listed[pieces.place_of(value, count)].append(value)
        for key, row in (side.categories.rows or {}).items():
            names.append(Category(key, row.name or str(key)))
        split.append([cluster.keep(part) for part in pieces.split(side, False, count)])
    start = state.threshold, state.kept
    matched = [
        cluster.call(pieces.match, start, listed[i], len(todo), *(parts[i] for parts in split))
        for i in range(count)
    ]
    del split  # Ray frees what no task needs any more
    common = 0
    for done, (data, known) in enumerate(cluster.results([one for (one,) in matched]), 1):
        state.merge(wire.from_bytes(data))
        common += known
        tell("matching", done / count)
    if state.predictions and state.references and not common:
        raise LossexportError(f"{pred}: no image in common with {ref}")
    state.name(names)
    return state, side

"""The regression simulation of the DIoU paper (arXiv 1911.08287), run on exported gradient graphs.

Anchors around a fixed place regress to seven targets by gradient steps on IoU, GIoU, DIoU and CIoU
loss: 343 cases a point, 1,715,000 cases at 5000 points, 200 steps each. What moves the boxes is the
`grad_pred` output of the exported graphs in onnxruntime.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import numpy as np
from simulation_directions import DIRECTIONS, LOSSES, Array, Direction, Graphs, exported

from lossexport.errors import CheckFailedError, LossexportError
from lossexport.files import make_folder

CENTRE, RADIUS = 10.0, 3.0
SIDES: Array = np.sqrt([[r, 1 / r] for r in (1 / 4, 1 / 3, 1 / 2, 1, 2, 3, 4)])
"""Widths and heights of area 1 [7,2]."""
AREAS: Array = np.array([0.5, 0.67, 0.75, 1, 1.33, 1.5, 2])
CASES_A_POINT = len(SIDES) * len(AREAS) * len(SIDES)
BATCH_POINTS = 24
"""Points of one call, so that the intermediates of the graph stay in the cache."""
ARRIVED = 0.1
"""A case whose final error is no larger has reached its target."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One loss: error of all cases after each step, and the final error summed at each point."""

    curve: Array
    final: Array
    arrived: float
    """Share of the cases."""
    inverted: int
    """Boxes with a side that is not positive, counted after every step."""
    seconds: float


def anchor_points(count: int) -> Array:
    """Centres [count,2], uniform in a disc."""
    u, v = np.random.default_rng(0).random((2, count))
    radius, angle = RADIUS * np.sqrt(u), 2 * np.pi * v
    return np.stack((CENTRE + radius * np.cos(angle), CENTRE + radius * np.sin(angle)), axis=1)


def cases(points: Array) -> tuple[Array, Array]:
    """Anchors and targets [343 P,4] at centres [P,2]: by point, target, area, shape of anchor."""
    shape = (len(points), len(SIDES), len(AREAS), len(SIDES))
    anchors, targets = np.empty((*shape, 4), np.float32), np.empty((*shape, 4), np.float32)
    anchors[..., :2] = points[:, None, None, None]
    anchors[..., 2:] = np.sqrt(AREAS)[:, None, None] * SIDES
    targets[..., :2] = CENTRE
    targets[..., 2:] = SIDES[:, None, None]
    return anchors.reshape(-1, 4), targets.reshape(-1, 4)


def rate(step: int, steps: int) -> float:
    """0.1 for the first 80% of the steps 1 to `steps`, 0.01 for the next 10%, then 0.001."""
    return 0.1 if 10 * step <= 8 * steps else 0.01 if 10 * step <= 9 * steps else 0.001


def regress(
    graphs: Graphs, direction: Direction, loss: str, points: Array, steps: int
) -> Iterator[Outcome]:
    """Move the cases of `points` [P,2], a batch at a time, each through all its steps."""
    for start in range(0, len(points), BATCH_POINTS):
        begin = time.perf_counter()
        boxes, targets = cases(points[start : start + BATCH_POINTS])
        curve, inverted = np.empty(steps), 0
        for index in range(steps):
            iou, ascent = direction(graphs, loss, boxes, targets)
            ascent *= (rate(index + 1, steps) * (2 - iou))[:, None]
            boxes += ascent
            error = np.abs(boxes - targets)
            curve[index] = error.sum(dtype=np.float64)
            inverted += int(np.count_nonzero(np.minimum(boxes[:, 2], boxes[:, 3]) <= 0))
        if not np.isfinite(curve).all():
            raise CheckFailedError(f"{loss}: boxes are not finite, points {start} and after")
        final = error.sum(axis=1, dtype=np.float64)
        yield Outcome(
            curve,
            final.reshape(-1, CASES_A_POINT).sum(axis=1),
            float((final <= ARRIVED).mean()),
            inverted,
            time.perf_counter() - begin,
        )


def joined(parts: Sequence[Outcome]) -> Outcome:
    """The outcome of all batches of one loss."""
    sizes = [len(part.final) for part in parts]
    return Outcome(
        np.sum([part.curve for part in parts], axis=0),
        np.concatenate([part.final for part in parts]),
        float(np.average([part.arrived for part in parts], weights=sizes)),
        sum(part.inverted for part in parts),
        sum(part.seconds for part in parts),
    )


def simulate(
    folder: Path, losses: Sequence[str], direction: str, points: Array, steps: int
) -> dict[str, Outcome]:
    """Run every loss on the graphs of `folder`; a terminal sees a progress bar."""
    from rich.console import Console
    from rich.progress import Progress

    graphs, outcomes = Graphs(folder), {}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        for loss in losses:
            task = bar.add_task(f"{loss} loss", total=len(points))
            parts = []
            for part in regress(graphs, DIRECTIONS[direction], loss, points, steps):
                parts.append(part)
                bar.advance(task, len(part.final))
            outcomes[loss] = joined(parts)
    return outcomes


@contextmanager
def graph_folder(given: Path | None) -> Iterator[Path]:
    """The folder of the exported graphs: `given`, or a temporary one that is exported to."""
    if given is not None:
        yield given
        return
    import lossexport

    with tempfile.TemporaryDirectory() as folder:
        lossexport.export(exported(), folder, gradient=True)
        yield Path(folder)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def _count(low: int, high: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from {low} to {high}")
    return value


def _losses(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in LOSSES:
            raise argparse.ArgumentTypeError(f"{name!r}: must be among {','.join(LOSSES)}")
        if names.count(name) > 1:
            raise argparse.ArgumentTypeError(f"{name!r}: is given twice")
    return names


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(description=__doc__, allow_abbrev=False)
    option = parser.add_argument
    option("--points", type=lambda text: _count(3, 10**6, text), default=5000, metavar="N")
    option("--iterations", type=lambda text: _count(1, 10**5, text), default=200, metavar="N")
    option("--losses", type=_losses, default=list(LOSSES), help="default: " + ",".join(LOSSES))
    option(
        "--direction",
        choices=DIRECTIONS,
        default="true",
        help="true: the gradient of the exported loss; coded: that of the paper's own code",
    )
    option("--graphs", type=Path, help="folder of exported graphs; default: export them first")
    option("--out", type=Path, default=Path("regression-simulation"), help="folder of the results")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = _arguments(arguments)
    try:
        if find_spec("matplotlib") is None:
            raise LossexportError("matplotlib is not installed: pip install matplotlib")
        from simulation_report import report

        make_folder(given.out)
        points = anchor_points(given.points)
        with graph_folder(given.graphs) as folder:
            outcomes = simulate(folder, given.losses, given.direction, points, given.iterations)
        report(given.out, given.direction, points, outcomes)
    except (LossexportError, CheckFailedError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, LossexportError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

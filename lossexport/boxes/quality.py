"""Box quality of matched pairs, computed by the exported artifacts on the chosen backend."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lossexport.boxes.boxset import Float32, Float64
from lossexport.boxes.oriented import OWN, are_oriented
from lossexport.errors import LossexportError
from lossexport.names import METRICS, ORIENTED_METRICS, STATISTICS
from lossexport.runtime import binding

if TYPE_CHECKING:
    from lossexport.runtime import Session

Metric = Callable[[Float32, Float32], Float32]
"""Scores rows x1, y1, x2, y2 [n,4], or oriented ones [n,5], against as many."""

OPS = {metric: f"box_{metric}" for metric in METRICS}
ORIENTED_OPS = dict(zip(ORIENTED_METRICS, ("box_rotated_iou", "box_probiou"), strict=True))
"""The ops that compute the metrics."""

ENGINE_BACKENDS = ("tensorrt", "rtx")
ROWS_AT_ONCE = 65_536


def open_artifact(name: str, backend: str | None) -> "Session":
    """Load an artifact of this package. Raises LossexportError if `backend` cannot run it."""
    from importlib.resources import as_file, files

    from lossexport.runtime import load

    suffix = ".engine" if isinstance(backend, str) and backend in ENGINE_BACKENDS else ".onnx"
    file = files("lossexport") / "graphs" / f"{name}{suffix}"
    if not file.is_file():
        raise LossexportError(f"{file}: is missing: {backend or 'score'} needs it")
    with as_file(file) as path:
        return load(path, backend)


def rows_at_once(session: "Session") -> int:
    """How many rows go into one call."""
    return min([ROWS_AT_ONCE, *(most for _, most in session.profile.values())])


def corners(box: Float64, origin: Float64) -> Float32:
    """Turn x, y, width, height [n,4] into x1, y1, x2, y2, counted from the x, y of `origin` [n,4].

    The metrics do not depend on the position of the boxes, and float32 is precise only near 0.
    """
    low = box[:, :2] - origin[:, :2]
    return np.concatenate([low, low + box[:, 2:]], axis=1).astype(np.float32)


def in_frame(box: Float64, origin: Float64) -> Float32:
    """Turn oriented rows [n,11] into cx, cy, w, h, angle [n,5] as seen from those of `origin`.

    The metrics do not depend on the position and the angle of both, and float32 is precise near 0.
    """
    own, other, cos, sin = box[:, OWN], origin[:, OWN], origin[:, 9], origin[:, 10]
    x, y = own[:, 0] - other[:, 0], own[:, 1] - other[:, 1]
    turned = (cos * x + sin * y, cos * y - sin * x, *own[:, 2:4].T, own[:, 4] - other[:, 4])
    return np.stack(turned, axis=1).astype(np.float32)


def _kernel(op: str) -> Metric:
    """A metric by the library's kernel, which is what `native` runs for the artifact."""

    def measure(pred: Float32, target: Float32) -> Float32:
        found = np.empty(len(pred), np.float32)
        rows = np.ascontiguousarray(pred), np.ascontiguousarray(target)
        binding.run(op, {}, rows, [found])
        return found

    return measure


def _artifact(session: "Session") -> Metric:
    def measure(pred: Float32, target: Float32) -> Float32:
        found: Float32 = session(pred=pred, target=target)["score"]
        return found

    return measure


class BoxQuality:
    """The metrics of a kind of boxes, loaded once; `backend` is the name of what runs them."""

    def __init__(self, backend: str | None = None, *, oriented: bool = False) -> None:
        """Load the shipped artifacts. Raises LossexportError if `backend` cannot run here."""
        self._metrics: dict[str, Metric]
        self._asked = backend
        self.oriented = oriented
        ops = ORIENTED_OPS if oriented else OPS
        kernels = backend is None or (isinstance(backend, str) and backend == "native")
        if kernels and set(ops.values()) <= binding.kernels():
            binding.check_environment()
            self._metrics = {metric: _kernel(op) for metric, op in ops.items()}
            self.backend, self._rows = "native", ROWS_AT_ONCE
            return
        sessions = {metric: open_artifact(op, backend) for metric, op in ops.items()}
        self._metrics = {metric: _artifact(session) for metric, session in sessions.items()}
        first = sessions["iou"]
        self.backend, self._rows = first.backend, rows_at_once(first)

    def of_kind(self, oriented: bool) -> "BoxQuality":
        """The metrics of oriented boxes, or of those that are not, on the same backend."""
        return self if oriented == self.oriented else BoxQuality(self._asked, oriented=oriented)

    def __call__(
        self, pred: Float64, ref: Float64, advance: Callable[[float], None] | None = None
    ) -> dict[str, Float32]:
        """Score rows of boxes [N,4] or [N,11] against as many: each metric [N] by name."""
        seen = in_frame if are_oriented(ref) else corners
        return self._measure(
            len(pred),
            lambda rows: (seen(pred[rows], ref[rows]), seen(ref[rows], ref[rows])),
            advance,
        )

    def of_corners(self, pred: Float32, target: Float32) -> dict[str, Float32]:
        """The same of rows as `corners` or `in_frame` give them, from the reference."""
        return self._measure(len(pred), lambda rows: (pred[rows], target[rows]), None)

    def _measure(
        self,
        count: int,
        block: Callable[[slice], tuple[Float32, Float32]],
        advance: Callable[[float], None] | None,
    ) -> dict[str, Float32]:
        found = {metric: np.empty(count, np.float32) for metric in self._metrics}
        for start in range(0, count, self._rows):
            rows = slice(start, start + self._rows)
            pred, target = block(rows)
            for metric, measure in self._metrics.items():
                found[metric][rows] = measure(pred, target)
            if advance:
                advance(min(start + self._rows, count) / count)
        return found


def statistics(values: Float32 | Float64) -> dict[str, float | None]:
    """Mean, median and 5th and 95th percentile of `values` [n]; None if there are no values.

    The order of the values does not change a bit: they are summed up in rising order.
    """
    if not len(values):
        return dict.fromkeys(STATISTICS)
    exact = np.sort(values).astype(np.float64)  # float32 is sorted faster, to the same order
    numbers = (exact.mean(), *(_quantile(exact, part) for part in (0.5, 0.05, 0.95)))
    return {name: float(number) for name, number in zip(STATISTICS, numbers, strict=True)}


def _quantile(rising: Float64, part: float) -> float:
    """What np.percentile says, to the last bit, without the import that its first call makes."""
    at = part * (len(rising) - 1)
    low = int(at)
    first, second = float(rising[low]), float(rising[min(low + 1, len(rising) - 1)])
    step, rest = second - first, at - low
    return second - step * (1 - rest) if rest >= 0.5 else first + step * rest

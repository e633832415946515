"""Box quality of matched pairs, computed by the exported artifacts on the chosen backend."""

from collections.abc import Callable
from contextlib import ExitStack
from importlib.resources import as_file, files

import numpy as np

from lossexport.errors import LossexportError
from lossexport.scoring.boxset import Float32

METRICS = ("iou", "giou", "diou", "ciou")
ENGINE_BACKENDS = ("tensorrt", "rtx")
ROWS_AT_ONCE = 65_536


class BoxQuality:
    """The four metrics, loaded once; `backend` is the name of what runs them."""

    def __init__(self, backend: str | None = None) -> None:
        """Load the shipped artifacts. Raises LossexportError where `backend` cannot run here."""
        from lossexport.runtime import load

        folder = files("lossexport") / "artifacts"
        self._sessions = {}
        with ExitStack() as stack:
            for metric in METRICS:
                file = (
                    folder / f"box_{metric}{'.engine' if backend in ENGINE_BACKENDS else '.onnx'}"
                )
                if not file.is_file():
                    raise LossexportError(f"{file}: is missing: {backend or 'score'} needs it")
                self._sessions[metric] = load(stack.enter_context(as_file(file)), backend)
        first = self._sessions[METRICS[0]]
        self.backend = first.backend
        limits = [most for _, most in first.profile.values()]
        self._rows = min([ROWS_AT_ONCE, *limits])

    def __call__(
        self, pred: Float32, ref: Float32, advance: Callable[[float], None] | None = None
    ) -> dict[str, Float32]:
        """Score rows of x1, y1, x2, y2 [N,4] against rows [N,4]: each metric [N] by name."""
        count = len(pred)
        found = {metric: np.empty(count, np.float32) for metric in METRICS}
        for start in range(0, count, self._rows):
            rows = slice(start, start + self._rows)
            for metric, session in self._sessions.items():
                found[metric][rows] = session(pred=pred[rows], target=ref[rows])["score"]
            if advance:
                advance(min(start + self._rows, count) / count)
        return found


def quality(pred: Float32, ref: Float32, backend: str | None = None) -> dict[str, Float32]:
    """Score rows of x1, y1, x2, y2 [N,4] against rows [N,4]: IoU, GIoU, DIoU and CIoU [N]."""
    return BoxQuality(backend)(pred, ref)

"""What `lossexport watch` does: all frames of an input, window by window, and gates on them."""

import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from lossexport.boxes.gates import Gates
from lossexport.errors import LossexportError, within
from lossexport.monitor.frames import frames_of, is_list, name_of
from lossexport.monitor.watch import ALPHA, WINDOW, Watch

SCHEMA_VERSION = 1
KEPT = 1000
"""Windows that are kept for the summary; the numbers of the gates are of all."""
ESTIMATES = ("precision", "AP50", "correct")
BOUNDS = {"": "value", ".lower": "lower", ".upper": "upper"}
DRIFTED = "drifted_windows"
NAMES = tuple(f"{name}{bound}" for name in ESTIMATES for bound in BOUNDS)
"""Numbers that a gate may ask for."""


def watch(
    calibration: str | os.PathLike[str],
    pred: str,
    *,
    window: int = WINDOW,
    threshold: float = 0.25,
    detector: str | None = None,
    alpha: float = ALPHA,
    fail_below: Mapping[str, float] | None = None,
    fail_on_drift: bool = False,
    tell: Callable[[dict[str, Any]], None] = lambda statement: None,
) -> dict[str, Any]:
    """Watch the frames of `pred`, as `frames_of` reads it, and return a summary.

    `tell` is called with the statement of each window. The summary has the last 1000 statements as
    `windows`, the lowest value of each estimate and bound over all windows as `lowest` (None if it
    is undefined in one), `counts`, `notes` and the results of the gates, which are asked of these
    lowest values. Frames after the last full window count in `counts` only.

    Raises LossexportError on a bad argument or input, and if no window is full.
    """
    drift = {DRIFTED: 0.0} if fail_on_drift else None
    gates = Gates((*NAMES, DRIFTED), fail_below, drift)
    watching = Watch(calibration, window, threshold, detector=detector, alpha=alpha)
    kept: deque[dict[str, Any]] = deque(maxlen=KEPT)
    lowest: dict[str, float | None] = {}
    frames = windows = drifted = 0
    for where, frame in frames_of(pred):
        with within(where):
            statement = watching.update(frame)
        frames += 1
        if statement is None:
            continue
        windows += 1
        drifted += statement["drifted"]
        for name, value in _numbers(statement).items():
            known = lowest.get(name, value)
            lowest[name] = None if value is None or known is None else min(known, value)
        kept.append(statement)
        tell(statement)
    if not windows:
        raise LossexportError(f"{name_of(pred)}: not enough frames: {frames} of {window}")
    notes = []
    if watching.waiting:
        notes.append(f"{watching.waiting} frames after the last window are not in any.")
    if is_list(pred):
        notes.append("An image without a box is in no list of results, so it was no frame.")
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "calibration": {
            "detector": watching.calibration.detector,
            "images": watching.calibration.images,
            "generator": watching.calibration.generator,
        },
        "settings": {"window": window, "threshold": threshold, "alpha": alpha},
        "counts": {"frames": frames, "windows": windows, DRIFTED: drifted},
        "lowest": lowest,
        "windows": list(kept),
        "notes": notes,
    }
    judged = {"counts": summary["counts"], **lowest}
    gates.apply(judged, lambda name: "a window has too few boxes for it")
    return summary | {key: judged[key] for key in ("gates", "gate_failures")}


def _numbers(statement: Mapping[str, Any]) -> dict[str, float | None]:
    """The estimates of a window and their bounds, by the name of a gate."""
    return {
        f"{name}{bound}": statement["estimate"][name][key]
        for name in ESTIMATES
        for bound, key in BOUNDS.items()
    }

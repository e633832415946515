"""Assertions for tests. Importing this module imports neither torch nor pytest.

from lossexport.testing import assert_parity, assert_quality, assert_same_boxes

assert_parity("ciou_loss", gradient=True, precision="fp16")  # an op, exported here
assert_parity("out/")                                        # an export folder
assert_parity(my_function, "ciou_loss")                      # a port of an op
assert_same_boxes("parent.json", "child.json", kept=0.98)    # a quantised detector
assert_quality("dets.json", "gt.json", AP50=0.5)
"""

import inspect
import unittest
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lossexport import arguments
from lossexport.errors import CheckFailedError, LossexportError
from lossexport.names import Precision

if TYPE_CHECKING:
    import os

    from lossexport.catalog.spec import Op

    PathLike = str | os.PathLike[str]

__all__ = ["assert_parity", "assert_quality", "assert_same_boxes"]

# Beginnings of the names of numbers for which more is worse.
_WORSE = ("lost", "new", "without", "unmatched", "ignored", "inverted")
_MOST_CLASSES = 5


def assert_parity(
    subject: "PathLike | Op | Callable[..., Any]",
    op: "str | Op | None" = None,
    *,
    attributes: Mapping[str, Any] | None = None,
    precision: Precision = "fp32",
    gradient: bool = False,
    shapes: Mapping[str, str | int] | None = None,
    backends: str | Sequence[str] | None = None,
    families: str | Sequence[str] | None = None,
    seeds: int = 2,
    replay: str | None = None,
    not_run: Literal["fail", "skip"] = "fail",
) -> None:
    """Assert that a subject computes the same as eager PyTorch in float64.

    `subject` is

    - the name of an op, or an `Op`: it is exported to a temporary folder, and the file is checked;
    - the path of an `.onnx` or `.engine` file of ours, or of an export folder: all of its files;
    - with `op`, a function of tensors, which is called with the inputs of the op in order, or an
      `.onnx` file of any origin: it is compared with the op, within the op's tolerance.

    `attributes`, `precision`, `gradient` and `shapes` are those of `lossexport.export`. With
    `gradient` the outputs are the value and the gradients of its sum, by autograd for a function.
    Do not give them for a file of ours, whose metadata states them.

    `backends` are those to run ("native", "ort-kernels", "ort", "ort-cuda", "ort-rtx", "rtx",
    "tensorrt"); None: all of this machine. `families` selects some of the op's families of inputs
    ("ordinary", "adversarial", ...), `seeds` is the number of cases of each family and size,
    `replay` names a single case.

    Raises AssertionError with the op, the output, its worst element, the expected value, how far
    it is beyond the tolerance, and how to run the case again. A file that did not run has not
    passed: if it ran nowhere, or not on one of the given `backends`, this is an AssertionError too.
    With `not_run="skip"`, the test is skipped instead if nothing failed. Raises LossexportError on
    bad arguments and on files that cannot be used.
    """
    __tracebackhide__ = True
    from lossexport.parity.artifact import check_names
    from lossexport.parity.cases import Selection
    from lossexport.parity.report import failure
    from lossexport.parity.subject import Wanted, findings, unrun

    arguments.choice("not_run", not_run, ("fail", "skip"))
    if not isinstance(seeds, int) or seeds < 1:
        raise arguments.refuse("seeds", seeds, "a whole number from 1 up")
    wanted = Wanted(
        attributes=arguments.mapping("attributes", attributes),
        precision=precision,
        gradient=gradient,
        shapes=arguments.mapping("shapes", shapes),
        backends=None if backends is None else check_names("backends", backends),
        cases=Selection(
            None if replay is None else arguments.text("replay", replay),
            None if families is None else arguments.several("families", families),
            seeds,
        ),
    )
    try:
        found = list(findings(subject, op, wanted))
    except CheckFailedError as error:  # an engine failed before it was written
        raise AssertionError(str(error)) from None
    failed = [
        failure(finding.name, result, finding.replay)
        for finding in found
        for result in finding.results
        if result.status == "failed"
    ]
    if failed:
        raise AssertionError("\n".join(failed))
    if absent := unrun(found, wanted.backends):
        if not_run == "skip":
            raise unittest.SkipTest("; ".join(absent))
        raise AssertionError("\n".join(absent))


def assert_same_boxes(
    parent: "PathLike", child: "PathLike", kept: float | None = 0.98, **options: Any
) -> None:
    """Assert that a child, such as a quantised detector, has the boxes of its parent.

    Both are COCO results or `.onnx` detectors, compared by `lossexport.compare`, whose arguments
    (`images`, `detector`, `score_threshold`, `out`, ...) are options here. Every other option is a
    gate, named after a number of the summary: `kept`, `agreement`, `iou_mean`, `ciou_p5`, ... must
    be at least the given value, `lost`, `new`, ... and `drift_max_abs` at most. `drift_mean`,
    `drift_p95`, ... bound the size of the number, whatever its sign.

    Raises AssertionError with the gates that fail, the numbers and the worst classes, and
    LossexportError on bad arguments or input.
    """
    __tracebackhide__ = True
    from lossexport.comparison.run import compare

    if kept is not None:
        options["kept"] = kept
    summary = _gated(compare, parent, child, options)
    if not summary["gate_failures"]:
        return
    counts, drift = summary["counts"], summary["drift"]
    names = [summary["inputs"][side]["name"] for side in ("child", "parent")]
    rows = [row for row in summary["categories"] if row["lost"] or row["new"]]
    rows.sort(key=lambda row: (row["kept"] is not None, row["kept"]))
    raise AssertionError(
        _text(
            f"{names[0]} has not the boxes of {names[1]}",
            summary,
            f"{counts['parent']} boxes of the parent, {counts['child']} of the child: "
            f"{counts['matched']} matched, {counts['lost']} lost, {counts['new']} new; "
            f"mean IoU {_number(summary['iou']['mean'])}, "
            f"largest drift {_number(drift['max_abs'])}",
            [
                f"{row['name']}: {row['lost']} of {row['parent']} lost, {row['new']} new, "
                f"mean IoU {_number(row['iou_mean'])}"
                for row in rows
            ],
        )
    )


def assert_quality(pred: "PathLike", ref: "PathLike", **options: Any) -> None:
    """Assert that predictions reach a quality: `assert_quality(pred, ref, AP50=0.5)`.

    Options are the arguments of `lossexport.score` (`format`, `iou_threshold`, `out`, ...) and
    gates, named after numbers of its summary: `AP`, `AR100`, `iou_mean`, `best_f1`, ... must be at
    least the given value, `unmatched`, `inverted`, ... at most.

    Raises AssertionError with the gates that fail, the numbers and the worst classes, and
    LossexportError on bad arguments or input, and if there is no gate.
    """
    __tracebackhide__ = True
    from lossexport.scoring.run import score

    summary = _gated(score, pred, ref, options)
    if not summary["gate_failures"]:
        return
    counts = summary["counts"]
    rows = sorted(
        (row for row in summary["categories"] if row["references"]), key=lambda row: row["AP"]
    )
    raise AssertionError(
        _text(
            f"{summary['inputs']['pred']['name']} is not good enough",
            summary,
            f"AP {_number(summary['AP'])}, AP50 {_number(summary['AP50'])}; "
            f"{counts['references']} references, {counts['predictions']} predictions: "
            f"{counts['matched']} matched, mean IoU {_number(summary['iou']['mean'])}",
            [
                f"{row['name']}: AP {_number(row['AP'])}, {row['matched']} of {row['references']} "
                f"found, mean IoU {_number(row['iou_mean'])}"
                for row in rows
            ],
        )
    )


def _gated(
    measure: Callable[..., dict[str, Any]],
    first: "PathLike",
    second: "PathLike",
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The summary of `score` or `compare`; `options` that are not its arguments are gates."""
    known = inspect.signature(measure).parameters
    below: dict[str, float] = {}
    above: dict[str, float] = {}
    for name, value in options.items():
        if name in known:
            continue
        bound = arguments.number(f"gate {name}", value)
        if name.startswith((*_WORSE, "drift_")):
            above[name] = bound
        if not name.startswith((*_WORSE, "drift_max")):
            below[name] = -bound if name.startswith("drift_") else bound
    if not below and not above and not options.get("max_drop"):
        raise LossexportError("no gate is given: nothing would be asserted")
    rest = {name: value for name, value in options.items() if name in known}
    return measure(first, second, fail_below=below, fail_above=above, **rest)


def _text(title: str, summary: Mapping[str, Any], numbers: str, classes: Sequence[str]) -> str:
    """Lines with the failures, the numbers, the worst classes and possible causes."""
    left_out = len(classes) - _MOST_CLASSES
    lines = [f"{title}: {'; '.join(summary['gate_failures'])}", numbers, *classes[:_MOST_CLASSES]]
    if left_out > 0:
        lines.append(f"and {left_out} more classes")
    return "\n  ".join([*lines, *(f"note: {note}" for note in summary["notes"])])


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"

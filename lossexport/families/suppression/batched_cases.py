"""Inputs of `batched_nms` on which float32 and float64 must make the same decisions.

The boxes of an image are those of the other suppression ops. Scores are numbers of eight
significant bits times powers of two, so that many of them are equal in every precision.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossexport.catalog.spec import Arrays, Dims, Sampler
from lossexport.families.suppression.cases import (
    FAMILIES,
    MARGIN,
    PASSES,
    Drawn,
    metric_of,
    usable_rows,
)


def _of_classes(rng: np.random.Generator, best: np.ndarray, classes: int) -> np.ndarray:
    """Scores [N,C]: `best` in one of a few classes, the same for neighbours in the list.

    In a third of the images, every other class may have the same score.
    """
    n = len(best)
    known = np.where(np.isfinite(best), best, 0.5)
    fractions = 2.0 ** -rng.integers(0 if rng.random() < 1 / 3 else 1, 4, (n, classes))
    scores: np.ndarray = known[:, None] * fractions
    few = rng.integers(0, classes, min(classes, 3))
    scores[np.arange(n), few[np.arange(n) // 64 % len(few)]] = best
    return scores


def _candidates(
    boxes: np.ndarray, scores: np.ndarray, attributes: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """The indices and classes of the candidates of an image, in order."""
    classes = scores.shape[1]
    finite = usable_rows(boxes)[:, None] & np.isfinite(scores)
    if not attributes["multi_label"]:
        first = np.where(np.isfinite(scores), scores, -1).argmax(1)
        finite = finite.all(1)[:, None] & (np.arange(classes) == first[:, None])
    places = np.flatnonzero(finite & (scores >= attributes["score_threshold"]))
    order = np.argsort(-scores.ravel()[places], kind="stable")
    places = places[order[: attributes["max_candidates"]]]
    return places // classes, places % classes


def _close(boxes: np.ndarray, scores: np.ndarray, attributes: Mapping[str, Any]) -> dict[int, int]:
    """Boxes whose metric with a kept one is too close to the threshold, each with that one."""
    which, label = _candidates(boxes, scores, attributes)
    threshold = attributes["iou_threshold"]
    beta = 1.0 if attributes["metric"] == "diou" else None
    alive = np.ones(len(which), bool)
    close: dict[int, int] = {}
    for _ in range(attributes["max_output"]):
        if not alive.any():
            break
        pick = int(alive.argmax())
        alive[pick] = False
        metric, term = metric_of(boxes[which[pick]], boxes[which], beta)
        rivals = alive & (~np.bool_(attributes["class_aware"]) | (label == label[pick]))
        near = (np.abs(metric - threshold) < MARGIN) & ((metric != threshold) | (term != 0))
        close.update(dict.fromkeys(which[rivals & near].tolist(), int(which[pick])))
        alive &= ~(rivals & (metric > threshold))
    return close


def _sampler(family: Callable[..., Drawn]) -> Sampler:
    def draw(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
        images = []
        for _ in range(dims["B"]):
            boxes, best = family(rng, dims["N"], attributes)
            scores = _of_classes(rng, best, dims["C"])
            with np.errstate(invalid="ignore"):
                for _ in range(PASSES):
                    if not (close := _close(boxes, scores, attributes)):
                        break
                    boxes[list(close)] = boxes[list(close.values())]
            images.append((boxes, scores))
        return {
            "boxes": np.array([boxes for boxes, _ in images]).reshape(dims["B"], dims["N"], 4),
            "scores": np.array([scores for _, scores in images]),
        }

    return draw


SAMPLERS: dict[str, Sampler] = {name: _sampler(family) for name, family in FAMILIES.items()}

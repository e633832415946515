"""Inputs of `weighted_boxes_fusion` on which float32 and float64 must form the same clusters."""

import itertools
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

_LABELS = 2
_MODELS = 3


def _settle(arrays: Arrays, attributes: Mapping[str, Any]) -> bool:
    """Fuse in float64, and take out boxes with decisions that rounding could change.

    Returns whether all fused scores are far enough from each other; if not, some are taken out.
    """
    boxes, scores, labels, models = arrays.values()
    weights = np.array(attributes["weights"])
    weight = weights[models] if len(weights) > 1 else np.full(len(models), weights[0])
    corners = np.clip(boxes, 0, 1)
    corners = np.concatenate(
        (np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])), 1
    )
    solid = (corners[:, 2:] > corners[:, :2]).all(1)
    live = usable_rows(boxes, scores) & solid & (scores >= attributes["skip_threshold"])
    which = np.flatnonzero(live)
    members: list[list[int]] = []
    fused, kinds = np.zeros((len(which), 4)), np.zeros(len(which), int)
    before = -1
    for index in which[np.argsort(-(scores * weight)[which], kind="stable")].tolist():
        if before >= 0 and (scores[before], weight[before]) != (scores[index], weight[index]):
            first, second = scores[before] * weight[before], scores[index] * weight[index]
            if first - second <= MARGIN * first:
                scores[index] = -1  # takes no part
                continue
        count = len(members)
        overlap = np.full(count + 2, -1.0)
        overlap[:count] = metric_of(corners[index], fused[:count])[0]
        overlap[:count][kinds[:count] != labels[index]] = -1
        best = int(overlap.argmax())
        above = overlap[best] - attributes["iou_threshold"]
        if above > -MARGIN and (above < MARGIN or overlap[best] - np.sort(overlap)[-2] < MARGIN):
            scores[index] = -1
            continue
        before = index
        if above > 0:
            members[best].append(index)
            share = (scores * weight)[members[best]]
            if share.sum() > 0:
                fused[best] = share @ corners[members[best]] / share.sum()
        else:
            members.append([index])
            fused[count], kinds[count] = corners[index], labels[index]
    close = _close(members, scores * weight, weight, models, weights, attributes)
    scores[close] = -1
    return not close


def _close(
    members: list[list[int]],
    scores: np.ndarray,
    weight: np.ndarray,
    models: np.ndarray,
    weights: np.ndarray,
    attributes: Mapping[str, Any],
) -> list[int]:
    """The boxes of clusters whose fused score is too close to that of a better one."""
    mode, alone = attributes["mode"], len(weights) == 1
    number = int(models.max(initial=0)) + 1 if alone else len(weights)
    total = number * weights[0] if alone else weights.sum()
    results = []
    for own in members:
        here = {int(models[index]): weight[index] for index in own}
        found, present = scores[own].sum(), sum(here.values())
        if mode == "max":
            result = scores[own].max() / weights.max()
        elif mode == "box_and_model_avg":
            result = found / weight[own].sum() * present / total
        elif mode == "absent_model_aware_avg":
            result = found / (weight[own].sum() + total - present)
        else:
            most = len(own) if attributes["allows_overflow"] else min(len(own), number)
            result = found / len(own) * most / total
        results.append(result)
    order = np.argsort(-np.array(results), kind="stable")
    close: list[int] = []
    for before, now in itertools.pairwise(order.tolist()):
        # The same numbers, in the same order, give the same bits.
        twins = [(scores[i], int(models[i])) for i in members[before]] == [
            (scores[i], int(models[i])) for i in members[now]
        ]
        if results[before] - results[now] <= MARGIN * results[before] and not twins:
            close += members[now]
    return close


def _sampler(family: Callable[..., Drawn]) -> Sampler:
    def draw(rng: np.random.Generator, dims: Dims, attributes: Mapping[str, Any]) -> Arrays:
        n = dims["N"]
        boxes, scores = family(rng, n, {**attributes, "score_threshold": 0.0})
        models = len(attributes["weights"])
        arrays = {
            "boxes": boxes / 256,
            "scores": scores,
            "labels": rng.integers(0, _LABELS, n),
            "models": rng.integers(0, models if models > 1 else _MODELS, n),
        }
        with np.errstate(invalid="ignore"):
            for _ in range(PASSES):
                if _settle(arrays, attributes):
                    break
        return arrays

    return draw


SAMPLERS: dict[str, Sampler] = {name: _sampler(family) for name, family in FAMILIES.items()}

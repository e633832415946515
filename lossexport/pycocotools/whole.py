"""COCO's evaluation of all images together."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from lossexport.boxes.boxset import Bool, Float64, Int32, Int64
from lossexport.boxes.pairs import Order, Pairs, assign, cap, find_pairs, sort_boxes
from lossexport.pycocotools.columns import Row, Sample
from lossexport.scoring import coco_ap
from lossexport.scoring.coco_ap import Tables
from lossexport.scoring.protocol import Protocol

Int = npt.NDArray[np.signedinteger[Any]]


class Whole:
    """All images of a sample, matched by a protocol."""

    def __init__(self, sample: Sample, protocol: Protocol) -> None:
        self._sample, self._protocol = sample, protocol
        self._order = sort_boxes(sample.data)
        found = find_pairs(sample.data, self._order, cap(protocol.thresholds.min()))
        self._pairs = coco_ap.candidates(self._order, found, protocol)
        # pycocotools takes a reference for free as long as its match has no id above 0.
        idle = sample.pred_id[self._order.pred] <= 0
        self._assign = partial(_assign_around, idle=idle) if idle.any() else assign
        self._found = coco_ap.match(
            sample.data,
            self._order,
            self._pairs,
            protocol,
            size=sample.size,
            assign=self._assign,
        )

    def tables(self, recalls: Float64, max_detections: tuple[int, ...]) -> Tables:
        """Precision and recall at other recalls and limits, which are not above the protocol's."""
        p = self._protocol
        return coco_ap.tabulate(
            self._found, Protocol(p.thresholds, recalls, p.areas, max_detections)
        )

    def images(
        self, areas: Sequence[Any], category_ids: Sequence[Any], image_ids: Sequence[Any]
    ) -> list[Row | None]:
        """The outcome of each category, range of areas and image, as `one_image.evaluate` gives it.

        None for an image without a box.
        """
        order, sample, protocol = self._order, self._sample, self._protocol
        area_count, image_count = len(areas), len(image_ids)
        references = sample.data.references
        ignored = coco_ap.outside(references.area[order.ref], protocol.areas)
        ignored |= references.ignored[order.ref][:, None]
        pred_id, ref_id = sample.pred_id[order.pred], sample.ref_id[order.ref]
        levels = len(protocol.thresholds)
        dt_match = np.zeros((area_count, levels, len(pred_id)))
        gt_match = np.zeros((area_count, levels, len(ref_id)))
        place, area, level, ref = self._matches(ignored)
        dt_match[area, level, place] = ref_id[ref]
        # Several predictions on a crowd: the last one stays.
        gt_match[area, level, ref] = pred_id[place]
        dt_ignore = np.zeros(dt_match.shape, np.bool_)
        dt_ignore[area, level, place] = ignored[ref, area]
        outside = coco_ap.outside(sample.size[order.pred], protocol.areas).T
        dt_ignore |= (dt_match == 0) & outside[:, None]

        counted = order.rank < protocol.max_detections[-1]
        dt_id = [sample.detections[i]["id"] for i in order.pred]
        score = [sample.detections[i]["score"] for i in order.pred]
        gt_id = [sample.truths[i]["id"] for i in order.ref]
        found: list[Row | None] = [None] * (len(category_ids) * area_count * image_count)
        groups = np.union1d(order.pred_group, order.ref_group)
        starts = np.searchsorted(order.pred_group, groups)
        ends = np.searchsorted(order.pred_group, groups, "right")
        lows = np.searchsorted(order.ref_group, groups)
        highs = np.searchsorted(order.ref_group, groups, "right")
        for group, start, end, low, high in zip(groups, starts, ends, lows, highs, strict=True):
            k, i = divmod(int(group), image_count)
            preds = slice(start, start + int(np.count_nonzero(counted[start:end])))
            for a in range(area_count):
                refs = low + np.argsort(ignored[low:high, a], kind="stable")
                found[(k * area_count + a) * image_count + i] = {
                    "image_id": image_ids[i],
                    "category_id": category_ids[k],
                    "aRng": areas[a],
                    "maxDet": protocol.max_detections[-1],
                    "dtIds": dt_id[preds],
                    "gtIds": [gt_id[r] for r in refs],
                    "dtMatches": dt_match[a, :, preds],
                    "gtMatches": gt_match[a][:, refs],
                    "dtScores": score[preds],
                    "gtIgnore": ignored[refs, a].astype(np.int64),
                    "dtIgnore": dt_ignore[a, :, preds],
                }
        return found

    def _matches(self, ignored: Bool) -> tuple[Int, Int, Int, Int]:
        """Prediction, range of areas, threshold and reference of each match, as places."""
        crowd = self._sample.data.references.ignored[self._order.ref]
        levels = np.array([cap(t) for t in self._protocol.thresholds])
        parts: list[tuple[Int, ...]] = [(np.empty(0, np.int64),) * 4]
        for places, winner in self._assign(self._pairs, self._order, crowd, ignored, levels):
            row, area, level = np.nonzero(winner >= 0)
            ref = self._pairs.ref[winner[row, area, level]]
            parts.append((places[row], area, level, ref))
        place, area, level, ref = (np.concatenate(part) for part in zip(*parts, strict=True))
        by_place = np.argsort(place, kind="stable")
        return place[by_place], area[by_place], level[by_place], ref[by_place]


def _assign_around(
    pairs: Pairs, order: Order, crowd: Bool, ignored: Bool, thresholds: Float64, *, idle: Bool
) -> Iterator[tuple[Int32, Int64]]:
    """`assign` where predictions that are `idle` [N] leave the reference that they match free.

    They change the result of no other. The rest is assigned without them; then each of them, one of
    a group at a time, together with the rest.
    """
    number = np.zeros(len(idle), np.int64)
    places = np.flatnonzero(idle)
    group = order.pred_group[places]
    number[places] = 1 + np.arange(len(places)) - np.searchsorted(group, group)
    for turn in range(int(number.max()) + 1):
        now = number == turn
        wanted = now | (number == 0)
        if turn:
            wanted &= np.isin(order.pred_group, order.pred_group[now])
        part = pairs.at_least(0.0, wanted)
        # The places in `pairs.ref` of what is left, first of the pairs that are listed.
        listed = len(pairs.iou)
        rows = np.append(np.flatnonzero(wanted[pairs.pred]), np.arange(listed, len(pairs.ref)))
        for place, winner in assign(part, order, crowd, ignored, thresholds):
            kept = now[place]
            winner = winner[kept]
            yield place[kept], np.where(winner >= 0, rows[winner], -1)

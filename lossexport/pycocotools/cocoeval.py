"""Average precision and recall of boxes, by the names of `pycocotools.cocoeval`."""

import copy
import datetime
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from lossexport.boxes.boxset import Float64
from lossexport.errors import LossexportError, shown
from lossexport.pycocotools import one_image
from lossexport.pycocotools.columns import Row, checked_ids, sample
from lossexport.pycocotools.masks import mask_utils
from lossexport.pycocotools.parameters import check, check_flags
from lossexport.pycocotools.summary import summarize
from lossexport.pycocotools.whole import Whole
from lossexport.scoring.coco_ap import Tables
from lossexport.scoring.protocol import AREAS, MAX_DETECTIONS, RECALLS, THRESHOLDS, Protocol

_MOST_AREAS = 64


class Params:
    """What is evaluated and how; set the attributes before `evaluate`.

    Raises LossexportError for another `iouType` than "bbox".
    """

    def __init__(self, iouType: str = "segm") -> None:
        _check_type(iouType)
        self.iouType = iouType
        self.useSegm: Any = None
        self.imgIds: Any = []
        """Ids of images."""
        self.catIds: Any = []
        """Ids of categories."""
        self.iouThrs: Any = THRESHOLDS.copy()
        """[T] overlaps."""
        self.recThrs: Any = RECALLS.copy()
        """[R] recalls."""
        self.maxDets: Any = list(MAX_DETECTIONS)
        """[M] limits of detections for each image and category."""
        self.areaRng: Any = AREAS.tolist()
        """[A] least and largest area in square pixels, both included."""
        self.areaRngLbl: Any = ["all", "small", "medium", "large"]
        """[A] names of the areas."""
        self.useCats: Any = 1
        """0 to match boxes without regard to their categories."""


class COCOeval:
    """The evaluation of detections `cocoDt` against references `cocoGt`, sets of class `COCO`.

    `iouType` has pycocotools' default, "segm", which is refused with a LossexportError, like all
    but "bbox". After `evaluate`, `accumulate` and `summarize`, `eval` has the tables and `stats`
    the twelve numbers. An undefined number is -1.
    """

    def __init__(self, cocoGt: Any = None, cocoDt: Any = None, iouType: str = "segm") -> None:
        self.cocoGt = cocoGt
        self.cocoDt = cocoDt
        self.params = Params(iouType)
        self.eval: dict[str, Any] = {}
        """`precision` [T,R,K,A,M], `recall` [T,K,A,M], `scores` [T,R,K,A,M] in float64, and
        `params`, `counts` and `date`."""
        self.stats: Any = []
        """[12] float64"""
        self._paramsEval: Any = {}
        self._rows: tuple[list[Row], list[Row]] = ([], [])
        self._grouped: tuple[dict[Any, list[Row]], dict[Any, list[Row]]] | None = None
        self._whole: Whole | None = None
        self._images: Any = defaultdict(list)
        self._overlaps: Any = {}
        for name, side in (("cocoGt", cocoGt), ("cocoDt", cocoDt)):
            if side is not None:
                _check_set(name, side)
        if cocoGt is not None:
            self.params.imgIds = _sorted("images", cocoGt.getImgIds())
            self.params.catIds = _sorted("categories", cocoGt.getCatIds())

    @property
    def evalImgs(self) -> Any:
        """The outcome of each category, range of areas and image, in this order; None without box.

        The list is made when it is asked for. One that is set is what `accumulate` uses.
        """
        if self._images is None:
            assert self._whole is not None
            p = self._paramsEval
            self._images = self._whole.images(p.areaRng, self._categories(p), p.imgIds)
        return self._images

    @evalImgs.setter
    def evalImgs(self, images: Any) -> None:
        self._images = images

    @property
    def ious(self) -> Any:
        """(image id, category id) to the overlaps [D,G], best detection first; [] without any.

        The dictionary is made when it is asked for.
        """
        if self._overlaps is None:
            p = self._paramsEval
            self._overlaps = {
                (i, k): self._overlaps_of(i, k, p) for i in p.imgIds for k in self._categories(p)
            }
        return self._overlaps

    @ious.setter
    def ious(self, overlaps: Any) -> None:
        self._overlaps = overlaps

    @property
    def _gts(self) -> dict[Any, list[Row]]:
        """(image id, category id) to references."""
        return self._groups()[0]

    @property
    def _dts(self) -> dict[Any, list[Row]]:
        """(image id, category id) to detections."""
        return self._groups()[1]

    def _groups(self) -> tuple[dict[Any, list[Row]], dict[Any, list[Row]]]:
        if self._grouped is None:
            self._grouped = (defaultdict(list), defaultdict(list))
            with checked_ids(*self._rows):
                for rows, groups in zip(self._rows, self._grouped, strict=True):
                    for row in rows:
                        groups[row["image_id"], row["category_id"]].append(row)
        return self._grouped

    def evaluate(self) -> None:
        """Match the boxes of `params.imgIds` and `params.catIds`.

        Raises LossexportError on a box or a number that is missing or not finite, naming the
        annotation, and on a parameter that is not what it should be, naming it.
        """
        _check_set("cocoGt", self.cocoGt)
        _check_set("cocoDt", self.cocoDt)
        p = self.params
        check_flags(p)
        if p.useSegm is not None:
            p.iouType = "segm" if p.useSegm == 1 else "bbox"
        _check_type(p.iouType)
        check(p)
        p.imgIds = _unique("imgIds", p.imgIds)
        if p.useCats:
            p.catIds = _unique("catIds", p.catIds)
        p.maxDets = sorted(p.maxDets)
        self._prepare()
        protocol = self._protocol()
        if protocol is None:
            categories = self._categories(p)
            self.ious = {(i, k): self.computeIoU(i, k) for i in p.imgIds for k in categories}
            self.evalImgs = [
                self.evaluateImg(i, k, area, p.maxDets[-1])
                for k in categories
                for area in p.areaRng
                for i in p.imgIds
            ]
        else:
            boxes = sample(*self._rows, p.imgIds, p.catIds, use_categories=bool(p.useCats))
            self._whole = Whole(boxes, protocol)
            self._images = self._overlaps = None
        self._paramsEval = copy.deepcopy(p)

    def _prepare(self) -> None:
        """Select the annotations and set `ignore` of the references, which is their `iscrowd`."""
        p = self.params
        chosen = {"imgIds": p.imgIds, **({"catIds": p.catIds} if p.useCats else {})}
        sides = self.cocoGt, self.cocoDt
        with checked_ids(*(side.dataset.get("annotations", ()) for side in sides)):
            truths, detections = (side.loadAnns(side.getAnnIds(**chosen)) for side in sides)
        for row in truths:
            row["ignore"] = row.get("iscrowd", False)
        self._rows, self._grouped, self._whole = (truths, detections), None, None
        self._images, self._overlaps, self.eval = defaultdict(list), {}, {}

    def _protocol(self) -> Protocol | None:
        """The parameters, if all images can be evaluated together.

        They cannot if a subclass or a program has a step of its own, and with unusual parameters:
        a limit below 0 counts from the end of a list, and a threshold of 0 matches disjoint boxes.
        """
        p = self.params
        replaced = any(getattr(type(self), name) is not step for name, step in _STEPS.items())
        if replaced or not _STEPS.keys().isdisjoint(vars(self)):
            return None
        protocol = Protocol(
            np.asarray(p.iouThrs, np.float64).reshape(-1),
            np.asarray(p.recThrs, np.float64).reshape(-1),
            np.asarray(p.areaRng, np.float64).reshape(-1, 2),
            tuple(p.maxDets),
        )
        usual = (
            len(protocol.thresholds)
            and protocol.thresholds.min() > 0
            and 0 < len(protocol.areas) <= _MOST_AREAS
            and protocol.max_detections
            and protocol.max_detections[0] >= 0
        )
        return protocol if usual else None

    def _categories(self, p: Params) -> Any:
        return p.catIds if p.useCats else [-1]

    def _of_image(self, imgId: Any, catId: Any, p: Params) -> tuple[list[Row], list[Row]]:
        """The references and detections of an image and a category, or of all categories."""
        categories = [catId] if p.useCats else p.catIds
        truths, detections = (
            [row for k in categories for row in groups.get((imgId, k), ())]
            for groups in (self._gts, self._dts)
        )
        return truths, detections

    def computeIoU(self, imgId: Any, catId: Any) -> Any:
        """Overlaps [D,G] of the best `params.maxDets[-1]` detections; [] without any."""
        return self._overlaps_of(imgId, catId, self.params)

    def _overlaps_of(self, imgId: Any, catId: Any, p: Params) -> Any:
        truths, detections = self._of_image(imgId, catId, p)
        return one_image.overlaps(detections, truths, p.maxDets[-1])

    def evaluateImg(self, imgId: Any, catId: Any, aRng: Any, maxDet: int) -> Row | None:
        """The outcome of an image and category in a range of areas; None without a box."""
        truths, detections = self._of_image(imgId, catId, self.params)
        if not truths and not detections:
            return None
        found = self.ious[imgId, catId]
        thresholds = self.params.iouThrs
        result = one_image.evaluate(detections, truths, found, thresholds, aRng, maxDet)
        key = {"image_id": imgId, "category_id": catId, "aRng": aRng, "maxDet": maxDet}
        return key | result

    def accumulate(self, p: Any = None) -> None:
        """Compute the tables of `eval`, with the parameters `p` if given.

        Raises LossexportError if `evaluate` has not run.
        """
        if not self._paramsEval:
            raise LossexportError("accumulate: evaluate() has not run")
        p = self.params if p is None else p
        check(p)
        p.catIds = p.catIds if p.useCats == 1 else [-1]
        tables = self._tables(p)
        levels, recalls, categories, areas, limits = tables.precision.shape
        self.eval = {
            "params": p,
            "counts": [levels, recalls, categories, areas, limits],
            "date": datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
            "precision": tables.precision,
            "recall": tables.recall,
            "scores": tables.scores,
        }

    def _tables(self, p: Params) -> Tables:
        done = self._paramsEval
        recalls: Float64 = np.asarray(p.recThrs, np.float64).reshape(-1)
        limits = [most for most in p.maxDets if most in done.maxDets]
        same = all(
            np.array_equal(getattr(p, name), getattr(done, name))
            for name in ("imgIds", "areaRng", "iouThrs")
        )
        same &= list(self._categories(p)) == list(self._categories(done))
        if self._images is None and self._whole and same and len(limits) == len(p.maxDets):
            return self._whole.tables(recalls, tuple(limits))
        protocol = Protocol(
            np.asarray(p.iouThrs, np.float64).reshape(-1),
            recalls,
            np.asarray(p.areaRng, np.float64).reshape(-1, 2),
            tuple(p.maxDets),
        )
        tables = Tables.empty(protocol, len(p.catIds) if p.useCats else 1)
        if self.evalImgs:
            one_image.accumulate(self._parts(p), tables, recalls, limits)
        return tables

    def _parts(self, p: Params) -> Iterator[tuple[int, int, list[Row]]]:
        """Category, range of areas and the results of its images, from `evalImgs`.

        As in pycocotools, `p` selects by position: what it leaves out must be at the ends.
        """
        done = self._paramsEval
        images, areas = set(done.imgIds), set(map(tuple, done.areaRng))
        of_k = [n for n, k in enumerate(p.catIds) if k in set(self._categories(done))]
        of_a = [n for n, area in enumerate(p.areaRng) if tuple(area) in areas]
        of_i = [n for n, i in enumerate(p.imgIds) if i in images]
        for k, from_k in enumerate(of_k):
            for a, from_a in enumerate(of_a):
                first = (from_k * len(done.areaRng) + from_a) * len(done.imgIds)
                found = (self.evalImgs[first + i] for i in of_i)
                yield k, a, [result for result in found if result is not None]

    def summarize(self) -> None:
        """Print the twelve numbers and put them into `stats`.

        Raises LossexportError if `accumulate` has not run, or if `params.maxDets` has fewer than
        three limits.
        """
        self.stats = summarize(self.params, self.eval)


_STEPS = {
    name: vars(COCOeval)[name] for name in ("_prepare", "computeIoU", "evaluateImg", "_gts", "_dts")
}
"""The steps that a program may replace, in a subclass, in an object or in this class itself."""

__getattr__ = partial(mask_utils, __name__)


def _check_set(name: str, side: Any) -> None:
    if not (hasattr(side, "getAnnIds") and hasattr(side, "loadAnns")):
        raise LossexportError(f"{name} is {shown(side)}: a set of class COCO is expected")


def _unique(name: str, ids: Any) -> list[Any]:
    try:
        return list(np.unique(ids))
    except (TypeError, ValueError):
        raise LossexportError(
            f"params.{name} is {shown(ids)}: a list of numbers or of texts is expected"
        ) from None


def _sorted(table: str, ids: list[Any]) -> list[Any]:
    try:
        return sorted(ids)
    except TypeError:
        kinds = ", ".join(sorted({type(number).__name__ for number in ids}))
        raise LossexportError(
            f"{table}: ids are of several types ({kinds}): numbers or texts are expected"
        ) from None


def _check_type(kind: Any) -> None:
    if not isinstance(kind, str) or kind != "bbox":
        raise LossexportError(
            f"iouType is {shown(kind)}: lossexport.pycocotools is for boxes ('bbox'), use "
            "pycocotools itself for masks ('segm', the default) and keypoints"
        )

"""Annotations of a COCO file and results for them, by the names of `pycocotools.coco`."""

import copy
import gc
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from lossexport.errors import LossexportError, shown
from lossexport.files import reason
from lossexport.pycocotools.masks import mask_utils, masks

Row = dict[str, Any]
"""An annotation, an image or a category, as in the file."""


class FormatError(LossexportError, AssertionError):
    """A file or a result that is not as expected; pycocotools raises an AssertionError."""


class COCO:
    """A set of annotations with tables that find them; boxes are x, y, width, height in pixels.

    `annotation_file` is the path of a COCO file, or its content as a dictionary, which is then held
    and not copied. Without it the set is empty until `dataset` is set and `createIndex` called.
    Raises LossexportError if the file cannot be read, and FormatError if it has no dictionary.
    """

    def __init__(self, annotation_file: str | os.PathLike[str] | Row | None = None) -> None:
        self.dataset: Row = {}
        self.anns: dict[Any, Row] = {}
        self.cats: dict[Any, Row] = {}
        self.imgs: dict[Any, Row] = {}
        self.imgToAnns: dict[Any, list[Row]] = defaultdict(list)
        self.catToImgs: dict[Any, list[Any]] = defaultdict(list)
        if annotation_file is None:
            return
        if isinstance(annotation_file, dict):
            content: Any = annotation_file
        else:
            with _uncollected():
                content = _read(annotation_file)
            if not isinstance(content, dict):
                raise FormatError(f"{annotation_file}: {_kind(content)} instead of a dictionary")
        self.dataset = content
        self.createIndex()

    def createIndex(self) -> None:
        """Fill `anns`, `imgs`, `cats`, `imgToAnns` and `catToImgs` from `dataset`.

        Of several rows with one id the last is found by it. Raises LossexportError if a row has no
        `id`, or an annotation no `image_id` or `category_id`.
        """
        annotations = self.dataset.get("annotations", ())
        self.imgToAnns, self.catToImgs = defaultdict(list), defaultdict(list)
        with _complete("images"):
            self.imgs = {row["id"]: row for row in self.dataset.get("images", ())}
        with _complete("categories"):
            self.cats = {row["id"]: row for row in self.dataset.get("categories", ())}
        with _complete("annotations"):
            self.anns = {row["id"]: row for row in annotations}
            for row in annotations:
                self.imgToAnns[row["image_id"]].append(row)
            if "categories" in self.dataset:
                for row in annotations:
                    self.catToImgs[row["category_id"]].append(row["image_id"])

    def info(self) -> None:
        """Print the lines of `info` in the file."""
        for key, value in self.dataset["info"].items():
            print(f"{key}: {value}")

    def getAnnIds(
        self, imgIds: Any = (), catIds: Any = (), areaRng: Any = (), iscrowd: Any = None
    ) -> list[Any]:
        """Ids of the annotations on any of `imgIds`, of any of `catIds`, inside `areaRng`.

        Each is one id or several; an empty one admits all. `areaRng` is (least, most), both not
        included. With `iscrowd` only annotations of that value are listed.
        """
        images, categories = _several(imgIds), frozenset(_several(catIds))
        rows: Iterable[Row]
        if images:
            lists = (self.imgToAnns[image] for image in images if image in self.imgToAnns)
            rows = (row for found in lists for row in found)
        else:
            rows = self.dataset["annotations"]
        if categories:
            rows = (row for row in rows if row["category_id"] in categories)
        if len(areaRng):
            least, most = areaRng
            rows = (row for row in rows if least < row["area"] < most)
        if iscrowd is not None:
            rows = (row for row in rows if row["iscrowd"] == iscrowd)
        return [row["id"] for row in rows]

    def getCatIds(self, catNms: Any = (), supNms: Any = (), catIds: Any = ()) -> list[Any]:
        """Ids of the categories of these names, supercategories and ids; an empty one admits all.

        Each is one value or several; a text is one name.
        """
        rows = self.dataset["categories"]
        for key, wanted in (("name", catNms), ("supercategory", supNms), ("id", catIds)):
            if admitted := _several(wanted):
                rows = [row for row in rows if row[key] in admitted]
        return [row["id"] for row in rows]

    def getImgIds(self, imgIds: Any = (), catIds: Any = ()) -> list[Any]:
        """Ids of the images that are among `imgIds` and have all of `catIds`.

        Each is one id or several; without either these are all images.
        """
        images, categories = _several(imgIds), _several(catIds)
        if not images and not categories:
            return list(self.imgs)
        found = set(images)
        for number, category in enumerate(categories):
            having = set(self.catToImgs.get(category, ()))
            found = having if number == 0 and not found else found & having
        return list(found)

    def loadAnns(self, ids: Any = ()) -> list[Row]:
        """The annotations with one id or several."""
        return [self.anns[number] for number in _several(ids)]

    def loadCats(self, ids: Any = ()) -> list[Row]:
        """The categories with one id or several."""
        return [self.cats[number] for number in _several(ids)]

    def loadImgs(self, ids: Any = ()) -> list[Row]:
        """The images with one id or several."""
        return [self.imgs[number] for number in _several(ids)]

    def loadRes(self, resFile: Any) -> "COCO":
        """Detections for these images: a set of their own.

        `resFile` is the path of a result file, a list of dictionaries with `image_id`,
        `category_id`, `bbox` and `score`, or an array [n,7] of image id, x, y, width, height, score
        and category id. The dictionaries are held, and get `id` from 1, `area` (width x height),
        `iscrowd` 0 and, if it is missing, the `segmentation` of the box. No detection at all is an
        empty set.

        Raises FormatError if the results are not a list or are for other images, and
        LossexportError for results of masks, keypoints or captions.
        """
        with _uncollected():
            return _results(self, resFile)

    def loadNumpyAnnotations(self, data: npt.NDArray[Any]) -> list[Row]:
        """Results [n,7] of image id, x, y, width, height, score and category id, as dictionaries.

        Raises FormatError for any other shape.
        """
        if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 7:
            found = data.shape if isinstance(data, np.ndarray) else _kind(data)
            raise FormatError(f"results: {found} instead of an array [n,7]")
        # The numbers keep the array's type, in which the area is then computed.
        return [
            {
                "image_id": int(image),
                "bbox": [x, y, width, height],
                "score": score,
                "category_id": int(category),
            }
            for image, x, y, width, height, score, category in data
        ]

    def annToRLE(self, ann: Row) -> Any:
        """The mask of an annotation as a run-length code, made by `pycocotools.mask`."""
        image, outline = self.imgs[ann["image_id"]], ann["segmentation"]
        size = image["height"], image["width"]
        if isinstance(outline, list):
            return masks().merge(masks().frPyObjects(outline, *size))
        if isinstance(outline["counts"], list):
            return masks().frPyObjects(outline, *size)
        return outline

    def annToMask(self, ann: Row) -> npt.NDArray[np.uint8]:
        """The mask [height, width] of an annotation, made by `pycocotools.mask`."""
        decoded: npt.NDArray[np.uint8] = masks().decode(self.annToRLE(ann))
        return decoded

    def showAnns(self, anns: Any, draw_bbox: bool = False) -> NoReturn:
        """Refused: pycocotools draws."""
        raise LossexportError("showAnns: use pycocotools itself to draw annotations")

    def download(self, tarDir: Any = None, imgIds: Any = ()) -> NoReturn:
        """Refused: pycocotools downloads."""
        raise LossexportError("download: use pycocotools itself to download images")


__getattr__ = partial(mask_utils, __name__)


def _results(truths: Any, given: Any) -> COCO:
    if isinstance(given, str | os.PathLike):
        rows = _read(given)
    elif isinstance(given, np.ndarray):
        rows = COCO.loadNumpyAnnotations(truths, given)
    else:
        rows = given
    if not isinstance(rows, list):
        raise FormatError(f"results: {_kind(rows)} instead of a list")
    with _complete("results"):
        unknown = {row["image_id"] for row in rows} - set(truths.getImgIds())
    if unknown:
        raise FormatError(
            f"results: image_id is {shown(min(unknown, key=str))}: the annotations have no "
            f"such image ({len(unknown)} unknown ids)"
        )
    first = rows[0].get("bbox") if rows else [0]
    if first is None or (isinstance(first, list) and not first) or (rows and "caption" in rows[0]):
        raise LossexportError(
            "results: bbox is missing in the first: lossexport.pycocotools is for boxes, use "
            "pycocotools itself for masks, keypoints and captions"
        )
    for number, row in enumerate(rows):
        try:
            x, y, width, height = row["bbox"]
        except (KeyError, TypeError, ValueError):
            raise LossexportError(
                f"results[{number}]: bbox is {shown(row.get('bbox'))}: x, y, width and height "
                "are expected"
            ) from None
        right, bottom = x + width, y + height
        if "segmentation" not in row:
            row["segmentation"] = [[x, y, x, bottom, right, bottom, right, y]]
        row["area"] = width * height
        row["id"] = number + 1
        row["iscrowd"] = 0
    results = COCO()
    results.dataset = {
        "info": copy.deepcopy(truths.dataset.get("info", {})),
        "images": list(truths.dataset["images"]),
        "categories": copy.deepcopy(truths.dataset["categories"]),
        "annotations": rows,
    }
    results.createIndex()
    return results


@contextmanager
def _complete(table: str) -> Iterator[None]:
    """Name the table and the field if a row lacks a field."""
    try:
        yield
    except KeyError as error:
        raise LossexportError(f"{table}: a row has no {error.args[0]}") from None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which would search millions of new rows again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _several(ids: Any) -> list[Any]:
    """One id or several as a list; a text is one."""
    if isinstance(ids, str) or not (hasattr(ids, "__iter__") and hasattr(ids, "__len__")):
        return [ids]
    return list(ids)


def _read(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file; NaN and Infinity are read, as Python's writer writes them."""
    try:
        data = Path(path).read_bytes()
        try:
            return msgspec.json.decode(data)
        except msgspec.DecodeError:
            return json.loads(data)
    except OSError as error:
        raise LossexportError(f"{path}: {reason(error)}") from None
    except ValueError as error:
        raise LossexportError(f"{path}: not a JSON file: {error}") from None


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"

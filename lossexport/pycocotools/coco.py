"""Annotations of a COCO file and results for them, by the names of `pycocotools.coco`."""

import copy
import gc
import json
import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
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
from lossexport.pycocotools.parameters import is_flag

Row = dict[str, Any]
"""An annotation, an image or a category, as in the file."""


class FormatError(LossexportError, AssertionError):
    """A file or a result that is not as expected; pycocotools raises an AssertionError."""


class UnknownIdError(LossexportError, KeyError):
    """An id that the set does not have; pycocotools raises a KeyError."""

    __str__ = Exception.__str__  # a KeyError shows the `repr` of its message


class COCO:
    """A set of annotations with tables that find them; boxes are x, y, width, height in pixels.

    `annotation_file` is the path of a COCO file, or its content as a dictionary, which is then held
    and not copied. Without it the set is empty until `dataset` is set and `createIndex` called.
    Raises LossexportError if the file cannot be read, and FormatError if it has no dictionary, or
    if a table in it is not a list of rows with ids: the message names the table and the row.
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
        elif not isinstance(annotation_file, str | os.PathLike):
            raise FormatError(
                f"annotation_file: {_kind(annotation_file)} instead of a path or a dictionary"
            )
        else:
            with _uncollected():
                content = _read(annotation_file)
            if not isinstance(content, dict):
                raise FormatError(f"{annotation_file}: {_kind(content)} instead of a dictionary")
        self.dataset = content
        self.createIndex()

    def createIndex(self) -> None:
        """Fill `anns`, `imgs`, `cats`, `imgToAnns` and `catToImgs` from `dataset`.

        Of several rows with one id the last is found by it. Raises FormatError if a row has no
        `id`, or an annotation no `image_id` or `category_id`, or one that cannot be an id.
        """
        images, categories, annotations = (
            self.dataset.get(name, ()) for name in ("images", "categories", "annotations")
        )
        self.imgToAnns, self.catToImgs = defaultdict(list), defaultdict(list)
        with _complete("images", images, ("id",)):
            self.imgs = {row["id"]: row for row in images}
        with _complete("categories", categories, ("id",)):
            self.cats = {row["id"]: row for row in categories}
        with _complete("annotations", annotations, ("id", "image_id", "category_id")):
            self.anns = {row["id"]: row for row in annotations}
            for row in annotations:
                self.imgToAnns[row["image_id"]].append(row)
            if "categories" in self.dataset:
                for row in annotations:
                    self.catToImgs[row["category_id"]].append(row["image_id"])

    def info(self) -> None:
        """Print the lines of `info` in the file."""
        for key, value in self.dataset.get("info", {}).items():
            print(f"{key}: {value}")

    def getAnnIds(
        self, imgIds: Any = (), catIds: Any = (), areaRng: Any = (), iscrowd: Any = None
    ) -> list[Any]:
        """Ids of the annotations on any of `imgIds`, of any of `catIds`, inside `areaRng`.

        Each is one id or several; an empty one admits all. `areaRng` is (least, most), both not
        included. With `iscrowd` only annotations of that value are listed. Raises LossexportError
        if `areaRng` is neither empty nor two numbers, and if `iscrowd` is an array of several.
        """
        images, categories = _several(imgIds), _set(_several(catIds))
        _set(images)
        rows: Iterable[Row]
        if images:
            lists = (self.imgToAnns[image] for image in images if image in self.imgToAnns)
            rows = (row for found in lists for row in found)
        else:
            rows = self.dataset.get("annotations", ())
        if categories:
            rows = (row for row in rows if row["category_id"] in categories)
        if not isinstance(areaRng, list | tuple | np.ndarray) or len(areaRng):
            if not isinstance(areaRng, list | tuple | np.ndarray) or len(areaRng) != 2:
                raise LossexportError(f"areaRng is {shown(areaRng)}: two numbers are expected")
            least, most = areaRng
            rows = (row for row in rows if least < row["area"] < most)
        if iscrowd is not None:
            if not is_flag(iscrowd):
                raise LossexportError(f"iscrowd is {shown(iscrowd)}: 0 or 1 is expected")
            rows = (row for row in rows if row["iscrowd"] == iscrowd)
        return [row["id"] for row in rows]

    def getCatIds(self, catNms: Any = (), supNms: Any = (), catIds: Any = ()) -> list[Any]:
        """Ids of the categories of these names, supercategories and ids; an empty one admits all.

        Each is one value or several; a text is one name.
        """
        rows = self.dataset.get("categories", ())
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
        found = set(_set(images))
        _set(categories)
        for number, category in enumerate(categories):
            having = set(self.catToImgs.get(category, ()))
            found = having if number == 0 and not found else found & having
        return list(found)

    def loadAnns(self, ids: Any = ()) -> list[Row]:
        """The annotations with one id or several. Raises UnknownIdError for any other id."""
        return _found(self.anns, "annotations", ids)

    def loadCats(self, ids: Any = ()) -> list[Row]:
        """The categories with one id or several. Raises UnknownIdError for any other id."""
        return _found(self.cats, "categories", ids)

    def loadImgs(self, ids: Any = ()) -> list[Row]:
        """The images with one id or several. Raises UnknownIdError for any other id."""
        return _found(self.imgs, "images", ids)

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

        Raises FormatError for any other shape, and for an id that is not a number.
        """
        if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 7:
            found = data.shape if isinstance(data, np.ndarray) else _kind(data)
            raise FormatError(f"results: {found} instead of an array [n,7]")
        # The numbers keep the array's type, in which the area is then computed.
        rows: list[Row] = []
        for image, x, y, width, height, score, category in data:
            try:
                ids = {"image_id": int(image), "category_id": int(category)}
            except (TypeError, ValueError, OverflowError):
                raise FormatError(
                    f"results[{len(rows)}]: image_id is {shown(image)} and category_id is "
                    f"{shown(category)}: whole numbers are expected"
                ) from None
            rows.append({**ids, "bbox": [x, y, width, height], "score": score})
        return rows

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
    with _complete("results", rows, ("image_id",)):
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
    with _complete("results", rows, ("category_id",)):
        {row["category_id"] for row in rows}
    for number, row in enumerate(rows):
        try:
            x, y, width, height = row["bbox"]
            right, bottom, area = x + width, y + height, width * height
        except (KeyError, TypeError, ValueError):
            raise LossexportError(
                f"results[{number}]: bbox is {shown(row.get('bbox'))}: x, y, width and height "
                "are expected"
            ) from None
        if "segmentation" not in row:
            row["segmentation"] = [[x, y, x, bottom, right, bottom, right, y]]
        row["area"] = area
        row["id"] = number + 1
        row["iscrowd"] = 0
    for name in ("images", "categories"):
        if name not in truths.dataset:
            raise FormatError(f"annotations: {name} are missing, which results need")
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
def _complete(table: str, rows: Any, fields: tuple[str, ...]) -> Iterator[None]:
    """Name the row and the field if a row lacks one, or has one that cannot be an id."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError):
        if not isinstance(rows, list | tuple):
            raise FormatError(f"{table}: {_kind(rows)} instead of a list") from None
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                raise FormatError(
                    f"{table}[{number}]: {_kind(row)} instead of a dictionary"
                ) from None
            for field in fields:
                if field not in row:
                    raise FormatError(f"{table}[{number}]: {field} is missing") from None
                if not isinstance(row[field], Hashable):
                    raise FormatError(
                        f"{table}[{number}]: {field} is {shown(row[field])}: a number or a text "
                        "is expected"
                    ) from None
        raise


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
    return [ids.item()] if isinstance(ids, np.ndarray) and ids.ndim == 0 else list(ids)


def _set(ids: list[Any]) -> frozenset[Any]:
    """The ids as a set. Raises LossexportError on one that cannot be an id."""
    try:
        return frozenset(ids)
    except TypeError:
        strange = next(number for number in ids if not isinstance(number, Hashable))
        raise LossexportError(
            f"{shown(strange)} is no id: a number or a text is expected"
        ) from None


def _found(rows: dict[Any, Row], name: str, ids: Any) -> list[Row]:
    several = _several(ids)
    try:
        return [rows[number] for number in several]
    except (KeyError, TypeError):
        unknown = (n for n in several if not isinstance(n, Hashable) or n not in rows)
        raise UnknownIdError(f"{name}: none has the id {shown(next(unknown))}") from None


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
    except RecursionError:
        raise LossexportError(f"{path}: not a COCO file: nested too deeply") from None
    except ValueError as error:
        raise LossexportError(f"{path}: not a JSON file: {error}") from None


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"

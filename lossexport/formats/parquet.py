"""Parquet files of detections, read in batches.

Columns are those of `lossexport.formats.columns`: boxes as lists `bbox` (x, y, width, height) or
`box` (x1, y1, x2, y2), or flat as `x`, `y`, `width`, `height` or `x1`, `y1`, `x2`, `y2`. Other
columns are not read. An input is a file, a folder with files below it, or a pattern such as
`dets/*.parquet`; ids may be dictionaries.
"""

import fnmatch
import glob
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lossexport.boxes.boxset import Int64, check_rows
from lossexport.boxes.side import Side
from lossexport.errors import LossexportError, one_line
from lossexport.files import check_path, open_regular, reason
from lossexport.folder import Folder
from lossexport.formats import columns
from lossexport.formats.arrow import KNOWN, to_numpy
from lossexport.formats.format import Format
from lossexport.formats.source import Advance, FolderDigest
from lossexport.origin import install_command

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"
ROWS = 65_536
"""Of a batch."""
FLAT = {
    "box": (("x1", "y1", "x2", "y2"),),
    "bbox": (("x", "y", "width", "height"), ("x", "y", "w", "h")),
}
"""Columns of numbers that stand for those of a list."""


def read(path: Path, scored: bool, advance: Advance) -> Side:
    """Read predictions (`scored`) or references.

    Raises LossexportError, naming the file, the column and the row, on anything that is wrong, and
    if pyarrow is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise LossexportError(
            f"{path}: pyarrow reads Parquet and is not installed: {install_command('parquet')}"
        ) from error
    side, digest = Side(path), FolderDigest()
    ids: list[Int64] = []
    texts = {"image_id": True, "category_id": True}
    with ExitStack() as stack:
        files = _files(path, stack)
        for place, (name, opened) in enumerate(files):
            with opened() as file:
                side.input = digest.add_file(name, file, path)
                with _readable(name):
                    table = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
                rows = table.metadata.num_rows
                check_rows(name, side.boxes.count + rows, scored)
                for first, batch in _batches(name, table):
                    given = _arrays(name, batch, first)
                    ids.append(given.pop("id"))
                    columns.add(side, name, given, scored, first)
                    for column in texts:
                        texts[column] &= given[column].dtype.kind in "OUT"
                    advance((place + (first + len(batch)) / rows) / len(files))
    if not scored and side.boxes.count:
        side.images.text, side.categories.text = texts.values()
        side.annotation_ids = np.concatenate(ids)
    return side


def _files(path: Path, stack: ExitStack) -> list[tuple[Path, Callable[[], BinaryIO]]]:
    """The files of an input in the order of their names, each with the function that opens it."""
    check_path(path)
    files: list[tuple[Path, Callable[[], BinaryIO]]]
    if path.is_dir():
        folder = stack.enter_context(Folder(path))
        names = [name for name in folder.names() if name.lower().endswith(SUFFIX)]
        files = [(path / name, partial(folder.open, name)) for name in names]
    elif glob.has_magic(path.name) and not path.exists():
        try:
            there = [file.name for file in path.parent.iterdir()]
        except OSError as error:
            raise LossexportError(f"{path}: folder cannot be read: {reason(error)}") from error
        found = [path.parent / name for name in sorted(fnmatch.filter(there, path.name))]
        files = [(file, partial(open_regular, file)) for file in found]
    else:
        files = [(path, partial(open_regular, path))]
    if not files:
        raise LossexportError(f"{path}: there is no such file; a file *{SUFFIX} is expected")
    return files


def _batches(name: Path, table: Any) -> Iterator[tuple[int, "pa.Table"]]:
    """Batches of the columns that are known, and the place of the first row of each."""
    import pyarrow as pa

    flat = [column for names in FLAT.values() for group in names for column in group]
    known = [column for column in table.schema_arrow.names if column in (*KNOWN, *flat)]
    first = 0
    batches = table.iter_batches(ROWS, columns=known)
    while True:
        with _readable(name):
            batch = next(batches, None)
        if batch is None:
            return
        yield first, pa.Table.from_batches([batch])
        first += len(batch)


def _arrays(name: Path, batch: "pa.Table", first: int) -> dict[str, Any]:
    """The columns of a batch that are known, with boxes as lists, and `id`: 0 for each id of 0."""
    given = {
        column: to_numpy(str(name), column, batch.column(column), first)
        for column in batch.column_names
    }
    found = given.get("id", np.ones(len(batch), np.int64))
    given["id"] = np.array(found != 0, np.int64)
    for column, groups in FLAT.items():
        for group in groups:
            if column not in given and all(flat in given for flat in group):
                given[column] = np.stack([given[flat] for flat in group], axis=1)
    for groups in FLAT.values():
        for group in groups:
            for flat in group:
                given.pop(flat, None)
    return given


@contextmanager
def _readable(name: Path) -> Iterator[None]:
    """Turn what pyarrow raises on a file that is broken into a LossexportError."""
    try:
        yield
    except Exception as error:
        raise LossexportError(f"{name}: cannot be read as Parquet: {one_line(error)}") from error


FORMAT = Format(
    name="parquet",
    title="Parquet with columns of detections, or 'FOLDER/*.parquet'",
    given="file or folder",
    stream=read,
)

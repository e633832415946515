"""boxes.parquet: rows of an image and a category, written in row groups."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lossexport.boxes.boxset import Category, Id

ROWS_AT_ONCE = 65_536
SCHEMA = 2
"""Of the columns: 1 had neither boxes nor names."""

Columns = dict[str, tuple[Any, Any]]
"""The values of a column and which of them are null; None if none is."""
Block = tuple[Any, Any, Columns]
"""Positions of images and of categories or None, and the other columns, of some rows."""


def write_table(
    path: Path,
    images: Sequence[Id] | None,
    categories: Sequence[Category] | None,
    types: Mapping[str, str],
    blocks: Iterable[Block],
    files: Sequence[tuple[str, ...]] = (),
) -> None:
    """Write `blocks` of at most ROWS_AT_ONCE rows to a Parquet file.

    Columns are image_id and category_id (int64, or string if an id is not a number), those of
    `types`, name -> Arrow's name of its type, and the names category and file_name, which is the
    first of the image's `files`. Rows that are of no image (`images` is None) or of no category
    have no columns of it. The metadata have SCHEMA as `lossexport.schema`.
    """
    # pyarrow is imported only if files are written.
    import pyarrow as pa
    from pyarrow import parquet

    lookups: list[tuple[str, int, Any]] = []  # column, position in a block, values by code
    names: list[tuple[str, int, Any]] = []
    if images is not None:
        lookups.append(("image_id", 0, _ids(pa, images)))
        first = [_text(one[0]) if one else None for one in files or [()] * len(images)]
        names.append(("file_name", 0, pa.array(first, pa.string())))
    if categories is not None:
        lookups.append(("category_id", 1, _ids(pa, [kind.id for kind in categories])))
        kinds = pa.array([_text(kind.name) for kind in categories], pa.string())
        names.insert(0, ("category", 1, kinds))
    schema = pa.schema(
        [
            *((name, values.type) for name, _, values in lookups),
            *((name, pa.type_for_alias(alias)) for name, alias in types.items()),
            *((name, values.type) for name, _, values in names),
        ],
        metadata={"lossexport.schema": str(SCHEMA)},
    )
    # pyarrow itself opens only paths whose names are UTF-8.
    with path.open("wb") as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for *codes, columns in blocks:
            arrays = [values.take(pa.array(codes[k])) for _, k, values in lookups]
            for name in types:
                column, mask = columns[name]
                arrays.append(pa.array(column, schema.field(name).type, mask=mask))
            arrays += [values.take(pa.array(codes[k])) for _, k, values in names]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), ROWS_AT_ONCE)


def _ids(pa: Any, ids: Sequence[Id]) -> Any:
    if any(isinstance(value, str) for value in ids):
        return pa.array([str(value) for value in ids], pa.string())
    return pa.array(ids, pa.int64())


def _text(name: str) -> str:
    """A name as UTF-8 can hold it: names of files may have bytes that are none."""
    return name.encode(errors="replace").decode()

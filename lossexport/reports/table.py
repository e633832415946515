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
"""Positions of images and of categories, and the other columns, of some rows."""


def write_table(
    path: Path,
    images: Sequence[Id],
    categories: Sequence[Category],
    types: Mapping[str, str],
    blocks: Iterable[Block],
    files: Sequence[tuple[str, ...]] = (),
) -> None:
    """Write `blocks` of at most ROWS_AT_ONCE rows to a Parquet file.

    Columns are image_id and category_id (int64, or string if an id is not a number), those of
    `types`, name -> Arrow's name of its type, and the names category and file_name, which is the
    first of the image's `files`. The metadata have SCHEMA as `lossexport.schema`.
    """
    # pyarrow is imported only if files are written.
    import pyarrow as pa
    from pyarrow import parquet

    ids = _ids(pa, images), _ids(pa, [kind.id for kind in categories])
    first = [_text(names[0]) if names else None for names in files or [()] * len(images)]
    kinds = pa.array([_text(kind.name) for kind in categories], pa.string())
    names = pa.array(first, pa.string())
    schema = pa.schema(
        [
            ("image_id", ids[0].type),
            ("category_id", ids[1].type),
            *((name, pa.type_for_alias(alias)) for name, alias in types.items()),
            ("category", pa.string()),
            ("file_name", pa.string()),
        ],
        metadata={"lossexport.schema": str(SCHEMA)},
    )
    # pyarrow itself opens only paths whose names are UTF-8.
    with path.open("wb") as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for image, category, columns in blocks:
            values = [ids[0].take(pa.array(image)), ids[1].take(pa.array(category))]
            for name in types:
                column, mask = columns[name]
                values.append(pa.array(column, schema.field(name).type, mask=mask))
            values += [kinds.take(pa.array(category)), names.take(pa.array(image))]
            writer.write_table(pa.Table.from_arrays(values, schema=schema), ROWS_AT_ONCE)


def _ids(pa: Any, ids: Sequence[Id]) -> Any:
    if any(isinstance(value, str) for value in ids):
        return pa.array([str(value) for value in ids], pa.string())
    return pa.array(ids, pa.int64())


def _text(name: str) -> str:
    """A name as UTF-8 can hold it: names of files may have bytes that are none."""
    return name.encode(errors="replace").decode()

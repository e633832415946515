"""boxes.parquet: rows of an image and a category, written in row groups."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lossexport.boxes.boxset import Id

ROWS_AT_ONCE = 65_536

Columns = dict[str, tuple[Any, Any]]
"""The values of a column and which of them are null; None if none is."""
Block = tuple[Any, Any, Columns]
"""Positions of images and of categories, and the other columns, of some rows."""


def write_table(
    path: Path,
    images: Sequence[Id],
    categories: Sequence[Id],
    types: Mapping[str, str],
    blocks: Iterable[Block],
) -> None:
    """Write `blocks` of at most ROWS_AT_ONCE rows to a Parquet file.

    Columns are image_id and category_id (int64, or string if an id is not a number) and those of
    `types`: name -> Arrow's name of its type.
    """
    # pyarrow is imported only if files are written.
    import pyarrow as pa
    from pyarrow import parquet

    ids = _ids(pa, images), _ids(pa, categories)
    schema = pa.schema(
        [
            ("image_id", ids[0].type),
            ("category_id", ids[1].type),
            *((name, pa.type_for_alias(alias)) for name, alias in types.items()),
        ]
    )
    # pyarrow itself opens only paths whose names are UTF-8.
    with path.open("wb") as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for image, category, columns in blocks:
            values = [ids[0].take(pa.array(image)), ids[1].take(pa.array(category))]
            for name in types:
                column, mask = columns[name]
                values.append(pa.array(column, schema.field(name).type, mask=mask))
            writer.write_table(pa.Table.from_arrays(values, schema=schema), ROWS_AT_ONCE)


def _ids(pa: Any, ids: Sequence[Id]) -> Any:
    if any(isinstance(value, str) for value in ids):
        return pa.array([str(value) for value in ids], pa.string())
    return pa.array(ids, pa.int64())

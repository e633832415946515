"""The Parquet files of diagnoses."""

from collections.abc import Iterator
from pathlib import Path

from lossexport.boxes.boxset import Dataset
from lossexport.reports.table import ROWS_AT_ONCE, Block, write_table
from lossexport.scoring.causes.record import Table


def write(path: Path, data: Dataset, table: Table) -> None:
    """Write the rows with the ids and names of their images and categories."""
    images = None if table.image is None else data.images
    categories = None if table.category is None else data.categories
    write_table(path, images, categories, table.types, _blocks(table), data.files)


def _blocks(table: Table) -> Iterator[Block]:
    for start in range(0, len(table), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        columns = {
            name: (values[part], None if null is None else null[part])
            for name, (values, null) in table.columns.items()
        }
        image, category = (
            None if codes is None else codes[part] for codes in (table.image, table.category)
        )
        yield image, category, columns

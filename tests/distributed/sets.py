"""Sets of boxes in shuffled Parquet files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet


def make(
    folder: Path,
    seed: int,
    count: int,
    *,
    files: int = 2,
    group: int = 1000,
    texts: str = "numbers",
    coco: bool = False,
    change: dict[str, float] | None = None,
) -> tuple[Path, Path]:
    """Write `count` predictions to dets/*.parquet and a fifth as many references; their paths.

    The rows of an image are in all of the files, and many scores are equal. `texts` tells how the
    ids of images are written. With `coco`, references are a COCO dictionary that lists more images
    and categories than have boxes. `change` replaces values in the middle row of the second file.
    """
    rng = np.random.default_rng(seed)
    images, references = max(count // 20, 2), max(count // 5, 2)
    corner = rng.uniform(0, 300, (references, 2))
    box = np.concatenate([corner, rng.uniform(4, 150, (references, 2))], axis=1)
    image, kind = rng.integers(0, images, references), rng.integers(1, 6, references)
    source = rng.integers(0, references, count)
    moved = box[source] + rng.normal(0, 5, (count, 4))
    moved[:, 2:] = np.abs(moved[:, 2:])
    found = np.where(rng.random(count) < 0.9, kind[source], rng.integers(1, 8, count))
    score = np.round(rng.random(count), 1)

    def spelled(ids: Any) -> Any:
        if texts == "numbers":
            return ids
        named = [f"{value}" if texts == "texts" or value % 2 else f"i{value}" for value in ids]
        return np.array(named, object)

    def write(path: Path, rows: Any, columns: dict[str, Any]) -> None:
        path.parent.mkdir(exist_ok=True)
        for number, part in enumerate(np.array_split(rows, files)):
            table = {name: values[part] for name, values in columns.items()}
            if change and number == 1 and "score" in columns:
                for name, value in change.items():
                    if name == "image_id":
                        continue
                    table[name][len(part) // 2] = value
            file = path.with_name(f"{number}.parquet")
            parquet.write_table(pa.table(table), file, row_group_size=group)

    def columns(image: Any, kind: Any, box: Any) -> dict[str, Any]:
        sides = dict(zip(("x", "y", "width", "height"), box.T, strict=True))
        return {"image_id": spelled(image), "category_id": kind, **sides}

    far = change and change.get("image_id", 0)
    given = image[source] + int(far or 0)
    write(
        folder / "dets" / "x",
        rng.permutation(count),
        {**columns(given, found, moved), "score": score},
    )
    if not coco:
        crowd = rng.random(references) < 0.1
        write(
            folder / "refs" / "x",
            rng.permutation(references),
            {**columns(image, kind, box), "iscrowd": crowd.astype(np.int64)},
        )
        return folder / "dets", folder / "refs"
    text = {
        "images": [{"id": value} for value in spelled(np.arange(images + 3)).tolist()],
        "categories": [{"id": number, "name": f"kind {number}"} for number in range(1, 7)],
        "annotations": [
            {
                "id": row,
                "image_id": value,
                "category_id": int(kind[row]),
                "bbox": box[row].tolist(),
                "area": float(box[row, 2] * box[row, 3]),
                "iscrowd": int(row % 10 == 0),
            }
            for row, value in enumerate(spelled(image).tolist())
        ],
    }
    (folder / "gt.json").write_text(json.dumps(text))
    return folder / "dets", folder / "gt.json"

"""The three pages, made of few boxes whose names try to break out of their texts."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.comparison import compare
from lossexport.manifest import BackendParity, WorstRecord
from lossexport.parity.record import FileReport, Report
from lossexport.parity.report import html_page
from lossexport.scoring import score
from tests.boxes.helpers import Json, coco, found, truth

HOSTILE = (
    "<script>alert(1)</script>",
    "</style><style>*{display:none}</style>",
    '" onmouseover="alert(1)" x="',
    "' & &amp; <img src=x onerror=alert(1)>",
    "long" * 40,
    "{{ 7 * 7 }}",
)


@dataclass(frozen=True)
class Pages:
    """Where the pages lie, and what the summary of `score` says."""

    score: Path
    compare: Path
    parity: Path
    summary: Json

    def all(self) -> tuple[Path, Path, Path]:
        return self.score, self.compare, self.parity


def boxes(seed: int, categories: int, images: int) -> tuple[Json, Json]:
    """COCO references, and predictions that are moved, missing or made up."""
    random = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, images + 1):
        for _ in range(9):
            kind = int(random.integers(1, categories - 1))  # the last two have no reference
            x, y, w, h = random.uniform((0, 0, 20, 20), (300, 200, 120, 120)).tolist()
            annotations.append(truth(image, kind, x, y, w, h))
            if random.random() < 0.8:
                moved = random.normal((x, y, w, h), 5)
                results.append(found(image, kind, random.random(), *moved.tolist()))
        results.append(found(image, categories, random.random(), x, y, w, h))
    names = [*HOSTILE, *(f"kind {k}" for k in range(categories))]
    kinds = list(enumerate(names[:categories], 1))
    return coco(annotations, images=range(1, images + 1), categories=kinds), results


def parity(folder: Path) -> Path:
    """A report with a passed, a failed, a crashed and a missing backend."""
    errors: dict[str, int | float | None] = {
        "max_abs": 1e-7, "max_rel": 2e-7, "p999_ulp": 1.5, "max_ulp": 2.0**30,
        "tolerance_used": 0.4,
        "worst_actual": 0.5, "worst_expected": 0.25, "breaches": 3, "elements": 40,
    }  # fmt: skip
    worst = WorstRecord(0, "ordinary:N=7:0", "score", [3])
    results = (
        BackendParity("ort-cpu", "1.32", "passed", None, 40, {"score": errors}, worst),
        BackendParity(
            "native", "0.1", "failed", "score beyond tolerance", 40,
            {"score": errors | {"tolerance_used": None, "max_rel": None}}, worst,
        ),
        BackendParity("rtx", "1.7", "not run here", "no <b>driver</b>"),
    )  # fmt: skip
    crashed = (BackendParity("native", "0.1", "failed", "it crashed: <script>", 40),)
    variant = Variant.make(CATALOG["box_iou"])
    files = [FileReport(Path(f"{name}.onnx"), variant, results) for name in ("box_iou", "<i>a")]
    files.append(FileReport(Path("crash.onnx"), variant, crashed))
    report = Report(tuple(files), ("a note with <b>",))
    path = folder / "parity.html"
    path.write_text(html_page(report), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    folder = tmp_path_factory.mktemp("pages")
    references, results = boxes(0, 30, 8)
    _, others = boxes(1, 30, 8)
    shifted = [row | {"bbox": [row["bbox"][0] + 4, *row["bbox"][1:]]} for row in results]
    child = others + [row for n, row in enumerate(shifted) if n % 5]
    for name, value in (("<b>ref", references), ("<b>pred", results), ("other", child)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    summary = score(
        folder / "<b>pred.json", folder / "<b>ref.json", out=folder / "score", browse=5,
        fail_below={"AP": 0.99, "recall": 0.01},
    )  # fmt: skip
    compare(
        folder / "<b>pred.json", folder / "other.json", names=folder / "<b>ref.json",
        out=folder / "compare", browse=5, fail_below={"kept": 0.1},
    )  # fmt: skip
    names = ("score", "compare")
    made = [folder / name / "report.html" for name in names]
    return Pages(made[0], made[1], parity(folder), summary)

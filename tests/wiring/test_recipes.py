"""Recipes: each layout has one, and it finds what the layout's own decoding finds."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lossexport import attach_recipe, ops
from lossexport.cli import main
from lossexport.detectors import LAYOUTS
from lossexport.detectors.description import describe
from lossexport.runtime import load
from lossexport.wiring import recipe
from tests.detectors.test_detector import network
from tests.wiring.test_batches import NMS
from tests.wiring.toy import traced_once  # noqa: F401

RNG = np.random.default_rng(5)
SIDES = (64, 32)  # of the image, whose strides 8, 16 and 32 have 32, 8 and 2 cells
INPUT = '[input]\ntensor = "images"\nwidth = 64\nheight = 32\ncolour = "rgb"\nresize = "stretch"\n'
CLASSES = 5


def raw(*shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def boxes(count: int, scale: float = 30.0) -> np.ndarray:
    corner = raw(1, count, 2, high=scale)
    return np.concatenate((corner, corner + raw(1, count, 2, high=scale)), 2)


def centred(count: int) -> np.ndarray:
    return raw(1, count, 4, low=8, high=30)


def scores(count: int, classes: int = CLASSES) -> np.ndarray:
    return raw(1, count, classes)


def rows(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, 2)


def labels(count: int) -> np.ndarray:
    return RNG.integers(0, CLASSES, (1, count)).astype(np.float32)


CELLS = {8: 32, 16: 8, 32: 2}
FOUR = CELLS | {64: 1}
BOX = 'kind = "boxes"\nboxes = "b"\nscores = "s"\n'
TENSOR = 'tensor = "x"\n'
TABLE = 'columns = ["image", "y1", "x1", "y2", "x2", "score", "label"]'


def distances(cells: dict[int, int]) -> dict[str, np.ndarray]:
    sides = {f"d{n}": raw(1, count, 32, low=-3, high=3) for n, count in cells.items()}
    return sides | {f"s{n}": scores(count) for n, count in cells.items()}


def named(cells: dict[int, int]) -> str:
    lists = {"strides": [*cells], "scores": [f"s{n}" for n in cells]}
    lists |= {"distances": [f"d{n}" for n in cells]}
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in lists.items())


# The outputs of a detector, and its [output], whose boxes are the same to the last bit, or nearly.
DETECTORS: dict[str, tuple[dict[str, np.ndarray], str, bool]] = {
    "yolov8": ({"x": rows(centred(42), scores(42)).swapaxes(1, 2)}, TENSOR, True),
    "yolov8 turned": (
        {"x": rows(centred(42), scores(42), raw(1, 42, 1, high=3)).swapaxes(1, 2)},
        f"{TENSOR}others = 1\nangle = true",
        False,
    ),
    "yolov8_rows": (
        {"x": rows(centred(42), scores(42), raw(1, 42, 3))},
        f"{TENSOR}others = 3",
        True,
    ),
    "yolov5": ({"x": rows(centred(42), raw(1, 42, 1, low=0.8), scores(42))}, TENSOR, True),
    "yolox": (
        {"x": rows(raw(1, 42, 4, low=-1), raw(1, 42, 1, low=0.8), scores(42))},
        f"{TENSOR}strides = [8, 16, 32]",
        False,
    ),
    "nanodet": (distances(CELLS), named(CELLS), False),
    "picodet": (distances(FOUR), named(FOUR), False),
    "detr_sigmoid": (
        {"l": raw(1, 20, CLASSES, low=-4, high=4), "b": raw(1, 20, 4)},
        'logits = "l"\nboxes = "b"',
        False,
    ),
    "detr_softmax": (
        {"l": raw(1, 20, CLASSES + 1, low=-8, high=8), "b": raw(1, 20, 4)},
        'logits = "l"\nboxes = "b"',
        False,
    ),
    "detr_rows": ({"x": rows(raw(1, 20, 4), scores(20))}, TENSOR, True),
    "boxes": (
        {"b": boxes(20, 0.5)[0], "s": scores(20)[0]},
        'boxes = "b"\nscores = "s"\nunits = "parts"\ncoordinates = "xywh"',
        False,
    ),
    "boxes labelled": (
        {"b": boxes(20), "s": scores(20, 1)[..., 0], "c": labels(20).astype(np.int64)},
        'boxes = "b"\nscores = "s"\nlabels = "c"\ncoordinates = "cxcywh"',
        False,
    ),
    "ssd": (
        {"b": boxes(20), "s": scores(20, CLASSES + 1)},
        'boxes = "b"\nscores = "s"',
        True,
    ),
    "end_to_end": (
        {"x": rows(boxes(20), scores(20, 1), labels(20)[..., None] + 0.1)},
        TENSOR,
        True,
    ),
    "quadruple": (
        {
            "b": boxes(20, 0.5),
            "s": scores(20, 1)[..., 0],
            "c": labels(20) + 1,
            "n": np.array([13], np.float32),
        },
        'boxes = "b"\nscores = "s"\nlabels = "c"\ncount = "n"\n'
        'order = "yxyx"\nunits = "parts"\nfirst_label = 1',
        True,
    ),
    "table": (
        {
            "x": rows(
                (RNG.random((1, 20, 1)) > 0.7).astype(np.float32),
                boxes(20),
                scores(20, 1),
                labels(20)[..., None],
            )
        },
        f"{TENSOR}{TABLE}",
        True,
    ),
    "table counted": (
        {
            "x": rows(boxes(20, 0.5), scores(20, 1))[0],
            "c": labels(20)[0].astype(np.int32),
            "n": np.array([13], np.int32),
        },
        f'{TENSOR}columns = ["x1", "y1", "x2", "y2", "score"]\nlabels = "c"\ncount = "n"\n'
        'units = "parts"',
        True,
    ),
}


def expected(path: Path, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Detections, labels by row and the number, from the layout's decoding and `batched_nms`."""
    description, _ = describe(path)
    keys = description.output
    found = description.layout.decode(keys, outputs, SIDES, CLASSES)
    box, score, label = keys.select(outputs, found)
    box = torch.tensor(keys.corners(box, SIDES).astype(np.float32))
    score = torch.tensor(score.astype(np.float32))
    score = score if label is None else score[:, None]
    detections, indices, count = (
        x[0].numpy() for x in ops.batched_nms(box[None], score[None], **NMS)
    )
    if label is not None:
        detections = detections.copy()
        detections[:, 5] = np.where(indices < 0, 0, label[indices.clip(min=0)])
    return detections, indices, int(count)


@pytest.mark.parametrize("name", DETECTORS)
def test_the_boxes_of_a_layout(name: str, tmp_path: Path) -> None:
    outputs, text, exact = DETECTORS[name]
    path, out = network(tmp_path / "d.onnx", outputs), tmp_path / "out.onnx"
    described = tmp_path / "d.toml"
    categories = f"[categories]\nnames = {json.dumps([f'k{n}' for n in range(CLASSES)])}\n"
    described.write_text(f'{INPUT}{categories}[output]\nkind = "{name.split()[0]}"\n{text}\n')
    done = attach_recipe(path, "auto", out, attributes=NMS, detector=described)
    assert [text.split()[0] for text in done.outputs] == ["detections", "indices", "count"]
    found = load(out)(images=raw(1, 3, 32, 64))
    for key, value in outputs.items():
        np.testing.assert_array_equal(found[key], value)
    detections, indices, count = expected(described, outputs)
    assert found["count"].tolist() == [count]
    assert count > 3
    np.testing.assert_allclose(found["detections"][0], detections, rtol=1e-5, atol=1e-4)
    if exact:
        np.testing.assert_array_equal(found["detections"][0], detections)
    if "table" not in name:  # whose rows of other images are left out before
        np.testing.assert_array_equal(found["indices"][0], indices)


def test_every_layout_has_a_recipe_and_every_recipe_is_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["lossexport", "list", "--recipes", "--json"])
    main()
    listed = {row["name"]: row["layouts"] for row in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(recipe.shipped())
    served = {name.partition("+")[0] for layouts in listed.values() for name in layouts}
    assert served == set(LAYOUTS.builtin)
    assert served == {name.split()[0] for name in DETECTORS}

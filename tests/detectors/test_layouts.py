"""One network in each layout gives the same boxes, and the layouts are found."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossexport.boxes.boxset import Float64
from lossexport.comparison import compare
from lossexport.detectors.detector import Detector
from lossexport.detectors.layout import Found
from lossexport.detectors.layouts.yolo import HeadKeys
from tests.detectors import rewired
from tests.detectors.test_children import photo
from tests.detectors.test_detector import network

EXACT = ("raw_c_a", "raw_a_5c", "end2end")
CLOSE = ("detr_sigmoid", "detr_softmax")
LAYOUT = {
    "raw_c_a": "yolov8",
    "raw_a_5c": "yolov5",
    "end2end": "end_to_end",
    "detr_sigmoid": "detr_sigmoid",
    "detr_softmax": "detr_softmax",
}
SMALL = ("batch4", "batch_free", "double", "int_boxes", "opset25")


@pytest.fixture(scope="session")
def make(shared: Path) -> dict[str, Any]:
    """The functions of cases/detectors/make.py."""
    return runpy.run_path(str(shared / "cases/detectors/make.py"))


@pytest.fixture(scope="session")
def made(make: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what it writes."""
    out = tmp_path_factory.mktemp("made")
    make["layouts"](out)
    make["small"](out, 0)
    return out


@pytest.fixture
def two(photos: Path, tmp_path: Path) -> Path:
    """A folder of two of the photos."""
    folder = tmp_path / "two"
    folder.mkdir()
    for path in sorted(photos.glob("*.jpg"))[4:6]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="session")
def photos(shared: Path) -> Path:
    return shared / "data/images"


def described(folder: Path, text: str) -> Path:
    path = folder / "described.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", EXACT[1:])
def test_the_same_arithmetic_gives_the_same_bits(name: str, made: Path, photos: Path) -> None:
    parent, child = made / f"{EXACT[0]}.onnx", made / f"{name}.onnx"
    summary = compare(parent, child, images=photos, nms_iou=0.65)
    counts = summary["counts"]
    assert (counts["parent"], counts["matched"], counts["new"]) == (47, 47, 0)
    assert summary["iou"]["p5"] == summary["ciou"]["p5"] == 1
    assert summary["drift"]["max_abs"] == 0


@pytest.mark.parametrize("name", CLOSE)
def test_detr_gives_the_same_boxes(name: str, made: Path, photos: Path) -> None:
    """Its graphs say nothing about their input and categories: those of the other count."""
    parent, child = made / f"{EXACT[0]}.onnx", made / f"{name}.onnx"
    for first, second in ((parent, child), (child, parent)):
        summary = compare(first, second, images=photos, nms_iou=0.65)
        counts = summary["counts"]
        assert (counts["parent"], counts["matched"], counts["new"]) == (47, 47, 0)
        assert summary["iou"]["p5"] > 1 - 1e-5
        assert summary["drift"]["max_abs"] < 1e-5
        notes = [note for note in summary["notes"] if "as the other detector" in note]
        assert [note.split(":")[0] for note in notes] == [f"{name}.onnx"]


@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_what_was_found_is_said(name: str, made: Path) -> None:
    detector = Detector(made / f"{name}.onnx")
    assert detector.description.layout.name == LAYOUT[name]
    assert detector.why[0].startswith(f"layout {LAYOUT[name]}: output '")
    assert len(detector.kinds) == 80
    assert detector.named == (name in EXACT)
    assert detector.kinds[0].name == ("person" if name in EXACT else "0")


def pixels_of(found: Found) -> Float64:
    return np.column_stack([found.box, found.score, found.label])


def test_a_decoded_head_has_the_boxes_of_yolox(made: Path, photos: Path, tmp_path: Path) -> None:
    """The raw heads see the same image if it lies in the corner, as YOLOX takes it."""
    corner = described(tmp_path, '[input]\nplace = "corner"\n')
    raw = Detector(made / "raw_c_a.onnx", corner)
    yolox = Detector(made / "unsorted.onnx")
    assert yolox.description.layout.name == "yolox"
    seen = 0
    for path in sorted(photos.glob("*.jpg")):
        image = photo(path)
        first, second = yolox(image), raw(image)
        count = int((first.score > 0.1).sum())
        near = pixels_of(second)[:count]
        np.testing.assert_allclose(pixels_of(first)[:count], near, rtol=1e-4, atol=1e-3)
        seen += count
    assert seen == 79


@pytest.mark.parametrize("name", SMALL)
def test_awkward_graphs_have_the_same_boxes(name: str, made: Path, photos: Path) -> None:
    summary = compare(made / "opset24.onnx", made / f"{name}.onnx", images=photos)
    counts = summary["counts"]
    assert (counts["parent"], counts["matched"], counts["new"]) == (71, 71, 0)
    assert (summary["iou"]["p5"], summary["drift"]["max_abs"]) == (1, 0)


@pytest.mark.parametrize(
    ("name", "bytes_of_it"), [("opset24", "nhwc_u8"), ("resize10", "resize10_u8")]
)
def test_channels_last_of_bytes(name: str, bytes_of_it: str, made: Path, tmp_path: Path) -> None:
    """The same head from bytes, channels last. Its boxes are small only for dark images."""
    whole = described(
        tmp_path,
        '[input]\ncolour = "rgb"\nresize = "letterbox"\nplace = "centre"\n[limits]\nboxes = 300\n',
    )
    parent, child = Detector(made / f"{name}.onnx", whole), Detector(made / f"{bytes_of_it}.onnx")
    seen = 0
    for seed in range(9):
        dark = np.random.default_rng(seed).random((8, 8, 3)) < 0.3
        first, second = parent(dark.astype(np.uint8)), child(dark.astype(np.uint8))
        assert (pixels_of(first) == pixels_of(second)).all()
        seen += len(first.score)
    assert seen > 20


def test_an_open_size_has_to_be_stated(made: Path, photos: Path, tmp_path: Path) -> None:
    path = made / "resize10_open.onnx"
    with pytest.raises(ValueError, match=r"'images' float32\[1,3,H,W\] is open in width or height"):
        Detector(path)
    size = described(tmp_path, "[input]\nwidth = 8\nheight = 8\n")
    summary: dict[str, Any] = compare(
        made / "resize10.onnx", path, images=photos, child_detector=size, score_threshold=0
    )
    assert summary["counts"]["new"] == summary["counts"]["lost"] == 0


@pytest.mark.parametrize("name", rewired.LAYOUTS)
def test_more_layouts(
    name: str, made: Path, make: dict[str, Any], two: Path, tmp_path: Path
) -> None:
    layout, write = rewired.LAYOUTS[name]
    path = write(rewired.Rewired(make["decoded"]), tmp_path / f"{name}.onnx")
    assert Detector(path).description.layout.name == layout
    summary = compare(made / "raw_c_a.onnx", path, images=two, nms_iou=0.65)
    counts = summary["counts"]
    assert counts["parent"] == counts["matched"] > 5
    assert counts["new"] == 0
    assert summary["iou"]["p5"] > 1 - 1e-5
    assert summary["drift"]["max_abs"] < 1e-6


def test_rows_in_parts(made: Path, make: dict[str, Any], two: Path, tmp_path: Path) -> None:
    """Ultralytics feeds its RT-DETR with stretched images; here as the raw head, to compare."""
    names = {number: f"kind {number}" for number in range(80)}
    path = rewired.named_rows(rewired.Rewired(make["decoded"]), tmp_path / "rows.onnx", names)
    found = Detector(path).description
    assert (found.layout.name, found.input.resize, found.limits.nms_iou) == (
        "detr_rows", "stretch", None)  # fmt: skip
    letterbox = described(tmp_path, '[input]\nresize = "letterbox"\nplace = "centre"\n')
    summary = compare(
        made / "raw_c_a.onnx",
        path,
        images=two,
        nms_iou=0.65,
        child_detector=letterbox,
        match_by="id",
    )
    assert summary["kept"] == 1
    assert summary["iou"]["p5"] > 1 - 1e-5


def test_picodet_counts_from_the_middle_of_its_cells(tmp_path: Path) -> None:
    """Its four strides tell it from NanoDet, whose centres are half a pixel before."""
    sizes = {8: 32, 16: 8, 32: 2, 64: 1}  # cells in 64 x 32
    outputs = {f"score{n}": np.zeros((1, rows, 2), np.float32) for n, rows in sizes.items()}
    far = np.full((4, 8), -1000, np.float32)
    far[:, 1] = 0  # one stride away on each side
    outputs |= {f"side{n}": np.tile(far.ravel(), (1, rows, 1)) for n, rows in sizes.items()}
    outputs["score16"][0, 5, 1] = 0.75  # row 1, column 1
    detector = Detector(network(tmp_path / "d.onnx", outputs))
    assert detector.description.layout.name == "picodet"
    found = detector(np.zeros((32, 64, 3), np.uint8))
    assert (found.label.tolist(), found.score.tolist()) == ([1], [0.75])
    assert found.box.tolist() == [[24 - 16, 24 - 16, 24 + 16, 32]]
    three = {name: value for name, value in outputs.items() if not name.endswith("64")}
    detector = Detector(network(tmp_path / "n.onnx", three))
    assert detector.description.layout.name == "nanodet"
    assert detector(np.zeros((32, 64, 3), np.uint8)).box.tolist() == [[7.5, 7.5, 39.5, 32]]


def test_an_oriented_head(made: Path, make: dict[str, Any], two: Path, tmp_path: Path) -> None:
    names = {number: f"kind {number}" for number in range(80)}
    path = rewired.turned(rewired.Rewired(make["decoded"]), tmp_path / "obb.onnx", names)
    detector = Detector(path)
    assert detector.description.output == HeadKeys(tensor="output0", others=1, angle=True)
    summary = compare(made / "raw_c_a.onnx", path, images=two, match_by="id")
    counts = summary["counts"]
    assert counts["parent"] == counts["matched"] > 5
    assert summary["iou"]["p5"] > 1 - 1e-5

"""Detectors by their descriptions: constant networks with every kind of output, and bad ones."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lossexport.comparison import compare
from lossexport.detectors.detector import Detector, describe, resized
from lossexport.errors import LossexportError
from lossexport.files import sha256, shipped_files
from lossexport.runtime.ort import open_session
from tests.comparison.test_compare import rows_of, run

PICTURE = """
[input]
tensor = "images"
width = 64
height = 32
colour = "rgb"
resize = "stretch"
[categories]
names = ["cat", "dog"]
ids = [4, 9]
"""
NEAR = """
[output]
kind = "boxes"
boxes = "boxes"
scores = "scores"
"""


def network(path: Path, outputs: dict[str, Any], shape: Any = (1, 3, 32, 64)) -> Path:
    """A model that gives constants, whatever the image."""
    nodes, infos = [], []
    for name, value in outputs.items():
        tensor = numpy_helper.from_array(np.asarray(value), name)
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        infos.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "constant", [image], infos)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def floats(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


BOXES = floats([0, 0, 16, 16], [1, 0, 16, 16], [32, 8, 64, 32])
ONE_SCORE = {"boxes": BOXES, "scores": floats(0.5, 0.9, 0.8), "labels": np.array([1, 1, 0])}


def detect(folder: Path, outputs: dict[str, Any], description: str) -> list[tuple[Any, ...]]:
    """What a constant detector finds on an image of 128 x 64, twice its input."""
    (folder / "d.toml").write_text(PICTURE + description)
    detector = Detector(network(folder / "d.onnx", outputs), folder / "d.toml")
    result = detector(np.zeros((64, 128, 3), np.uint8))
    return [
        (detector.kinds[label].id, round(score, 4), *box)
        for label, score, box in zip(
            result.label, result.score.tolist(), result.box.tolist(), strict=True
        )
    ]


@pytest.mark.parametrize(
    ("outputs", "more", "wanted"),
    [
        # By falling score; the input has half of the image's pixels.
        (ONE_SCORE, 'labels = "labels"', [
            (9, 0.9, 2, 0, 32, 32), (4, 0.8, 64, 16, 128, 64), (9, 0.5, 0, 0, 32, 32)]),
        (ONE_SCORE, 'labels = "labels"\n[limits]\nnms_iou = 0.6', [
            (9, 0.9, 2, 0, 32, 32), (4, 0.8, 64, 16, 128, 64)]),
        (ONE_SCORE, 'labels = "labels"\n[limits]\nboxes = 1', [(9, 0.9, 2, 0, 32, 32)]),
        (ONE_SCORE, 'labels = "labels"\n[limits]\nscore = 0.85', [(9, 0.9, 2, 0, 32, 32)]),
        # A batch of one, and as many rows as count says.
        ({n: v[None] for n, v in ONE_SCORE.items()} | {"count": np.array([1])},
         'labels = "labels"\ncount = "count"', [(9, 0.5, 0, 0, 32, 32)]),
        # What an attached NMS gives: the rest of indices is -1.
        (ONE_SCORE | {"indices": np.array([1, 2, -1, 0]), "count": np.array(1)},
         'labels = "labels"\nindices = "indices"', [
            (9, 0.9, 2, 0, 32, 32), (4, 0.8, 64, 16, 128, 64)]),
        (ONE_SCORE | {"indices": np.array([1, 2, -1, 0]), "count": np.array(1)},
         'labels = "labels"\nindices = "indices"\ncount = "count"', [(9, 0.9, 2, 0, 32, 32)]),
        (ONE_SCORE | {"indices": np.array([2, 1, -1]), "s": floats(0.7, 0.2, 0),
                      "b": floats([0, 0, 8, 8], [8, 0, 16, 8], [0, 0, 0, 0])},
         'labels = "labels"\nindices = "indices"\nnew_scores = "s"\nnew_boxes = "b"', [
            (4, 0.7, 0, 0, 16, 16), (9, 0.2, 16, 0, 32, 16)]),
        # A score a category: each counts, or the best one of what is picked.
        ({"boxes": BOXES[:1], "scores": floats([0.4, 0.6])}, "", [
            (9, 0.6, 0, 0, 32, 32), (4, 0.4, 0, 0, 32, 32)]),
        ({"boxes": BOXES[:1][None], "scores": floats([[0.4, 0.6]]),
          "indices": np.array([0])}, 'indices = "indices"', [(9, 0.6, 0, 0, 32, 32)]),
        # Other ways to write a box; what lies outside of the image is cut off or left out.
        ({"boxes": floats([8, 8, 16, 16], [-9, 0, 8, 8]), "scores": floats([0.4, 0], [0.5, 0])},
         'coordinates = "cxcywh"', [(4, 0.4, 0, 0, 32, 32)]),
        ({"boxes": floats([48, 16, 32, 32]), "scores": floats([0.4, 0])},
         'coordinates = "xywh"', [(4, 0.4, 96, 32, 128, 64)]),
        ({"boxes": floats([0.5, 0.5, 1, 1]), "scores": floats([0.4, 0])},
         'units = "parts"', [(4, 0.4, 64, 32, 128, 64)]),
    ],
)  # fmt: skip
def test_decoded_tensors(outputs: Any, more: str, wanted: Any, tmp_path: Path) -> None:
    assert detect(tmp_path, outputs, NEAR + more) == wanted


YOLOX = """
[output]
kind = "yolox"
tensor = "raw"
strides = [32]
"""
NANODET = """
[output]
kind = "nanodet"
strides = [32]
scores = ["score"]
distances = ["away"]
"""
# Two cells of 32; the image has twice the size.
RAW = floats([0.5, 0.5, -1e9, 0, 0.5, 0.8, 0.2], [0.25, 0.5, np.log(0.5), 0, 1, 0.3, 0.6])[None]
HALF, WHOLE = [9, 0, -9, -9], [-99, 9, -99, -99]  # of four bins: 0 and 1 strides away
SCORE = floats([0.8, 0.2], [0.0, 0.6])[None]
AWAY = floats([WHOLE * 4, HALF * 4])[None].reshape(1, 2, 16)
ATTACHED = {"box": BOXES[1:], "i": np.array([1, 0, -1]), "n": np.array(1)}
IN_GRAPH = 'boxes = "box"\nindices = "i"'


@pytest.mark.parametrize(
    ("outputs", "description", "wanted"),
    [
        ({"raw": RAW}, YOLOX, [(9, 0.6, 64, 0, 96, 64), (4, 0.3, 64, 0, 96, 64)]),
        ({"raw": RAW} | ATTACHED, YOLOX + IN_GRAPH, [
            (9, 0.6, 64, 16, 128, 64), (4, 0.4, 2, 0, 32, 32)]),
        ({"raw": RAW} | ATTACHED, YOLOX + IN_GRAPH + '\ncount = "n"', [
            (9, 0.6, 64, 16, 128, 64)]),
        ({"score": SCORE, "away": AWAY}, NANODET, [
            (4, 0.8, 0, 0, 95, 64), (9, 0.6, 95, 31, 95.02, 31.02), (9, 0.2, 0, 0, 95, 64)]),
        ({"score": SCORE, "away": AWAY} | ATTACHED, NANODET + IN_GRAPH, [
            (4, 0.8, 2, 0, 32, 32), (9, 0.6, 64, 16, 128, 64)]),
    ],
)  # fmt: skip
def test_raw_layouts(outputs: Any, description: str, wanted: Any, tmp_path: Path) -> None:
    result = detect(tmp_path, outputs, description)
    assert [row[:2] for row in result] == [row[:2] for row in wanted]
    np.testing.assert_allclose([row[2:] for row in result], [row[2:] for row in wanted], atol=0.05)


@pytest.mark.parametrize(
    ("outputs", "more", "message"),
    [
        ({"boxes": BOXES, "probs": BOXES}, "", "no output 'scores', the outputs are boxes, probs"),
        (ONE_SCORE, "", "output 'scores' is of 2 categories: labels is missing"),
        (ONE_SCORE | {"scores": floats(0.1, np.nan, 0.2)}, 'labels = "labels"',
         "output 'scores' gives a score of nan: must be a finite number"),
        (ONE_SCORE | {"scores": floats(0.1, 3e38, 0.2)}, 'labels = "labels"',
         r"output 'scores' gives a score of 3.0*5\d+e\+38: must be at most 1e\+09 in size"),
        (ONE_SCORE | {"count": floats(np.inf)}, 'labels = "labels"\ncount = "count"',
         "output 'count' has inf: a whole number is expected"),
        (ONE_SCORE | {"labels": floats(0, 0.5, 1)}, 'labels = "labels"',
         "output 'labels' has 0.5: a whole number is expected"),
        (ONE_SCORE | {"i": floats(np.nan)}, 'labels = "labels"\nindices = "i"',
         "output 'i' has nan: a whole number is expected"),
        (ONE_SCORE | {"scores": np.array([0, 1, 1])}, 'labels = "labels"',
         "output 'scores' gives scores of int64: floats are expected"),
        (ONE_SCORE | {"boxes": BOXES * np.nan}, 'labels = "labels"', "coordinate that is NaN"),
        (ONE_SCORE | {"labels": np.array([0, 2, 1])}, 'labels = "labels"',
         "a box has label 2, there are 2 categories"),
        (ONE_SCORE | {"boxes": BOXES[0]}, 'labels = "labels"',
         r"output 'boxes' has shape \[4\], expected is a rank of 2"),
        (ONE_SCORE | {"boxes": np.stack([BOXES, BOXES])}, 'labels = "labels"',
         r"output 'boxes' has shape \[2,3,4\], expected is a rank of 2"),
        (ONE_SCORE | {"boxes": BOXES[:, :3]}, 'labels = "labels"', r"expected is \[N,4\]"),
        (ONE_SCORE | {"scores": floats(0.5, 0.5)}, 'labels = "labels"',
         r"output 'scores' has shape \[2\], expected is \[3\]"),
        (ONE_SCORE | {"labels": np.array([1])}, 'labels = "labels"',
         r"output 'labels' has shape \[1\], expected is 3 rows or more"),
        (ONE_SCORE | {"i": np.array([3])}, 'labels = "labels"\nindices = "i"',
         "output 'i' has 3, there are 3 boxes"),
        (ONE_SCORE | {"scores": floats([0.1, 0.2, 0.3])}, "",
         r"output 'scores' has shape \[1,3\], expected is \[3,2\]"),
        (ONE_SCORE | {"i": np.array([2, 1]), "s": floats(0.5)},
         'labels = "labels"\nindices = "i"\nnew_scores = "s"',
         r"output 's' has shape \[1\], expected is 2 rows or more"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit(outputs: Any, more: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LossexportError, match=message) as error:
        detect(tmp_path, outputs, NEAR + more)
    assert str(error.value).startswith(f"{tmp_path / 'd.onnx'}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NEAR.replace("scores", "score"), r"d\.toml: \[output\]: Object contains unknown field `s"),
        (NEAR.replace('"boxes"\nb', '"bxes"\nb'), r"d\.toml: \[output\]: layout 'bxes' is not one "
         r"of yolox, nanodet, boxes, .*; did you mean boxes\?$"),
        (NEAR.replace('kind = "boxes"\n', ""), r"\[output\]: layout None is not one of yolox"),
        (NEAR.replace('"boxes"\nscores', '5\nscores'), r"\[output\]: Expected `str`, got `int` "),
        (NEAR + 'new_scores = "s"', "new_scores and new_boxes need indices"),
        (NEAR + "[limits]\nscore = nan", r"Expected `float` >= 0.0 - at `\$\.limits\.score`"),
        (NEAR + "[limits]\nboxes = 0", r"Expected `int` >= 1 - at `\$\.limits\.boxes`"),
        ("", "missing required field `output`"),
        ("[input", r"d\.toml: "),
        ('[output]\nkind = "nanodet"\nstrides = [8]\nscores = ["a", "b"]\ndistances = ["c"]',
         "must have one length"),
    ],
)  # fmt: skip
def test_bad_descriptions(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "d.toml").write_text(PICTURE + text)
    with pytest.raises(LossexportError, match=message):
        describe(tmp_path / "d.toml")
    text = PICTURE.replace("[categories]", "std = [0, 1, 1]\n[categories]") + NEAR
    (tmp_path / "d.toml").write_text(text)
    with pytest.raises(LossexportError, match="std above 0"):
        describe(tmp_path / "d.toml")
    (tmp_path / "d.toml").write_text(PICTURE.replace("[4, 9]", "[4, 4]") + NEAR)
    with pytest.raises(LossexportError, match="ids must be distinct"):
        describe(tmp_path / "d.toml")


def test_input_tensor_must_fit(tmp_path: Path) -> None:
    description = tmp_path / "d.toml"
    description.write_text(PICTURE + NEAR + 'labels = "labels"')
    for shape, message in (
        ((1, 3, 64, 32), r"input 'images' has shape \[1,3,64,32\], expected is \[1,3,32,64\]"),
        ((4, 64, 32, 3), r"has shape \[4,64,32,3\], expected is \[4,32,64,3\]"),
        ((1, 4, 32, 64), r"no input is an image, .*; the inputs are 'images' float32\[1,4,32,64\]"),
        ((3, 32, 64), r"no input is an image, .*; the inputs are 'images' float32\[3,32,64\]"),
    ):
        with pytest.raises(LossexportError, match=message):
            Detector(network(tmp_path / "d.onnx", ONE_SCORE, shape), description)
    # A free batch, height or width takes what the description says.
    free = network(tmp_path / "d.onnx", ONE_SCORE, ("batch", 3, "h", None))
    assert len(Detector(free, description)(np.zeros((9, 9, 3), np.uint8)).score) == 3
    description.write_text(description.read_text().replace('"images"', '"image"'))
    with pytest.raises(LossexportError, match="no input 'image', the inputs are images"):
        Detector(free, description)
    free.write_bytes(b"\x08\x08junk")
    with pytest.raises(LossexportError, match=r"d\.onnx: model: (malformed|truncated)"):
        Detector(free, description)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "photos"], "the folder has no .jpg, .jpeg, .png"),
        (["--detector", "yolox_nano"], "running a detector needs a folder of images"),
        (["--images", "photos", "--detector", "yolo"], "yolo: cannot be read"),
        (["--images", "photos", "--detector", "d.toml"], "the folder has no .jpg, .jpeg, .png"),
    ],
)
def test_bad_detector_options(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "d.toml").write_text(PICTURE + NEAR + 'labels = "labels"')
    network(tmp_path / "d.onnx", ONE_SCORE)
    code, error = run("d.onnx", "d.onnx", *words, "--out", "out")
    assert (code, message in error) == (2, True), error
    assert not (tmp_path / "out").exists()


def test_detectors_skip_an_image_that_is_damaged(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (128, 64), (9, 90, 200)).save(photos / "a.png")
    (photos / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    (tmp_path / "d.toml").write_text(PICTURE + NEAR + 'labels = "labels"')
    parent = network(tmp_path / "p.onnx", ONE_SCORE)
    child = network(tmp_path / "c.onnx", ONE_SCORE | {"scores": floats(0.4, 0.9, 0.2)})
    summary = compare(
        parent, child, images=photos, detector=tmp_path / "d.toml", out=tmp_path / "o"
    )
    assert summary["counts"]["images"] == 1
    assert (summary["counts"]["matched"], summary["counts"]["lost"]) == (2, 1)
    assert summary["drift"]["max_abs"] == pytest.approx(0.1)
    (note,) = summary["notes"]
    assert note.startswith("Images that were left out: 'b.jpg' cannot be decoded")
    assert rows_of(tmp_path / "o")[0]["image_id"] == "a.png"
    (photos / "a.png").unlink()
    with pytest.raises(LossexportError, match=r"photos: no image can be read: 'b\.jpg' cannot"):
        compare(parent, child, images=photos, detector=tmp_path / "d.toml")


def test_a_free_batch_runs_with_one_and_says_so(tmp_path: Path) -> None:
    Image.new("RGB", (128, 64)).save(tmp_path / "a.png")
    (tmp_path / "d.toml").write_text(PICTURE + NEAR + 'labels = "labels"')
    fixed = network(tmp_path / "p.onnx", ONE_SCORE)
    free = network(tmp_path / "c.onnx", ONE_SCORE, ("batch", 3, 32, 64))
    given: dict[str, Any] = {"images": tmp_path, "detector": tmp_path / "d.toml"}
    assert compare(fixed, fixed, **given)["notes"] == []
    summary = compare(fixed, free, **given)
    assert summary["notes"] == ["The batch of 'c.onnx' is free; it ran with a batch of 1."]
    assert summary["counts"]["matched"] == 3


def test_a_fixed_batch_is_filled(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in "abc":
        Image.new("RGB", (128, 64)).save(photos / f"{name}.png")
    (tmp_path / "d.toml").write_text(PICTURE + NEAR + 'labels = "labels"')
    one = network(tmp_path / "p.onnx", ONE_SCORE)
    pairs = {name: np.stack([value, value]) for name, value in ONE_SCORE.items()}
    two = network(tmp_path / "c.onnx", pairs, (2, 3, 32, 64))
    summary = compare(one, two, images=photos, detector=tmp_path / "d.toml")
    assert (summary["counts"]["matched"], summary["counts"]["new"], summary["notes"]) == (9, 0, [])
    wrong = network(tmp_path / "b.onnx", ONE_SCORE, (4, 3, 32, 64))
    arguments = ("--images", photos, "--detector", tmp_path / "d.toml", "--out", tmp_path / "out")
    code, error = run(one, wrong, *arguments)
    assert (code, "output 'boxes' has shape [3,4], and the input a batch of 4" in error) == (
        2,
        True,
    )
    assert not (tmp_path / "out").exists()


def test_the_hash_is_of_what_was_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = network(tmp_path / "a.onnx", ONE_SCORE)
    loaded = path.read_bytes()
    description = tmp_path / "a.toml"
    description.write_text(PICTURE + NEAR + 'labels = "labels"')

    def exchanged(*arguments: Any) -> Any:
        path.write_bytes(b"another")
        return open_session(*arguments)

    monkeypatch.setattr("lossexport.detectors.detector.open_session", exchanged)
    assert Detector(path, description).input.sha256 == sha256(loaded)


def test_resizing() -> None:
    image = np.random.default_rng(3).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    assert (resized(image, 5, 7) == image).all()
    # Half the size is the mean of each two by two, to the rounding of the two passes.
    image = image[:6, :4]
    blocks = image.reshape(3, 2, 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(resized(image, 2, 3) - blocks).max() <= 0.75
    flat = np.full((3, 4, 3), 77, np.uint8)
    assert (resized(flat, 9, 11) == 77).all()


def test_shipped_descriptions() -> None:
    assert set(shipped_files("models/detectors")) == {"nanodet_m", "yolox_nano"}
    for path in shipped_files("models/detectors").values():
        kinds = describe(path)[0].kinds()
        assert (len(kinds), kinds[0].name, kinds[79].id) == (80, "person", 90)

"""Recipes: each layout has one, and it finds what the layout's own decoding finds."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from lossexport import attach_recipe, ops
from lossexport.cli import main
from lossexport.detectors import LAYOUTS
from lossexport.detectors.description import describe
from lossexport.errors import LossexportError
from lossexport.runtime import load
from lossexport.wiring import recipe
from tests.detectors.test_detector import network
from tests.wiring.test_batches import NMS
from tests.wiring.toy import IMAGES, OUTPUT, toy, traced_once  # noqa: F401

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
    "yolov8 logits": (
        {"x": rows(centred(42), raw(1, 42, CLASSES, low=-4, high=4)).swapaxes(1, 2)},
        f"{TENSOR}logits = true",
        False,
    ),
    "yolov8_rows logits": (
        {"x": rows(centred(42), raw(1, 42, CLASSES, low=-4, high=4))},
        f"{TENSOR}logits = true",
        False,
    ),
    "yolov5 logits": (
        {"x": rows(centred(42), raw(1, 42, 1 + CLASSES, low=-2, high=4))},
        f"{TENSOR}logits = true",
        False,
    ),
    "yolov5": ({"x": rows(centred(42), raw(1, 42, 1, low=0.8), scores(42))}, TENSOR, True),
    "yolox": (
        {"x": rows(raw(1, 42, 4, low=-1), raw(1, 42, 1, low=0.8), scores(42))},
        f"{TENSOR}strides = [8, 16, 32]",
        False,
    ),
    "nanodet": (distances(CELLS), named(CELLS), False),
    "picodet": (distances(FOUR), named(FOUR), False),
    "nanodet boxes": (distances(CELLS) | {"b": boxes(42)}, f'{named(CELLS)}\nboxes = "b"', True),
    "nanodet_plus": (
        {"x": rows(scores(43), raw(1, 43, 24, low=-3, high=3))},
        f"{TENSOR}strides = [8, 16, 32, 64]\nbins = 6",
        False,
    ),
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
    **{
        f"ssd_deltas {activation}": (
            {"b": raw(1, 20, 4, low=-1), "s": raw(1, 20, wide, low=low), "p": raw(1, 20, 4)},
            f'boxes = "b"\nscores = "s"\npriors = "p"\nactivation = "{activation}"\n{more}',
            False,
        )
        for activation, wide, low, more in (
            ("none", CLASSES + 1, 0, 'units = "pixels"'),
            ("softmax", CLASSES + 1, -4, "variances = [0.2, 0.1, 0.3, 0.4]"),
            ("sigmoid", CLASSES, -4, ""),
        )
    },
    "end_to_end counted": (
        {
            "x": rows(boxes(20), scores(20, 1), labels(20)[..., None] + 0.1),
            "n": np.array([13], np.int32),
        },
        f'{TENSOR}count = "n"',
        True,
    ),
    "boxes labelled and counted": (
        {
            "b": boxes(20),
            "s": scores(20, 1)[..., 0],
            "c": labels(20).astype(np.int64),
            "n": np.array([13], np.int64),
        },
        'boxes = "b"\nscores = "s"\nlabels = "c"\ncount = "n"',
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


def described(kind: str, text: str) -> str:
    names = json.dumps([f"k{n}" for n in range(CLASSES)])
    return f'{INPUT}[categories]\nnames = {names}\n[output]\nkind = "{kind}"\n{text}\n'


def expected(path: Path, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Detections, labels by row and the number, from the layout's decoding and `batched_nms`."""
    description, _ = describe(path)
    keys = description.output
    found = description.layout.decode(keys, outputs, SIDES, CLASSES)
    box, score, label = keys.select(outputs, found)
    score = score if label is None else score[:, None]
    corner, rows = (
        torch.tensor(x.astype(np.float32))[None] for x in (keys.corners(box, SIDES), score)
    )
    detections, indices, count = (x[0].numpy() for x in ops.batched_nms(corner, rows, **NMS))
    if label is not None:
        detections = detections.copy()
        detections[:, 5] = np.where(indices < 0, 0, label[indices.clip(min=0)])
    return detections, indices, int(count)


@pytest.mark.parametrize("name", DETECTORS)
def test_the_boxes_of_a_layout(name: str, tmp_path: Path) -> None:
    outputs, text, exact = DETECTORS[name]
    path, out = network(tmp_path / "d.onnx", outputs), tmp_path / "out.onnx"
    description = tmp_path / "d.toml"
    description.write_text(described(name.split()[0], text))
    # Of opset 20, so that the graph of `batched_nms` is one that other tests have made.
    done = attach_recipe(path, "auto", out, attributes=NMS, detector=description, opset=20)
    assert [text.split()[0] for text in done.outputs] == ["detections", "indices", "count"]
    found = load(out)(images=raw(1, 3, 32, 64))
    for key, value in outputs.items():
        np.testing.assert_array_equal(found[key], value)
    detections, indices, count = expected(description, outputs)
    assert found["count"].tolist() == [count]
    assert count > 3
    np.testing.assert_allclose(found["detections"][0], detections, rtol=1e-5, atol=1e-4)
    if exact:
        np.testing.assert_array_equal(found["detections"][0], detections)
    if "table" not in name:  # whose rows of other images are left out before
        np.testing.assert_array_equal(found["indices"][0], indices)


# Keys of all layouts that stand for rows which a recipe refuses, for columns that are not read,
# and for turned boxes, around which a recipe gives the upright ones.
NOT_IN_RECIPES = {"indices", "new_scores", "new_boxes", "count", "others", "oriented"}


def test_every_key_of_a_layout_counts_in_its_recipe() -> None:
    for name in recipe.shipped():
        loaded = recipe.load(recipe.shipped()[name])
        for section, expressions in loaded.layouts.items():
            texts = [*expressions.values(), *loaded.tensors.values()]
            known = set(re.findall(r"[a-z_]+[a-z]", " ".join(texts)))
            keys = set(LAYOUTS.find(section.partition("+")[0]).keys.__struct_fields__)
            lists = {word for word in keys if any(other.startswith(f"{word}_") for other in known)}
            missing = keys - known - lists - NOT_IN_RECIPES
            assert missing <= ({"labels"} if section in ("boxes", "ssd") else set()), section


def test_a_count_that_the_recipe_leaves_out(tmp_path: Path) -> None:
    outputs, text, _ = DETECTORS["yolov8"]
    path = network(tmp_path / "d.onnx", outputs | {"n": np.array([13], np.int32)})
    (tmp_path / "d.toml").write_text(described("yolov8", f'{text}count = "n"\n'))
    message = 'the description has count = "n", and the recipe takes all rows of the layout yolov8'
    with pytest.raises(LossexportError, match=message):
        attach_recipe(path, "auto", tmp_path / "o.onnx", detector=tmp_path / "d.toml")
    assert not (tmp_path / "o.onnx").exists()


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


CHAIN = """
summary = "two ops and their outputs"
inputs = { target = "float32[M,4]" }
tensors.corners = "xywh(output[0,:,:4])"

[[steps]]
op = "pairwise_giou"
inputs = { pred = "corners", target = "target" }

[[steps]]
op = "pairwise_giou"
prefix = "own_"
inputs = { pred = "corners", target = "corners" }

[outputs]
score = "score * 100"
best = "max(score)"
"""


def test_a_recipe_of_several_ops_behind_any_detector(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out, chain = toy(tmp_path), tmp_path / "out.onnx", tmp_path / "chain.toml"
    chain.write_text(CHAIN)
    command = ["attach", str(path), "--recipe", str(chain), "--out", str(out), "--prefix", "a_"]
    monkeypatch.setattr("sys.argv", ["lossexport", *command, "--output", "own=own_score[0]"])
    main()
    gives = "a_own_score float32[6,6], a_score float32[6,?], a_best float32[6], a_own float32[6]"
    assert f"(fp32) gives {gives}, and takes a_target float32[?,4]" in capsys.readouterr().out
    pred = torch.tensor(OUTPUT[0, :, :4])
    pred = torch.cat((pred[:, :2], pred[:, :2] + pred[:, 2:]), 1)
    target = pred[:3] + 0.1
    found = load(out)(images=IMAGES, a_target=target.numpy())
    score = ops.pairwise_giou(pred, target).numpy()
    np.testing.assert_allclose(found["a_score"], score * 100, atol=2e-4)
    np.testing.assert_allclose(found["a_best"], score.max(1), atol=2e-6)
    np.testing.assert_array_equal(found["a_own"], found["a_own_score"][0])
    facts = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    ours = json.loads(facts["lossexport.attached.a_expressions"])
    assert (ours["recipe"], ours["tensors"]) == ("chain", {"corners": "xywh(output[0,:,:4])"})
    assert str(tmp_path).encode() not in out.read_bytes()


def test_thresholds_of_a_recipe_as_an_input(tmp_path: Path) -> None:
    outputs, text, _ = DETECTORS["yolov8"]
    path, out = network(tmp_path / "d.onnx", outputs), tmp_path / "out.onnx"
    (tmp_path / "d.toml").write_text(described("yolov8", text))
    attach_recipe(
        path,
        "yolo-nms",
        out,
        inputs={"scores": "where(scores >= threshold, scores, -1)"},
        attributes=NMS,
        new_inputs={"threshold": f"float32[{CLASSES}]"},
        outputs={"classes": "where(indices < 0, -1, cast(detections[:,:,5], int64))"},
        detector=tmp_path / "d.toml",
        opset=20,
    )
    image, session = raw(1, 3, 32, 64), load(out)
    every = session(images=image, threshold=np.zeros(CLASSES, np.float32))["classes"]
    assert {*every.ravel()} > {2}
    threshold = np.array([9, 9, 0.6, 9, 9], np.float32)
    found = session(images=image, threshold=threshold)
    assert {*found["classes"][found["classes"] >= 0]} == {2}
    assert (found["detections"][0, : found["count"][0], 4] >= 0.6).all()


TWO_OPS = '[[steps]]\nop = "nms"\n[[steps]]\nop = "nms"\n'
BAD = [
    ("", "has neither steps nor outputs"),
    ("step = 1", "unknown field `step`"),
    ("[[steps]]\nop = 'nmss'", "unknown op 'nmss'; did you mean nms?"),
    ("[[steps]]\nop = 'nms'\nattributes.beta = -1", r"beta=-1: must be in"),
    ("[[steps]]\nop = 'nms'\nbox_format = 'x'", r"Invalid enum value 'x' - at `\$.steps\[0\]"),
    ("[[steps]]\nop = 'nms'", r"nms: input boxes\[N,4\] is not mapped"),
    (f'[outputs]\na = "{"x" * 1001}"', r"length <= 1000 - at `\$.outputs\[...\]`"),
    ("[outputs]\na = 'nope'", "a=nope: no tensor 'nope'; there are: output"),
    ("tensors.a = 'b'\noutputs.c = 'a'\n", "a=b: no tensor 'b'"),
    ("tensors.a = '3'\noutputs.c = 'output[a]'\n", "subscript 3 is outside of axis 0"),
    (TWO_OPS, "the recipe has 2 ops"),
    ("layouts.yolov9 = {}\noutputs.c = 'a'", "layout"),
    ("outputs = [", "d.toml: "),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[message for _, message in BAD])
def test_recipes_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path, chain = toy(tmp_path), tmp_path / "d.toml"
    chain.write_text(text)
    attributes = {"iou_threshold": 0.5} if text == TWO_OPS else {}
    with pytest.raises(LossexportError, match=message) as caught:
        attach_recipe(path, chain, tmp_path / "out.onnx", attributes=attributes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.onnx").exists()


def test_a_recipe_for_other_layouts(tmp_path: Path) -> None:
    outputs, text, _ = DETECTORS["ssd"]
    path = network(tmp_path / "d.onnx", outputs)
    (tmp_path / "d.toml").write_text(described("ssd", text))
    message = "d.onnx: has the layout ssd, and the recipe is for yolox; --recipe auto takes the one"
    with pytest.raises(LossexportError, match=message):
        attach_recipe(path, "yolox-nms", tmp_path / "o.onnx", detector=tmp_path / "d.toml")
    with pytest.raises(LossexportError, match="no recipe of that name; there are: boxes-nms, det"):
        attach_recipe(path, "yolo", tmp_path / "o.onnx")


ONE = "lossexport attach d.onnx --out o.onnx"
USAGE = [
    (ONE, "attach needs --op OP, --recipe NAME or --output"),
    (f"{ONE} --op nms --recipe auto", "--recipe says what --op, --box-format and --image-size"),
    (f"{ONE} --op nms --detector yolov8", "--detector is for --recipe"),
    (f"{ONE} --op nms --input a --input a=float32[]", "--input: a name is given twice"),
    ("lossexport list --recipes nms", "--recipes lists all of them"),
]


@pytest.mark.parametrize(("line", "message"), USAGE)
def test_options_that_do_not_go_together(
    line: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", line.split())
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert message in capsys.readouterr().err

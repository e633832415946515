"""Input checks happen before the backend is called, one line each."""

from pathlib import Path

import numpy as np
import pytest

from lossexport.errors import LossexportError
from lossexport.runtime import Session, TensorInfo
from lossexport.runtime.session import Array

BOXES = np.arange(8, dtype=np.float32).reshape(2, 4)


class Echo(Session):
    """Gives the inputs back and counts its calls."""

    def __init__(
        self, *inputs: TensorInfo, profile: dict[str, tuple[int, int]] | None = None
    ) -> None:
        super().__init__(Path("echo.onnx"), "echo", (), inputs, inputs, profile)
        self.calls = 0

    def _run(self, arrays: dict[str, Array]) -> dict[str, Array]:
        self.calls += 1
        assert all(array.flags.c_contiguous for array in arrays.values())
        return arrays


@pytest.fixture
def session() -> Echo:
    return Echo(
        TensorInfo("pred", "float32", ("N", 4)),
        TensorInfo("labels", "int64", ("N",)),
        profile={"N": (1, 3)},
    )


def test_right_inputs_pass_unchanged(session: Echo) -> None:
    labels = np.array([3, 4])
    found = session(pred=BOXES, labels=labels)
    assert found["pred"] is BOXES
    assert found["labels"] is labels


def test_lists_are_converted(session: Echo) -> None:
    found = session(pred=[[0, 1, 2, 3.5]], labels=(7,))
    assert found["pred"].dtype == np.float32
    assert found["pred"].tolist() == [[0, 1, 2, 3.5]]
    assert found["labels"].tolist() == [7]


def test_strided_arrays_are_copied(session: Echo) -> None:
    found = session(pred=np.asfortranarray(BOXES)[::-1], labels=np.arange(4)[::2])
    assert found["pred"].tolist() == BOXES[::-1].tolist()
    assert found["labels"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, "unknown input 'extra', the inputs are pred, labels"),
        ({"labels": None}, "input 'labels': dtype object, expected int64"),
        ({"pred": BOXES.ravel()}, "input 'pred': shape [8], expected [N, 4]"),
        ({"pred": BOXES[:, :3]}, "input 'pred': shape [2, 3], expected [N, 4]"),
        (
            {"labels": np.arange(3)},
            "input 'labels': shape [3], expected [N], where N is 2 in 'pred'",
        ),
        (
            {"pred": np.zeros((9, 4), np.float32)},
            "input 'pred': shape [9, 4], expected [N, 4], where N is 1 to 3",
        ),
        ({"pred": BOXES.astype(np.float64)}, "input 'pred': dtype float64, expected float32"),
        ({"pred": BOXES.astype(">f4")}, "input 'pred': dtype >f4, expected float32"),
        ({"pred": np.float32(1)}, "input 'pred': shape [], expected [N, 4]"),
        ({"labels": [1.5, 2.0]}, "input 'labels': dtype float64, expected int64"),
        ({"labels": ["a", "b"]}, "input 'labels': dtype <U1, expected int64"),
        ({"labels": [[1], [1, 2]]}, "input 'labels': not an array of int64: "),
        ({"labels": [2**70, 1]}, "input 'labels': dtype object, expected int64"),
    ],
)
def test_wrong_inputs_are_refused(session: Echo, changes: dict[str, object], message: str) -> None:
    with pytest.raises(LossexportError) as caught:
        session(**{"pred": BOXES, "labels": np.array([1, 2])} | changes)
    assert str(caught.value).startswith(f"echo.onnx: {message}")
    assert "\n" not in str(caught.value)
    assert session.calls == 0


def test_a_missing_input_is_named(session: Echo) -> None:
    with pytest.raises(LossexportError, match="input 'labels' is missing"):
        session(pred=BOXES)


def test_nameless_dimensions_are_independent() -> None:
    session = Echo(TensorInfo("image", "uint8", ("?", "?")), TensorInfo("scale", "float16", ()))
    found = session(image=np.zeros((2, 3), np.uint8), scale=0.5)
    assert found["image"].shape == (2, 3)
    assert found["scale"].shape == ()
    assert found["scale"].dtype == np.float16


def test_input_names_need_not_be_identifiers() -> None:
    session = Echo(TensorInfo("input.1", "bool", ("?",)), TensorInfo("self", "bool", ("?",)))
    found = session(**{"input.1": [True], "self": [False]})
    assert found["input.1"].tolist() == [True]


def test_bfloat16_goes_in_as_ml_dtypes_or_as_bits() -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    session = Echo(TensorInfo("x", "bfloat16", ("N",)))
    values = np.array([1.0, -2.5], bfloat16)
    for given in (values, values.view(np.uint16), [1.0, -2.5]):
        found = session(x=given)["x"]
        assert found.dtype == bfloat16
        assert found.tolist() == [1.0, -2.5]
    with pytest.raises(LossexportError, match="dtype float32, expected bfloat16"):
        session(x=np.ones(2, np.float32))


def test_bfloat16_is_bits_without_ml_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    session = Echo(TensorInfo("x", "bfloat16", ("N",)))
    found = session(x=np.array([0x3F80], np.uint16))["x"]
    assert found.dtype == np.uint16
    with pytest.raises(LossexportError, match="dtype float64, expected bfloat16"):
        session(x=[1.0])


def test_unsupported_tensors_are_refused_at_once() -> None:
    with pytest.raises(LossexportError, match=r"echo.onnx: tensor 's': string is not supported"):
        Echo(TensorInfo("s", "string", ("N",)))

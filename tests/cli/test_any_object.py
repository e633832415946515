"""Any object, size and path in place of an argument: it is shown, and refused in one line."""

import math
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Variant
from lossexport.detectors.detector import describe
from lossexport.errors import LossexportError, shown
from lossexport.exporter import recipe
from lossexport.exporter.run import export
from lossexport.wiring import recipe as chains
from lossexport.wiring.attach import attach
from tests.cli.test_messages import refused


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError


OBJECTS: dict[str, Any] = {
    **{"huge": 10**400, "huger": 10**5000, "negative": -(10**400), "many": range(10**9)},
    **{"inside": [10**5000], "deeper": {"a": (10**5000,)}, "long": "x" * 10**6, "list": []},
    **{"nan": math.nan, "inf": math.inf, "complex": 1j, "decimal": Decimal("1e999"), "dict": {}},
    **{"surrogate": "\ud800", "nul": "a\0b", "bytes": b"\xff", "object": object()},
    **{"unsigned": np.uint64(2**64 - 1), "array": np.zeros(3), "numpy": np.float64("nan")},
    **{"numpy bool": np.bool_(True), "unshowable": Unshowable(), "lines": "a\nb\r\x1b[2J\u202e"},
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_any_object_is_shown(kind: str) -> None:
    text = shown(OBJECTS[kind])
    assert text.isprintable()
    assert 0 < len(text) <= 80


def test_how_values_are_shown() -> None:
    assert shown(int("9" * 400)) == "a whole number of some 400 digits"
    assert shown([np.float64(0.5), np.int64(2**63 - 1)]) == "[0.5, 9223372036854775807]"
    assert shown("a\x1b\ud800\n\u202e") == r"'a\x1b\ud800\n\u202e'"
    assert shown("x" * 100) == f"'{'x' * 76}..."
    assert shown(Unshowable()).startswith("<Unshowable instance at ")


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_argument_that_is_any_object(kind: str, tmp_path: Path) -> None:
    value, out = OBJECTS[kind], tmp_path / "out"
    attached: Any = (tmp_path / "none.onnx", "box_iou", {"pred": "a", "target": "b"}, out)
    for work in (
        lambda: export("giou_loss", out, shapes={"N": value}),
        lambda: export("giou_loss", out, attributes={"reduction": value}),
        lambda: export("giou_loss", out, precision=value),
        lambda: export("giou_loss", out, formats=[value]),
        lambda: export(["giou_loss", value], out),
        lambda: attach(*attached, box_format=value),
        lambda: attach(*attached, attributes={"eps": value}),
    ):
        with pytest.raises(LossexportError):
            work()
    assert not list(tmp_path.iterdir())
    for op in ("giou_loss", "decode_boxes", "softmax_focal_loss"):
        for name in (*(attribute.name for attribute in CATALOG[op].attributes), "nope"):
            refused(lambda op=op, name=name: Variant.make(CATALOG[op], {name: value}))


@pytest.mark.parametrize("size", [(10**400, 1), (10**5000, 1), (math.nan, 1), (1, -(10**5000))])
def test_an_image_size_that_is_no_size(size: tuple[float, float], tmp_path: Path) -> None:
    inputs = {"pred": "a", "target": "b"}
    with pytest.raises(LossexportError, match=r"^image size .*: must be above 0, at most 1e6$"):
        attach(tmp_path / "none.onnx", "box_iou", inputs, "o.onnx", image_size=size)


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b", "a" * 5000, "a/" * 5000])
def test_a_path_that_no_file_can_have(path: str, tmp_path: Path) -> None:
    from lossexport.files import appear_together, read_bytes, write_bytes

    for work in (
        lambda p: read_bytes(p, 9),
        lambda p: write_bytes(p, b""),
        lambda p: appear_together(p).__enter__(),
        recipe.load,
        chains.load,
        describe,
    ):
        with pytest.raises(LossexportError):
            work(tmp_path / path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_stream_changes_no_exit_code(closed: int) -> None:
    import subprocess

    script = f"import os; os.close({closed}); import sys; sys.argv = ['lossexport', 'none']"
    script += "\nfrom lossexport.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr

"""Arrays of files in expressions: their numbers stay what they are, and others are refused."""

from pathlib import Path

import numpy as np
import pytest

from lossexport.wiring.graph import WiringError
from tests.wiring.test_expression import evaluate

NUMBERS = {
    **{name: np.array([3, 0, 7], name) for name in ("<u8", ">u8", ">i4", "<i2", "u1", "i1", "<u4")},
    **{name: np.array([0.5, -2.0], name) for name in ("<f2", ">f4", "<f8", ">f8")},
    "largest": np.array([2**63 - 1, 0], np.uint64),
    "least": np.array([-(2**63)], np.int64),
    "float32's largest": np.array([float(np.finfo(np.float32).max), -np.inf]),
    "empty": np.zeros((0, 4)),
    "fortran": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    "number": np.array(2.5),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_of_a_file_stay_what_they_are(kind: str, tmp_path: Path) -> None:
    array = NUMBERS[kind]
    np.save(tmp_path / "c.npy", array)
    found, _ = evaluate(f"@{tmp_path}/c.npy")
    assert found.dtype == (np.float32 if array.dtype.kind == "f" else np.int64)
    assert found.shape == array.shape
    assert found.tolist() == array.tolist()


UNFIT = [
    ("@c.npy", np.array([1, 2**64 - 1], np.uint64), "18446744073709551615 does not fit int64"),
    ("@c.npy", np.array([2**63], ">u8"), "9223372036854775808 does not fit int64"),
    ("@c.npy", np.array([1e39]), r"1e\+39 does not fit float32"),
    ("@c.npy", np.array([-1.7e308]), r"-1\.7e\+308 does not fit float32"),
    ("labels + '@c.npy'", np.array([2**31]), "2147483648 does not fit int32"),
    ("labels + '@c.npy'", np.array([-(2**31) - 1]), "-2147483649 does not fit int32"),
    ("half + '@c.npy'", np.array([70000]), "70000 does not fit float16"),
    ("half * '@c.npy'", np.array([1e5]), "100000.0 does not fit float16"),
    ("labels + 2147483648", None, "2147483648 does not fit int32"),
    ("half * 65520", None, "65520 does not fit float16"),
]


@pytest.mark.parametrize(("text", "array", "message"), UNFIT)
def test_numbers_that_a_type_cannot_hold(
    text: str,
    array: np.ndarray | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if array is not None:
        np.save("c.npy", array)
    with pytest.raises(WiringError, match=message):
        evaluate(text)


REFUSED_TYPES = {
    **{name: np.zeros(2, name) for name in ("c8", "c16", "?", "S3", "U2", "M8[s]", "m8[ns]", "V4")},
    "none": np.zeros(2, "V0"),
    "structured": np.zeros(2, [("a", "f4"), ("b", "f4")]),
    "axes": np.zeros((1,) * 9),
}


@pytest.mark.parametrize("kind", REFUSED_TYPES)
def test_arrays_of_other_types(kind: str, tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", REFUSED_TYPES[kind])
    wanted = "no type of whole or floating-point|has 9 axes, at most 8|not an array"
    with pytest.raises(WiringError, match=f"c.npy: .*({wanted})"):
        evaluate(f"@{tmp_path}/c.npy")


SHAPES = [
    "(-1,)",
    "(-1, 2)",
    "(2, -2)",
    "(True, 4)",
    "(4.0,)",
    "(5,)",
    "(3,)",
    "(2**62, 4)",
    "(0,)",
]


@pytest.mark.parametrize("shape", [*SHAPES, f"(1, {'9' * 30})", f"({'9' * 4400},)", "4", "()"])
def test_a_header_that_is_not_of_the_numbers(shape: str, tmp_path: Path) -> None:
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(32)
    (tmp_path / "c.npy").write_bytes(data)
    with pytest.raises(WiringError, match=r"c\.npy: not an array in \.npy format: "):
        evaluate(f"@{tmp_path}/c.npy")
    good = header.replace(shape.encode(), b"(4,)")
    data = b"\x93NUMPY\x01\x00" + len(good).to_bytes(2, "little") + good + bytes(32)
    (tmp_path / "c.npy").write_bytes(data)
    assert evaluate(f"@{tmp_path}/c.npy")[0].tolist() == [0] * 4


HEADERS = {"open": 9000 * b"(", "minus": 9000 * b"-" + b"1"}
KINDS = ["pickle", "text", "short", "liar", "strings", "structured", "v3", *HEADERS]


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_no_arrays_of_numbers(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "c.npy"
    good = np.arange(4.0)
    np.save(path, good)
    data = path.read_bytes()
    if kind == "pickle":
        np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    elif kind == "strings":
        np.save(path, np.array(["a"]))
    elif kind == "structured":
        np.save(path, np.zeros(2, [("a", "f4")]))
    elif kind in HEADERS:
        size = len(HEADERS[kind]).to_bytes(2, "little")
        path.write_bytes(b"\x93NUMPY\x01\x00" + size + HEADERS[kind])
    else:
        path.write_bytes(
            {
                "text": b"1 2 3",
                "short": data[:-1],
                "liar": data.replace(b"(4,)", b"(9,)"),
                "v3": data.replace(b"NUMPY\x01", b"NUMPY\x03"),
            }[kind]
        )
    with pytest.raises(WiringError, match=r"c\.npy: "):
        evaluate(f"@{path}")

"""The bytes of an evaluator: small, the same for the same images, and safe to read."""

import hashlib
import math
import random
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport import Evaluator
from lossexport.errors import LossexportError
from lossexport.evaluator import wire
from lossexport.evaluator.layout import COLUMNS
from tests.evaluator.test_same_numbers import feed, scene

START = struct.Struct("<8sHHI32s")


def evaluator(images: int = 6, categories: Any = ("one", 2, 3, "x", 1)) -> Evaluator:
    found = Evaluator(categories=categories, explain=True, size_grid=[30, 60])
    detections, references = scene(images)
    feed(found, range(images), detections, references)
    found.update_image("last", [[0, 0, 1, 1]], [0.5], [2], [[0, 0, 1, 1]], [2], ref_iscrowd=[1])
    return found


DATA = evaluator().to_bytes()


def sealed(body: bytes, length: int, version: int = wire.VERSION) -> bytes:
    """Bytes with a checksum that is right."""
    return START.pack(wire.MAGIC, version, 0, length, hashlib.sha256(body).digest()) + body


def parts() -> tuple[dict[str, Any], bytes]:
    """The header and the arrays of DATA."""
    length = START.unpack_from(DATA)[3]
    body = DATA[START.size :]
    return msgspec.json.decode(body[:length]), body[length:]


def forged(arrays: bytes | None = None, /, **changes: Any) -> bytes:
    header, rest = parts()
    head = msgspec.json.encode({**header, **changes})
    return sealed(head + (rest if arrays is None else arrays), len(head))


def test_they_are_read_back() -> None:
    assert forged() == DATA
    again = Evaluator.from_bytes(DATA, backend="native")
    assert again.compute() == evaluator().compute()
    for kind in (bytearray, memoryview):
        assert Evaluator.from_bytes(kind(DATA)).to_bytes() == DATA
    again.reset()
    assert [row["id"] for row in again.compute()["categories"]] == [1, 2, 3, "one", "x"]


def test_size() -> None:
    """23 bytes for each prediction, 24 for each match and log variance, 5 for each reference."""
    detections, references = scene(400)
    for row in detections:
        del row["log_variance"]
    found = Evaluator()
    feed(found, range(400), detections, references)
    matched = found.compute()["counts"]["matched"]
    size = len(found.to_bytes())
    assert len(detections) == 4800
    assert size - 23 * 4800 - 24 * matched - 5 * 2400 < 400 * 16 + 4 * 12 + 400
    for row in detections:
        row["log_variance"] = [0, 0, 0, 0]
    found.reset()
    feed(found, range(400), detections, references)
    assert abs(len(found.to_bytes()) - size - 24 * 4800) < 10  # digits in the header


def test_cut_off_at_every_length() -> None:
    for length in range(0, len(DATA), 37):
        with pytest.raises(LossexportError, match=r"damaged|not those of an evaluator"):
            Evaluator.from_bytes(DATA[:length])
    with pytest.raises(LossexportError, match="damaged"):
        Evaluator.from_bytes(DATA + b"\0")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 8 * len(DATA) - 1))
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    data = bytearray(DATA)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LossexportError):
        Evaluator.from_bytes(bytes(data))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_flips_under_a_right_checksum_do_no_harm(data: st.DataObject) -> None:
    """What a hostile sender can write: refused or read, never a crash or a large allocation."""
    body = bytearray(DATA[START.size :])
    header = START.unpack_from(DATA)[3]
    # Half of the flips in the header and the first arrays.
    place = st.one_of(st.integers(0, header + 300), st.integers(0, len(body) - 1))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(place)] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = Evaluator.from_bytes(sealed(bytes(body), header))
    except LossexportError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    found.compute(explain=found._state.kept.explain, size_grid=found._state.kept.sizes)
    found.to_bytes()


def test_lengths_are_checked_before_memory_is_taken() -> None:
    huge: dict[str, Any] = {"predictions": 19_000_000, "matched": 19_000_000}
    huge |= {"image_numbers": 4_999_999, "image_texts": 10**6, "name_bytes": 2**62}
    for name, value in {**huge, "variances": 2**70}.items():
        data = forged(**{name: value})
        tracemalloc.start()
        try:
            with pytest.raises(LossexportError, match="damaged"):
                Evaluator.from_bytes(data)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20, name
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the bytes are not those of an evaluator"),
        (b"\x80\x04" * 40, "the bytes are not those of an evaluator"),
        (sealed(DATA[START.size :], 10, 1), "the bytes are of version 1 of the evaluator's format"),
        (
            sealed(DATA[START.size :], 10, 3),
            "this lossexport reads version 2: use the same release",
        ),
        ("text", "the bytes of the evaluator are damaged: str where bytes are expected"),
        (sealed(b"{}", 2), "header: Object missing required field"),
        (sealed(b"{", 1), "header: Input data was truncated"),
        (sealed(b"\xff", 1), "header: "),
        (sealed(b"{}", 5000), "the checksum differs"),
        (forged(**{"a\n\x1bb": 1}), "header: Object contains unknown field `a \\x1bb`"),
        (forged(extra=1), "header: Object contains unknown field `extra`"),
        (forged(predictions=-1), "predictions is negative"),
        (forged(predictions=10**8), "predictions is 100000000: at most 20000000 is possible"),
        (forged(predictions=10**300), "predictions is a whole number of some 300 digits: at most"),
        (forged(name_bytes=10**300), "bytes of arrays where a whole number of some 300 digits are"),
        (forged(spelled=16), "spelled is 16: at most 15 is possible"),
        (forged(iou_threshold=0.0), "iou_threshold is 0.0"),
        (forged(closed=False), "categories have names that were not given"),
        (forged(references=10**7), "references is 10000000: at most 5000000 is possible"),
        (forged(size_grid=[60, 30]), "size_grid is [60.0, 30.0]"),
        (forged(size_grid=list(range(1, 60))), "size_grid is [1.0, 2.0, 3.0"),
        (forged(size_grid=[1, 2, 3, 4, 5, 6, 7, 8]), "bytes of arrays where"),
        (forged(explain=False), "bytes of arrays where"),
        (forged(parts()[1][:-1]), "bytes of arrays where"),
    ],
)
def test_refusals(data: Any, message: str) -> None:
    with pytest.raises(LossexportError) as caught:
        Evaluator.from_bytes(data)
    assert message in str(caught.value)


def offsets() -> dict[str, int]:
    """Where the arrays begin."""
    header, rest = parts()
    kinds = header["category_numbers"] + header["category_texts"]
    images = header["image_numbers"] + header["image_texts"]
    places = {}
    shape = msgspec.convert(header, wire.Header).shape
    lengths = {
        "images": 8 * header["image_numbers"],
        "image texts": 4 * header["image_texts"] + header["image_bytes"],
        "sizes": 4 * images,
        "sizes of references": 4 * images,
        "categories": 8 * header["category_numbers"],
        "category texts": 4 * header["category_texts"],
        "category bytes": header["category_bytes"],
        "names": 4 * kinds + header["name_bytes"],
    }
    lengths |= {c.name: math.prod(shape(c)) * np.dtype(c.kind).itemsize for c in COLUMNS}
    at = 0
    for name, length in lengths.items():
        places[name] = at
        at += length
    assert at == len(rest)
    return places


def write(kind: str, value: float) -> Callable[[bytearray, int], None]:
    return lambda data, at: struct.pack_into(kind, data, at, value)


@pytest.mark.parametrize(
    ("array", "skip", "put", "message"),
    [
        ("images", 0, write("<q", 99), "ids of images are not sorted"),
        ("image texts", 0, write("<I", 1), "the texts of images have other lengths"),
        ("image texts", 4, write("<B", 255), "a text of images is not UTF-8"),
        ("category texts", 0, write("<I", 2), "the texts of categories have other lengths"),
        ("category bytes", 3, write("<B", ord("7")), "a number is written as text"),
        ("sizes", 0, write("<I", 2**32 - 1), "impossible sizes"),
        ("sizes of references", 0, write("<I", 2**32 - 1), "impossible sizes of references"),
        ("ref_category", 0, write("<i", -1), "impossible categories"),
        ("ref_flags", 0, write("<B", 0x3F), "impossible references"),
        ("error", 0, write("<B", 0xFF), "impossible causes"),
        ("error", 1, write("<B", 7), "impossible causes"),
        ("meant", 0, write("<i", 5), "impossible categories"),
        ("meant", 0, write("<i", -2), "impossible causes"),
        ("on", 0, write("<i", 5), "impossible categories"),
        ("on", 0, write("<i", -3), "impossible causes"),
        ("category", 0, write("<i", -1), "impossible categories"),
        ("category", 0, write("<i", 5), "impossible categories"),
        ("score", 0, write("<d", float("nan")), "impossible scores"),
        ("score", 0, write("<d", 1e10), "impossible scores"),
        ("flags", 0, write("<B", 0xFF), "impossible flags"),
        ("pairs", 0, write("<f", float("inf")), "impossible boxes of pairs"),
        ("pairs", 16, write("<f", -1), "impossible boxes of pairs"),
        ("variances", 0, write("<f", float("nan")), "impossible sides"),
        ("variances", 8, write("<f", 201), "impossible log variances"),
    ],
)
def test_impossible_values(
    array: str, skip: int, put: Callable[[bytearray, int], None], message: str
) -> None:
    arrays = bytearray(parts()[1])
    put(arrays, offsets()[array] + skip)
    with pytest.raises(LossexportError) as caught:
        Evaluator.from_bytes(forged(bytes(arrays)))
    assert message in str(caught.value)


def test_outcomes_that_contradict() -> None:
    arrays, at = bytearray(parts()[1]), offsets()
    for kind in ("", "size_"):
        changed = arrays[:]
        for name in ("true", "ignored"):
            changed[at[kind + name]] |= 1
        with pytest.raises(LossexportError, match="impossible outcomes"):
            Evaluator.from_bytes(forged(bytes(changed)))


def test_more_matches_than_references() -> None:
    arrays, at = bytearray(parts()[1]), offsets()
    flags = np.frombuffer(bytes(arrays), "u1", parts()[0]["references"], at["ref_flags"])
    arrays[at["ref_flags"] + int(np.argmin(flags & 0x30))] |= 0x20
    with pytest.raises(LossexportError, match="impossible matches"):
        Evaluator.from_bytes(forged(bytes(arrays)))


def test_random_bytes() -> None:
    rng = random.Random(0)
    for size in (1, 47, 48, 49, 1000):
        for _ in range(20):
            noise = rng.randbytes(size)
            for data in (noise, wire.MAGIC + noise, sealed(noise, min(size, 7))):
                with pytest.raises(LossexportError):
                    Evaluator.from_bytes(data)

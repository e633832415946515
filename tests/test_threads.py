"""Work on several threads: the same results and errors as in turn."""

import gzip
import hashlib
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lossexport import threads
from lossexport.boxes import pairs
from lossexport.formats import source
from lossexport.formats.source import Source
from lossexport.scoring import coco_ap
from tests.boxes.test_pairs import draw


@pytest.fixture(params=[1, 2, 5])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    count = int(request.param)
    for module in (threads, pairs, source):
        monkeypatch.setattr(module, "cores", lambda: count)
    monkeypatch.setattr(pairs, "SHARED_FROM", 1)
    monkeypatch.setattr(source, "HASHED_ASIDE", 1)
    return count


def square(number: int) -> tuple[int, int]:
    return number * number, threading.get_ident()


def refuse(number: int) -> int:
    raise ValueError(number)


def test_results_and_errors(cores: int) -> None:
    found = threads.at_once([partial(square, n) for n in range(5)])
    assert [value for value, _ in found] == [0, 1, 4, 9, 16]
    assert (found[-1][1] == threading.get_ident()) == (cores == 1)
    assert threads.at_once([]) == []
    for failing, named in (((1, 3), 1), ((0, 4), 0)):
        either = [partial(refuse if n in failing else int, n) for n in range(5)]
        with pytest.raises(ValueError, match=f"^{named}$"):
            threads.at_once(either)
    with threads.Aside(partial(refuse, 7)) as aside, pytest.raises(ValueError, match=r"^7$"):
        aside.result()


@pytest.mark.parametrize("most", [1 << 22, 400])
def test_matching(cores: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MAX_PAIRS", most)
    data = draw("alike", 500, 300, 3, groups=4)
    order = pairs.sort_boxes(data)
    listed = pairs.find_pairs(data, order, 0.5)
    found = coco_ap.match(data, order, listed)
    result = coco_ap.accumulate(found, parts=False)
    monkeypatch.setattr(pairs, "cores", lambda: 1)
    monkeypatch.setattr(threads, "cores", lambda: 1)
    again = pairs.find_pairs(data, order, 0.5)
    assert (listed.rest is None) == (again.rest is None) == (most > 400)
    for name in ("pred", "ref", "iou"):
        assert getattr(listed, name).tobytes() == getattr(again, name).tobytes()
    other = coco_ap.match(data, order, again)
    assert len(found.place) > 40
    for name in ("place", "outcome"):
        assert getattr(found, name).tobytes() == getattr(other, name).tobytes()
    wanted = coco_ap.accumulate(other, parts=False)
    assert result.values == wanted.values
    assert result.precision.tobytes() == wanted.precision.tobytes()
    assert result.category_ap.tobytes() == wanted.category_ap.tobytes()


@pytest.mark.usefixtures("cores")
def test_hash_of_a_file(tmp_path: Path) -> None:
    text = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
    for path, data in ((tmp_path / "a", text), (tmp_path / "b", gzip.compress(text, 1))):
        path.write_bytes(data)
        with Source(path) as whole:
            assert whole.read(5) == text[:5]
            assert whole.finish().sha256 == hashlib.sha256(data).hexdigest()
        with Source(path) as part:
            part.read(100_000)
    assert threading.active_count() < 20

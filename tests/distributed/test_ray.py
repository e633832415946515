"""The same on a real Ray with two workers, one of which is killed in the middle."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import lossexport
from lossexport import distributed
from lossexport.distributed import pieces
from lossexport.errors import LossexportError
from tests.conftest import slow
from tests.distributed.sets import make

pytestmark = pytest.mark.xdist_group("ray")
BUSY = (b"ray::split_piece", b"ray::_first")


class Workers:
    """Watches Ray's workers from outside: the most memory of one, and the one that was killed."""

    def __init__(self, kill: int) -> None:
        """`kill` is the number of busy workers to be killed."""
        self.left, self.killed, self.peak = kill, 0, 0

    def look(self) -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ends meanwhile
                name = (folder / "cmdline").read_bytes()
                if not name.startswith(b"ray::"):
                    continue
                for line in (folder / "status").read_text().splitlines():
                    if line.startswith("RssAnon"):
                        self.peak = max(self.peak, int(line.split()[1]) * 1024)
                if self.left and name.startswith(BUSY):
                    os.kill(int(folder.name), signal.SIGKILL)
                    self.left, self.killed = self.left - 1, self.killed + 1


@contextmanager
def watched(kill: int) -> Iterator[Workers]:
    workers, ended = Workers(kill), threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            workers.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield workers
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(("count", "files", "rows"), [(20_000, 4, 4_000), slow(10**7, 16, 2**19)])
def test_a_worker_that_dies_changes_no_bit(
    count: int, files: int, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(pieces, "ROWS", rows)
    pred, ref = make(tmp_path, 3, count, files=files, group=100_000)
    one = lossexport.score(pred, ref, pred_format="parquet", ref_format="parquet")
    assert one["counts"]["predictions"] == count
    with watched(kill=2) as workers:
        many = distributed.score(pred, ref, workers=2)
    assert workers.killed == 2
    assert workers.peak < 700e6
    for name in ("inputs", "notes"):
        del one[name], many[name]
    assert many == one


@pytest.mark.slow
def test_errors_of_workers_are_ours(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pred, ref = make(tmp_path, 1, 300, change={"score": float("nan")})
    with pytest.raises(LossexportError, match=r"^\S+1\.parquet: score\[75\] is nan"):
        distributed.score(pred, ref, workers=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, "workers is 0: a whole number from 1 to 1024 is expected"),
        ({"workers": 1.5}, "workers is 1.5"),
        ({"address": 7}, "address is 7: a str is expected"),
    ],
)
def test_a_cluster_that_cannot_be_is_named(
    tmp_path: Path, given: dict[str, object], message: str
) -> None:
    pred, ref = make(tmp_path, 1, 30)
    with pytest.raises(LossexportError, match=message):
        distributed.score(pred, ref, **given)  # type: ignore[arg-type]


def test_without_ray_the_command_to_install_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    pred, ref = make(tmp_path, 1, 30)
    with pytest.raises(LossexportError, match=r"^Ray is not installed: pip install .*\[ray\]"):
        distributed.score(pred, ref)

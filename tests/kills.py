"""Kill writers of files and folders at a chosen line, or at any moment, and look at what is left.

A program of its own: `python tests/kills.py SCENARIO HOW [COUNT]` prints how many kills there
were. HOW is lines, third (every third line), everywhere (every tenth line, those of the standard
library too) or random. It forks, so it imports nothing that starts threads.
"""

import errno
import functools
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

from lossexport import exchange, files, stage
from lossexport.errors import LossexportError

OURS = tuple(str(module.__file__) for module in (files, stage, exchange))
NAMES = ("a.onnx", "b.onnx", "manifest.json")


def no_exchange(first: Path, second: Path) -> None:
    raise OSError(errno.EINVAL, "Invalid argument")


def no_link(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


class Folder:
    """A folder with results and things of the user's; it holds one version of all results."""

    exchanged = True

    def __init__(self, home: Path) -> None:
        self.out = home / "out"
        self.write(0)
        (self.out / "notes.txt").write_text("mine")
        (self.out / "runs" / "deep").mkdir(parents=True)
        (self.out / "runs" / "deep" / "log").write_text("mine too")
        (self.out / "latest").symlink_to("runs/deep")
        self.out.chmod(0o2750)
        self.kept = self.user_files(os.lstat)

    def user_files(self, look: Callable[[Path], os.stat_result]) -> list[int]:
        names = ("notes.txt", "runs", "runs/deep", "runs/deep/log", "latest")
        return [look(self.out / name).st_ino for name in names]

    def write(self, version: int) -> None:
        with files.appear_together(self.out) as new:
            for name in NAMES[: 3 if version else 2]:
                (new / name).write_text(str(version))

    def settle(self) -> None:
        """What the next run does before it writes."""
        with files.exclusive(self.out):
            pass

    def check(self, *versions: int) -> None:
        """One whole version, and what is the user's, by whatever way the path leads there."""
        found = {name: self.out / name for name in NAMES}
        texts = {path.read_text() for path in found.values() if path.exists()}
        assert len(texts) == 1, texts
        (version,) = map(int, texts)
        assert version in versions, (version, versions)
        assert found["manifest.json"].exists() == (version > 0)
        followed = [self.user_files(os.stat)[i] for i in range(4)]
        assert followed == self.kept[:4]
        assert (self.out / "latest" / "log").read_text() == "mine too"
        assert self.out.stat().st_mode & 0o7777 == 0o2750

    def check_after(self) -> None:
        """Nothing is left behind, and the user's files are the very ones."""
        assert self.user_files(os.lstat) == self.kept
        assert sorted(path.name for path in self.out.parent.iterdir()) == ["out"]
        assert len(list(self.out.iterdir())) == len(NAMES) + 3


class WithoutLinks(Folder):
    def write(self, version: int) -> None:
        with mock.patch("os.link", no_link):
            super().write(version)


class InPlace(Folder):
    """Files are replaced one by one: what a kill cuts short is whole after the next run's start."""

    exchanged = False

    def write(self, version: int) -> None:
        with mock.patch("lossexport.stage.exchange", no_exchange):
            super().write(version)

    def check(self, *versions: int) -> None:
        self.settle()
        super().check(*versions)


class Failing(InPlace):
    """The last of the files cannot be put in place: what was there is put back."""

    def write(self, version: int) -> None:
        replace = Path.replace

        def failing(path: Path, target: Path) -> Path:
            if target == self.out / NAMES[-1] and version == 1:
                raise OSError(errno.EPERM, "Operation not permitted")
            return replace(path, target)

        with mock.patch.object(Path, "replace", failing):
            try:
                super().write(version)
            except LossexportError:
                assert version == 1


class Fresh(Folder):
    """A folder that is not there yet, nor are its parents."""

    def __init__(self, home: Path) -> None:
        self.out = home / "parent" / "out"

    def settle(self) -> None:
        pass

    def check(self, *versions: int) -> None:
        if 0 in versions and not self.out.exists():
            return
        assert {(self.out / name).read_text() for name in NAMES} <= set(map(str, versions))

    def check_after(self) -> None:
        assert [path.name for path in self.out.parent.iterdir()] == ["out"]
        assert [path.name for path in self.out.parent.parent.iterdir()] == ["parent"]


class OneFile(Folder):
    def __init__(self, home: Path) -> None:
        self.out = home / "out.json"
        self.write(0)

    def write(self, version: int) -> None:
        files.write_bytes(self.out, str(version).encode())

    def check(self, *versions: int) -> None:
        assert self.out.read_text() in set(map(str, versions))

    def check_after(self) -> None:
        assert [path.name for path in self.out.parent.iterdir()] == ["out.json"]


SCENARIOS = {
    "folder": Folder,
    "without-links": WithoutLinks,
    "in-place": InPlace,
    "failing": Failing,
    "fresh": Fresh,
    "file": OneFile,
}


def killed(work: Callable[[], None], line: int, everywhere: bool) -> bool:
    """Whether a process that does `work` is killed at the line of that number, of ours or of all"""
    count = itertools.count()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not everywhere and frame.f_code.co_filename not in OURS:
            return None
        if event == "line" and next(count) == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    child = os.fork()
    if not child:
        sys.settrace(trace)
        work()
        sys.settrace(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    return status != 0


def killed_after(work: Callable[[], None], seconds: float) -> None:
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def each_line(scenario: type[Folder], home: Path, how: str) -> Iterator[None]:
    """Kill at the lines; at some of them kill the next run too, at another line."""
    everywhere = how == "everywhere"
    for line in itertools.count(0, {"third": 3, "everywhere": 10}.get(how, 1)):
        folder = scenario(home / str(line))
        again = line // 3 % 4 == 0

        def work(version: int, folder: Folder = folder) -> Callable[[], None]:
            return lambda: folder.write(version)

        if not killed(work(1), line, everywhere):
            return
        folder.check(0, 1)
        yield
        if again:
            killed(work(2), line * 7 % 400, everywhere)
            folder.check(0, 1, 2)
            yield
        finish(folder)


def at_random(scenario: type[Folder], home: Path) -> Iterator[None]:
    """Kill one folder's writers at random moments, the ones that clear up among them."""
    folder = scenario(home / "0")
    folder.write(1)
    start = time.perf_counter()
    folder.write(2)
    longest = 2 * (time.perf_counter() - start)
    for version in itertools.count(3):
        killed_after(functools.partial(folder.write, version), random.uniform(0, longest))
        folder.check(*range(1, version + 1))
        yield
        if version % 10 == 0:
            finish(folder)
            folder.write(2)


def finish(folder: Folder) -> None:
    folder.write(3)
    folder.check(3)
    folder.check_after()


def main(name: str, how: str, most: int) -> int:
    scenario = SCENARIOS[name]
    with tempfile.TemporaryDirectory() as home:
        if how == "random":
            kills = at_random(scenario, Path(home))
        else:
            kills = each_line(scenario, Path(home), how)
        return sum(1 for _ in itertools.islice(kills, most))


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if sys.argv[3:] else 10**9))

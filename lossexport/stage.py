"""Stages: results are made beside their target and moved to it in one step.

A stage is the folder `.NAME.lossexport.tmp` beside its target. It holds the unfinished results, and
a lock that lets only one run at a time change the target. Its name follows from the target's, so
the next run that gets the lock finds what a killed run left, and completes or clears it.

A folder that does not exist yet is put in place by one rename. An existing folder is exchanged as a
whole, in one step, with one that holds the new files and everything else from the old folder: files
as hard links, sub-folders (and whatever cannot be linked) as symbolic links to the places where the
exchange puts them. They are then moved back over these links. At every moment, the path leads to
all old or all new files and to everything that belongs to the user. The user's files and
sub-folders stay the same ones; only the folder around them is another.

Some folders must not or cannot be exchanged: the working directory, a mount point, another user's
folder, one whose parent cannot be written to, one on a file system without that call. Their files
are replaced one by one, after a journal is written that lets the next run complete the change.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lossexport.errors import LossexportError
from lossexport.exchange import exchange

_POLL = 0.05
_PATIENCE = 2.0  # seconds of waiting before a message
_RETRIES = 100
_MAX_NAME = 200  # bytes of a name that a stage repeats; file systems allow 255


@contextlib.contextmanager
def opened(target: Path) -> Iterator["Stage"]:
    """The stage of a file or a folder, owned by this run until the block ends.

    Waits while another run owns it, completes or clears what a killed run left, and leaves nothing
    of its own behind. Raises OSError if no stage can be made.
    """
    target = Path(os.path.realpath(target))
    home = _home(target)
    with contextlib.ExitStack() as stack:
        for folder in (target.parent, target):
            found = Stage(folder, target)
            # A run that chose the other folder may have left a stage there.
            if folder == home or (folder.is_dir() and os.path.lexists(found.path)):
                stack.enter_context(found.locked())
                if folder == home:
                    chosen = found
        yield chosen


class Stage:
    """A stage in the folder `home`. `new` is where the results are made."""

    def __init__(self, home: Path, target: Path) -> None:
        name = target.name
        if len(os.fsencode(name)) > _MAX_NAME:
            name = hashlib.sha256(os.fsencode(name)).hexdigest()
        self.path = home / f".{name}.lossexport.tmp"
        self.new = self.path / "new"
        self._target = target
        self._old = self.path / "old"
        self._lock = self.path / "lock"
        self._journal = self.path / "journal"
        self._held: BinaryIO | None = None  # the lock, while this run owns the stage

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Own the stage; nothing of it is left behind unless its journal has to be completed."""
        try:
            try:
                self._acquire()
                with undisturbed():
                    self._recover()
                    self._discard()
                yield
            finally:
                self._release()
        finally:
            self._release()  # if a signal interrupted the line above

    def put_file(self) -> None:
        """Let the file `new` take the place of the target."""
        if self._target.exists():
            self.new.chmod(stat.S_IMODE(self._target.stat().st_mode))
        self.new.replace(self._target)

    def put_folder(self) -> None:
        """Let the files of the folder `new` take their places in the target, all at once."""
        names = sorted(path.name for path in self.new.iterdir())
        for name in names:
            if (self._target / name).is_dir():
                raise LossexportError(f"{self._target / name}: is a folder")
        for name in names:
            left = Stage(self._target, self._target / name)
            if os.path.lexists(left.path):  # of a killed run that wrote this file alone
                with left.locked():
                    pass
        with undisturbed():
            if not self._target.exists():
                self.new.rename(self._target)
            elif not self._exchanged(names):
                self._replace_each(names)

    def _acquire(self) -> None:
        start, told, vanished = time.monotonic(), False, 0
        while True:
            try:
                # A signal between the folder and the lock would leave the folder behind.
                with undisturbed():
                    self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self._check_owner()
                    lock = self._lock.open("ab")
                    if _try_lock(lock) and _same(self._lock, lock):
                        self._held = lock
                        return
                    lock.close()
            # The run before has just removed the stage; mkdir reports that as the latter.
            except (FileNotFoundError, FileExistsError):
                vanished += 1
                if vanished > _RETRIES:
                    raise
                continue
            if not told and time.monotonic() - start > _PATIENCE:
                told = True
                print(f"waiting: another run writes to {self._target}", file=sys.stderr, flush=True)
            time.sleep(_POLL)

    def _release(self) -> None:
        """Clear the stage and release the lock; only once."""
        with undisturbed():
            if self._held is not None:
                self._clear()
                self._held.close()
                self._held = None

    def _check_owner(self) -> None:
        """Another user's stage could put that user's files into the target."""
        found = self.path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(f"{self.path} is in the way")
        if found.st_uid not in (os.geteuid(), self.path.parent.stat().st_uid):
            raise PermissionError(f"{self.path} belongs to another user")

    def _exchanged(self, names: list[str]) -> bool:
        """Exchange `new` and the target. False if that is impossible; then nothing has changed."""
        if self.path.parent == self._target or _same(self._target, Path()):
            return False
        try:
            self._carry(names)
            self._write_journal(names, self.new.stat().st_ino)
            exchange(self.new, self._target)
        except OSError:
            self._journal.unlink(missing_ok=True)
            return False
        self._recover()
        return True

    def _carry(self, names: list[str]) -> None:
        """Give `new` the rights of the target and everything in it that has no new version."""
        shutil.copystat(self._target, self.new)
        os.utime(self.new)
        owner, ours = self._target.stat(), self.new.stat()
        if (owner.st_uid, owner.st_gid) != (ours.st_uid, ours.st_gid):
            os.chown(self.new, owner.st_uid, owner.st_gid)
            self.new.chmod(stat.S_IMODE(owner.st_mode))  # chown drops set-group-id
        mounts = _mounts()
        with os.scandir(self._target) as entries:
            for entry in entries:
                if entry.name in names:
                    continue
                folder = entry.is_dir(follow_symlinks=False)
                if folder and (entry.path in mounts or not os.access(entry.path, os.W_OK)):
                    raise PermissionError(f"{entry.path} cannot be moved")
                place = self.new / entry.name
                try:
                    if not folder:
                        os.link(entry.path, place, follow_symlinks=False)
                        continue
                except OSError:  # no hard links here, or none to another's file
                    place.unlink(missing_ok=True)
                place.symlink_to(self._bridge(entry.name))

    def _bridge(self, name: str) -> str:
        """The link that leads from the target to an entry of `new`."""
        return f"../{self.path.name}/new/{name}"

    def _is_bridge(self, path: Path) -> bool:
        return path.is_symlink() and str(path.readlink()) == self._bridge(path.name)

    def _replace_each(self, names: list[str]) -> None:
        """Replace the target's files one by one; if that fails, put the old ones back."""
        self._old.mkdir()
        self._write_journal(names, None)
        done: list[str] = []
        try:
            for name in names:
                place, kept = self._target / name, self._old / name
                if os.path.lexists(place):
                    try:
                        os.link(place, kept, follow_symlinks=False)
                    except OSError:
                        place.rename(kept)
                done.append(name)
                (self.new / name).replace(place)
        except BaseException:
            # Killed in here, the next run still finds all that it needs to complete the new files.
            for name in reversed(done):
                place, fresh, kept = (f / name for f in (self._target, self.new, self._old))
                if not os.path.lexists(fresh):
                    place.rename(fresh)
                if os.path.lexists(kept):
                    kept.replace(place)
            self._journal.unlink()
            raise
        self._journal.unlink()

    def _write_journal(self, names: list[str], inode: int | None) -> None:
        """Write down the next steps: an exchange with the folder `inode`, or replacements."""
        draft = self.path / "draft"
        draft.write_text(json.dumps({"names": names, "inode": inode}))
        draft.replace(self._journal)

    def _recover(self) -> None:
        """Complete those steps of the journal that have not been done."""
        if not self._journal.exists():
            return
        names, inode = self._read_journal()
        if inode is None:
            for name in names:
                if os.path.lexists(self.new / name):
                    (self.new / name).replace(self._target / name)
        elif self.new.exists() and self.new.stat().st_ino != inode:  # it is the old folder
            self._give_back(names)
            for entry in self.new.iterdir():
                entry.unlink()
            self.new.rmdir()
        self._journal.unlink()

    def _give_back(self, names: list[str]) -> None:
        """After the exchange: move everything without a new version out of the old folder."""
        for entry in sorted(self.new.iterdir()):
            place = self._target / entry.name
            if entry.name in names or self._is_bridge(entry) or _same(entry, place):
                continue
            if entry.is_dir() and not entry.is_symlink() and self._is_bridge(place):
                exchange(entry, place)
            else:
                entry.replace(place)

    def _read_journal(self) -> tuple[list[str], int | None]:
        try:
            found: Any = json.loads(self._journal.read_bytes())
            names, inode = [str(name) for name in found["names"]], found["inode"]
            if any(name in ("", ".", "..") or "/" in name or "\0" in name for name in names):
                raise ValueError("a name leaves the folder")
            return names, None if inode is None else int(inode)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise LossexportError(
                f"{self._journal}: is no journal of an earlier run; move that folder away"
            ) from error

    def _clear(self) -> None:
        """Remove the stage, unless its journal is still to be completed."""
        if self._journal.exists():
            return
        with contextlib.suppress(OSError):
            self._discard()
            self._lock.unlink(missing_ok=True)
            self.path.rmdir()

    def _discard(self) -> None:
        """Remove results that were not put in place, and replaced ones; keep the user's files."""
        for path in (self.new, self._old, self.path / "draft"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Delay signals that Python handles until the block has ended; others end the process."""
    caught: list[int] = []
    handlers: dict[int, Any] = {}
    number: int
    try:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                if callable(handler := signal.getsignal(number)):
                    handlers[number] = handler
                    signal.signal(number, lambda sent, _: caught.append(sent))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in caught:
            signal.raise_signal(number)


def _home(target: Path) -> Path:
    """The folder for a stage: the parent, or the target if it is a mount or that is read-only."""
    parent = target.parent
    if target.is_dir() and (
        os.path.ismount(target)
        or str(target) in _mounts()
        or not os.access(parent, os.W_OK | os.X_OK)
    ):
        return target
    return parent


def _mounts() -> set[str]:
    """Mount points, including those of the same device, which `os.path.ismount` misses."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return set()
    points = (line.split(b" ")[4] for line in lines)
    return {os.fsdecode(_unescaped(point)) for point in points}


def _unescaped(point: bytes) -> bytes:
    """The kernel writes blanks and the backslash as `\\040`."""
    first, *rest = point.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)


def _try_lock(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _same(first: Path, second: Path | BinaryIO) -> bool:
    """Whether both exist and are the same entry or open file; links are not followed."""
    try:
        other = second.lstat() if isinstance(second, Path) else os.fstat(second.fileno())
        return os.path.samestat(first.lstat(), other)
    except OSError:
        return False

"""The folder that keeps what takes long to make."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from lossexport import cache
from lossexport.errors import LossexportError


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "kept"
    monkeypatch.setenv(cache.ENVIRONMENT, str(folder))
    return folder


def test_content_is_kept_by_its_key() -> None:
    assert cache.get(b"key") is None
    cache.put(b"key", b"content")
    cache.put(b"other", b"")
    assert cache.get(b"key") == b"content"
    assert cache.get(b"other") == b""
    cache.put(b"key", b"newer")
    assert cache.get(b"key") == b"newer"


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data[:20], lambda data: b"", lambda data: data[::-1]],
)
def test_a_damaged_entry_is_not_used(kept: Path, damage: Callable[[bytes], bytes]) -> None:
    cache.put(b"key", b"content")
    (path,) = kept.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(b"key") is None
    cache.put(b"key", b"again")
    assert cache.get(b"key") == b"again"


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_folder_that_others_can_write_to_is_not_used(kept: Path, mode: int) -> None:
    cache.put(b"key", b"content")
    kept.chmod(mode)
    assert not cache.usable()
    assert cache.get(b"key") is None
    cache.put(b"other", b"content")
    assert len(list(kept.iterdir())) == 1


def test_nothing_is_kept_where_the_folder_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "file" / "kept"))
    assert not cache.usable()
    cache.put(b"key", b"content")
    assert cache.get(b"key") is None


def test_off_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.ENVIRONMENT, "off")
    assert cache.folder() is None
    assert not cache.usable()
    cache.put(b"key", b"content")
    assert cache.get(b"key") is None


def test_the_folder_is_that_of_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.ENVIRONMENT, "kept")
    with pytest.raises(LossexportError, match=r"^LOSSEXPORT_CACHE='kept': must be an absolute"):
        cache.folder()
    monkeypatch.delenv(cache.ENVIRONMENT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "lossexport"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.folder() == tmp_path / "home" / ".cache" / "lossexport"


def test_the_entries_used_last_stay_within_the_bound(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 1000)
    for number in range(4):
        cache.put(b"%d" % number, bytes(200))
        for path in kept.iterdir():  # an hour goes by
            state = path.stat()
            os.utime(path, (state.st_atime, state.st_mtime - 3600))
    assert cache.get(b"0") is not None  # used just now
    cache.put(b"4", bytes(200))
    found = [cache.get(b"%d" % number) is not None for number in range(5)]
    assert found == [True, False, True, True, True]
    assert sum(path.stat().st_size for path in kept.iterdir()) <= 1000


def test_unfinished_files_of_killed_processes_are_removed(kept: Path) -> None:
    cache.put(b"key", b"content")
    for name, age in (("old.part", 7200), ("new.part", 60)):
        (kept / name).write_text("")
        os.utime(kept / name, (0, time.time() - age))
    cache.put(b"other", b"content")
    assert [path.name for path in kept.glob("*.part")] == ["new.part"]


def _write_and_read(seed: int) -> int:
    """The number of contents found; every one has to be one that some process wrote."""
    cache.MAX_BYTES = 40_000
    found = 0
    for turn in range(200):
        key = b"%d" % ((seed * 7 + turn) % 13)
        content = cache.get(key)
        if content is not None:
            assert content == key * 5000
            found += 1
        cache.put(key, key * 5000)
    return found


def test_processes_share_a_folder(kept: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        assert sum(pool.map(_write_and_read, range(4))) > 0
    assert not list(kept.glob("*.part"))

"""Files that appear together or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lossexport.errors import LossexportError
from lossexport.files import make_folder, reason


def check_folder(out: Path) -> None:
    """Raise LossexportError if `out` exists and is no folder; better known early than late."""
    if out.exists() and not out.is_dir():
        raise LossexportError(f"{out}: is not a folder")


@contextlib.contextmanager
def appear_together(out: Path) -> Iterator[Path]:
    """Yield an empty folder to write to; when the block succeeds its files move into `out`.

    On any error `out` stays as it was. Raises LossexportError when it cannot be written.
    """
    check_folder(out)
    existed = out.is_dir()
    home = out if existed else out.absolute().parent
    if not existed:
        make_folder(home)
    stage: Path | None = None
    try:
        # Beside the target, so that the moves are renames within one file system.
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=home))
        fresh = stage / "new"
        fresh.mkdir()
        yield fresh
        if existed:
            _replace_all(fresh, out, stage)
        else:
            fresh.replace(out)
    except OSError as error:
        raise LossexportError(f"{out}: cannot be written: {reason(error)}") from error
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


def _replace_all(fresh: Path, out: Path, stage: Path) -> None:
    """Move the files of `fresh` into `out`; if one cannot be moved, put back what stood there."""
    old = stage / "old"
    old.mkdir()
    undo: list[tuple[Path, Path]] = []
    try:
        for path in sorted(fresh.iterdir()):
            target = out / path.name
            if target.is_dir():
                raise LossexportError(f"{target}: is a folder")
            stood = os.path.lexists(target)
            if stood:
                target.replace(old / path.name)
                undo.append((old / path.name, target))
            path.replace(target)
            if not stood:
                undo.append((target, path))
    except BaseException:
        for source, target in reversed(undo):
            source.replace(target)
        raise

"""Published evaluators give the same numbers under `patch()`, to the last bit.

Their sources are not part of this repository: `LOSSEXPORT_PROGRAMS` names a folder that has them,
as `programs.py` describes it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lossexport import sample
from tests.pycocotools.programs import NAMES, PLACES

ROOT = Path(__file__).resolve().parents[2]
SOURCES = os.environ.get("LOSSEXPORT_PROGRAMS")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    sample.write(sample.Counts(12, 120, 500), 3, folder)
    return folder


def output(name: str, data: Path, *options: str) -> tuple[list[str], Any]:
    """The lines of a table, and the numbers."""
    command = [sys.executable, "-m", "tests.pycocotools.programs", name, str(data), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    return [line for line in lines if line.startswith(" Average")], json.loads(lines[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_same_numbers(name: str, data: Path) -> None:
    options: tuple[str, ...] = ()
    if name in PLACES:
        if SOURCES is None:
            pytest.skip("LOSSEXPORT_PROGRAMS names no folder of sources")
        if not Path(SOURCES, PLACES[name]).is_dir():
            pytest.skip(f"LOSSEXPORT_PROGRAMS has no {PLACES[name]}")
        options = ("--sources", SOURCES)
    else:
        pytest.importorskip(name)
    theirs = output(name, data, *options)
    assert output(name, data, *options, "--patched") == theirs
    assert len(theirs[0]) in (0, 12)
    assert theirs[1]

"""Packages that are installed for a test: a module and the entry points that name its objects."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# No installation of the checkout, no compiled caches of another interpreter.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CXX"))}

# Kernels give the same bits without optimisation, and compile in a quarter of the time.
_FOUND = next(filter(shutil.which, ("g++", "c++", "clang++")), "no-compiler")
QUICK_CXX = shlex.join(("sh", "-c", 'exec "$0" "$@" -O0', _FOUND))


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """What a command prints that has to succeed, with nothing of this checkout on its path."""
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(patch: pytest.MonkeyPatch, folder: Path, name: str, code: str, *points: str) -> None:
    """Write the module `name` and its metadata, of version 1.5, to a folder on the path.

    `points` are entry points, each "GROUP: NAME = VALUE".
    """
    info = folder / f"{name}-1.5.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    lines = ["[{}]\n{}\n".format(*point.split(": ", 1)) for point in points]
    (info / "entry_points.txt").write_text("".join(lines))
    patch.delitem(sys.modules, name, raising=False)  # that of another test
    patch.syspath_prepend(folder)


def pip_install(source: Path, target: Path) -> Path:
    """Install the package in the folder `source` into the empty folder `target`."""
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--no-compile")
    done = subprocess.run(
        (*pip, *offline, "--target", target, source), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return target

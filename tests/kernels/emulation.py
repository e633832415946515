"""A launcher that runs kernels on the CPU, compiled by g++ with `emulate.hpp`."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from lossexport.catalog.launch import Launch
from lossexport.kernels import ptx
from tests.kernels.launching import Arguments, addresses, pack

_FLAGS = ("-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-U_FORTIFY_SOURCE")
_HERE = Path(__file__).parent


class LaunchError(Exception):
    """The threads of a block parted at a barrier."""


def emulate(
    launch: Launch,
    macros: Mapping[str, str],
    grid: tuple[int, ...],
    given: Arguments,
    folder: Path | None = None,
) -> None:
    """Run every thread of every block of `grid`."""
    emulated = library(launch, macros, folder)
    values = pack(given, lambda memory: memory.raw.ctypes.data)
    assert emulated.emulated_arity() == len(values), f"{launch.entry}: takes other arguments"
    message = ctypes.create_string_buffer(256)
    if emulated.emulated_launch(
        (ctypes.c_uint * 3)(*grid, *[1] * (3 - len(grid))),
        (ctypes.c_uint * 3)(launch.block, 1, 1),
        addresses(values),
        message,
        ctypes.c_size_t(len(message)),
    ):
        raise LaunchError(message.value.decode())


def library(launch: Launch, macros: Mapping[str, str], folder: Path | None = None) -> ctypes.CDLL:
    """The kernel, compiled for the CPU."""
    return _compiled(folder or ptx.folder(), launch.source, launch.entry, tuple(macros.items()))


@functools.cache
def _compiled(
    folder: Path, source: str, entry: str, macros: tuple[tuple[str, str], ...]
) -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the emulation with")
    with tempfile.TemporaryDirectory() as work:
        text = Path(work, "kernel.cpp")
        text.write_text(f'#include "emulate.hpp"\n#include "{source}"\nEMULATE({entry})\n')
        library = text.with_suffix(".so")
        defined = [f"-D{name}={value}" for name, value in macros]
        done = subprocess.run(
            [compiler, *_FLAGS, f"-I{_HERE}", f"-I{folder}", *defined, text, "-o", library],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return ctypes.CDLL(str(library))

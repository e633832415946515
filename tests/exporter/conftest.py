"""Exports that several tests look at, made once a worker."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import pytest

import lossexport
from lossexport.catalog import CATALOG

# Tests of one op go to one worker, so that it exports the op once.
EVERY_OP = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in CATALOG]


@functools.cache
def exported(name: str) -> Path:
    """A folder with the value and gradient graphs of an op."""
    folder = Path(tempfile.mkdtemp(prefix=f"lossexport-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    gradient = bool(CATALOG[name].gradient)
    lossexport.export(name, folder, gradient=gradient)
    return folder

"""Loads ops of one's own from files, modules, an environment variable and installed packages.

All of these are code that runs with the rights of the user. Therefore only the command line, the
variable, an installed package or a call in Python can name one; manifests and ONNX files cannot.
"""

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module, metadata, util
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

from lossexport.catalog.spec import Op
from lossexport.errors import LossexportError, one_line, shown, within
from lossexport.files import read_bytes

VARIABLE = "LOSSEXPORT_OPS"
"""Files and modules, separated like those of PATH."""
GROUP = "lossexport.ops"
"""Entry points of installed packages: a module with OPS, or a sequence of ops."""
MAX_BYTES = 2**20
_WANTED = "a sequence of lossexport.catalog.Op"


def load(where: str) -> tuple[Op, ...]:
    """The OPS of `where`, which is FILE.py or the name of a module.

    Raises LossexportError if it has none or fails, with the line that fails.
    """
    if where.endswith(".py") or os.sep in where or "/" in where:
        return _ops(where, _file(where))
    if not is_source(where):
        raise LossexportError(f"{where!r}: neither FILE.py nor the name of a module")
    return _ops(where, _module(where, lambda: import_module(where)))


def is_source(where: str) -> bool:
    """Whether it reads as FILE.py or as the name of a module."""
    return where.endswith(".py") or re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", where) is not None


def key(where: str) -> str:
    """The identity of a source: the path of its file, or the name of its module."""
    return str(Path(where).resolve()) if where.endswith(".py") else where


def configured() -> Iterator[tuple[str, Callable[[], tuple[Op, ...]]]]:
    """Sources that the variable and the installed packages name, and how to load each."""
    for where in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        yield where, partial(_of_variable, where)
    for entry in metadata.entry_points(group=GROUP):
        package = entry.dist.name if entry.dist else "a package"
        origin = f"{package} (entry point {entry.name} = {entry.value})"
        yield origin, partial(_of_package, entry, origin)


def _of_variable(where: str) -> tuple[Op, ...]:
    with within(VARIABLE):
        return load(where)


def _of_package(entry: metadata.EntryPoint, origin: str) -> tuple[Op, ...]:
    return _ops(origin, _module(origin, entry.load, entry.module))


def _file(where: str) -> ModuleType:
    """Import the file as a module of its own, which can import the modules beside it."""
    if not where.endswith(".py"):
        raise LossexportError(f"{where}: suffix {Path(where).suffix!r}, expected .py")
    path = Path(where).absolute()
    source = read_bytes(Path(where), MAX_BYTES)
    stem = re.sub(r"\W", "_", path.stem)
    module = ModuleType(f"lossexport_ops_{stem}_{crc32(os.fsencode(path)):08x}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pickle look there
    sys.path.append(str(path.parent))
    try:
        with _blamed(where, lambda file: file == str(path)):
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except LossexportError:
        del sys.modules[module.__name__]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module


def _module(where: str, imported: Callable[[], Any], name: str = "") -> Any:
    """The result of `imported`, which is the module `name` or an object in it."""
    top = (name or where).partition(".")[0]
    spec = util.find_spec(top)
    if spec is None:
        beside = f"{where}.py"
        hint = f"; did you mean {beside}?" if Path(beside).is_file() else ""
        raise LossexportError(f"{where}: there is no module {top!r}{hint}")
    file = Path(spec.origin or "")
    inside = file.parent if spec.submodule_search_locations else file
    with _blamed(where, lambda frame: Path(frame).is_relative_to(inside), named=True):
        return imported()


@contextmanager
def _blamed(where: str, own: Callable[[str], bool], named: bool = False) -> Iterator[None]:
    """Report exceptions in one line, with the last line in the source's `own` files."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, SyntaxError) and error.filename and own(error.filename):
            place = [(error.filename, error.lineno)]
        else:
            frames = traceback.extract_tb(error.__traceback__)
            place = [(frame.filename, frame.lineno) for frame in frames if own(frame.filename)]
        file, line = place[-1] if place else ("", None)
        at = f"{where}: {file}" if named and file else where
        said = error.msg if isinstance(error, SyntaxError) else one_line(error)
        reason = said if isinstance(error, LossexportError) else f"{type(error).__name__}: {said}"
        raise LossexportError(f"{at}:{line}: {reason}" if line else f"{at}: {reason}") from error


def _ops(where: str, found: Any) -> tuple[Op, ...]:
    """The ops of a module or a sequence."""
    if isinstance(found, ModuleType):
        if not hasattr(found, "OPS"):
            raise LossexportError(f"{where}: has no OPS: give it OPS = (Op(...), ...), {_WANTED}")
        found = found.OPS
    if isinstance(found, str) or not isinstance(found, Sequence):
        hint = ": put it into ( ,)" if isinstance(found, Op) else ""
        raise LossexportError(f"{where}: OPS is {shown(found)}: {_WANTED} is expected{hint}")
    for place, op in enumerate(found):
        if not isinstance(op, Op):
            raise LossexportError(f"{where}: OPS[{place}] is {shown(op)}: an Op is expected")
    if not found:
        raise LossexportError(f"{where}: OPS is empty: {_WANTED} is expected")
    return tuple(found)

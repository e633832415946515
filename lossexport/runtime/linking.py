"""Where the files are with which programs in C and C++ are built."""

from pathlib import Path

from lossexport.errors import LossexportError
from lossexport.runtime import native


def library() -> Path:
    """The shared library with the C ABI; onnxruntime registers the same file for its sessions.

    Raises LossexportError where there is none, with the command that builds it.
    """
    return _there(native.path())


def include_dir() -> Path:
    """The folder of `lossexport.h`. Raises LossexportError where no library has been built."""
    return _there(native.FOLDER / "include")


def cmake_dir() -> Path:
    """The folder that `lossexport_DIR` names to CMake. Raises LossexportError like the others."""
    return _there(native.FOLDER / "cmake")


def pkg_config_dir() -> Path:
    """The folder of `lossexport.pc`. Raises LossexportError like the others."""
    return _there(native.FOLDER / "pkgconfig")


def _there(path: Path) -> Path:
    if not path.exists():
        raise LossexportError(f"no native kernels: {path}: does not exist; {native.fix()}")
    return path.absolute()

"""What every backend has in common: the tensors of a file, input checks, bfloat16."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from lossexport.errors import LossexportError

if TYPE_CHECKING:
    from lossexport.manifest import Artifact

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES = frozenset(
    {"bool", "bfloat16"}
    | {f"float{bits}" for bits in (16, 32, 64)}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output: numpy name of its dtype (or `bfloat16`), fixed or symbolic dimensions.

    A dimension without a name is `"?"`; dimensions of the same name have the same size.
    """

    name: str
    dtype: str
    shape: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend can run on this machine; if not why, and the command that mends it."""

    backend: str
    runs: bool
    version: str | None = None
    reason: str | None = None
    fix: str | None = None
    providers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is read once, so that the runtime gets the bytes that were checked.

    `data` includes the tensors that the file keeps in other files beside it.
    """

    path: Path
    data: bytes
    artifact: "Artifact | None"


class Session(ABC):
    """A file loaded on a backend. Call it with arrays by input name.

    `providers` are the onnxruntime execution providers, or the devices of another backend.
    """

    def __init__(
        self,
        path: Path,
        backend: str,
        providers: tuple[str, ...],
        inputs: tuple[TensorInfo, ...],
        outputs: tuple[TensorInfo, ...],
        profile: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        """`profile` bounds symbolic dimensions: name -> (least, most).

        Raises LossexportError on a tensor that is not of one of DTYPES.
        """
        self.path = path
        self.backend = backend
        self.providers = providers
        self.inputs = inputs
        self.outputs = outputs
        self.profile = dict(profile or {})
        self._dtypes = {info.name: self._numpy_dtype(info) for info in (*inputs, *outputs)}

    def __call__(self, /, **arrays: Any) -> dict[str, Array]:
        """Run on arrays, one for each of `inputs`; returns the outputs by name.

        Lists and numbers are converted if their kind allows it (an int may become a float);
        an array must have the input's dtype. bfloat16 goes in and out as `ml_dtypes.bfloat16`,
        or as its bits in uint16 where ml_dtypes is not installed (uint16 always goes in).
        Raises LossexportError on a wrong name, dtype or shape, before the backend is called.
        """
        found = self._run(self._checked(arrays))
        return {
            info.name: array.view(self._dtypes[info.name]) if info.dtype == "bfloat16" else array
            for info, array in ((info, found[info.name]) for info in self.outputs)
        }

    def _numpy_dtype(self, info: TensorInfo) -> np.dtype[Any]:
        if info.dtype not in DTYPES:
            self._refuse(f"tensor {info.name!r}: {info.dtype} is not supported")
        if info.dtype != "bfloat16":
            return np.dtype(info.dtype)
        dtype: np.dtype[Any] = np.dtype(np.uint16)
        with contextlib.suppress(ImportError):
            from ml_dtypes import bfloat16

            dtype = np.dtype(bfloat16)
        return dtype

    @abstractmethod
    def _run(self, arrays: dict[str, Array]) -> dict[str, Array]:
        """Run on checked, C-contiguous arrays; bfloat16 is its bits in uint16 here."""

    def _checked(self, arrays: dict[str, Any]) -> dict[str, Array]:
        expected = [info.name for info in self.inputs]
        for name in arrays:
            if name not in expected:
                self._refuse(f"unknown input {name!r}, the inputs are {', '.join(expected)}")
        checked: dict[str, Array] = {}
        sizes: dict[str, tuple[int, str]] = {}
        for info in self.inputs:
            if info.name not in arrays:
                self._refuse(f"input {info.name!r} is missing")
            array = self._converted(info, arrays[info.name])
            self._check_shape(info, array.shape, sizes)
            checked[info.name] = packed(array)
        return checked

    def _converted(self, info: TensorInfo, value: Any) -> Array:
        dtype = self._dtypes[info.name]
        array: Array
        if isinstance(value, (bool, int, float, list, tuple)):
            try:
                array = np.asarray(value)
                if array.size == 0 or np.can_cast(array.dtype, dtype, "same_kind"):
                    array = np.asarray(value, dtype)
            except (ValueError, TypeError, OverflowError) as error:
                self._refuse(f"input {info.name!r}: not an array of {info.dtype}: {error}")
        else:
            array = np.asarray(value)
        if info.dtype == "bfloat16" and (array.dtype == dtype or array.dtype == np.uint16):
            return array.view(np.uint16)
        if array.dtype != dtype:
            self._refuse(f"input {info.name!r}: dtype {array.dtype}, expected {info.dtype}")
        return array

    def _check_shape(
        self, info: TensorInfo, shape: tuple[int, ...], sizes: dict[str, tuple[int, str]]
    ) -> None:
        def wrong(where: str = "") -> NoReturn:
            label = f"input {info.name!r}: shape {list(shape)}, expected {describe(info.shape)}"
            self._refuse(f"{label}{where}")

        if len(shape) != len(info.shape):
            wrong()
        for size, dim in zip(shape, info.shape, strict=True):
            if isinstance(dim, int):
                if size != dim:
                    wrong()
            elif dim != "?":
                first, owner = sizes.setdefault(dim, (size, info.name))
                if size != first:
                    wrong(f", where {dim} is {first} in {owner!r}")
                least, most = self.profile.get(dim, (size, size))
                if not least <= size <= most:
                    wrong(f", where {dim} is {least} to {most}")

    def _refuse(self, message: str, kind: type[LossexportError] = LossexportError) -> NoReturn:
        raise kind(f"{self.path}: {message}")


def packed(array: Array) -> Array:
    """An array in row-major order, or a copy that is."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.require(array, None, ("C", "A"))


def describe(shape: tuple[str | int, ...]) -> str:
    """A shape as text, such as `[N, 4]`."""
    return f"[{', '.join(map(str, shape))}]"

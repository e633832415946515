"""Makes graphs and engines, or takes those that the same code made before from the cache.

A graph of a built-in op follows from the op's variant, the code of this package, the installed
versions and the processor. These are its key, so that torch is not even imported for a graph that
was made before. The function of an op of one's own may use any code; such graphs are not kept.
"""

import functools
import hashlib
import platform
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from lossexport import cache
from lossexport.catalog import BUILTIN
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import within
from lossexport.exporter import engine
from lossexport.exporter.versions import NEWEST_OPSET, OPSET
from lossexport.manifest import BackendParity
from lossexport.names import Builder, Precision
from lossexport.runtime.backends import installed_version

# What takes part in making a graph and in checking it.
_PACKAGES = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "ml-dtypes", "numpy")
_IMPORTED = time.time()


class Graph(Struct, frozen=True):
    """The bytes of an ONNX file, and the measurements of the check that it passed."""

    model: bytes
    measured: BackendParity


class Engine(Struct, frozen=True):
    """The bytes of an engine, and the ranges that it was built with."""

    data: bytes
    ranges: dict[str, Range]


class Described(Struct, frozen=True):
    """A variant of a built-in op, for keys and for other processes."""

    op: str
    attributes: dict[str, Any]
    precision: Precision
    gradient: bool
    ranges: dict[str, Range]

    @classmethod
    def of(cls, variant: Variant) -> "Described":
        """The description of a variant."""
        attributes, ranges = dict(variant.attributes), dict(variant.ranges)
        return cls(variant.op.name, attributes, variant.precision, variant.gradient, ranges)

    def variant(self) -> Variant:
        """The variant that is described."""
        op = BUILTIN[self.op]
        return Variant.make(op, self.attributes, self.precision, self.gradient, self.ranges)


Made = TypeVar("Made", Graph, Engine)


def known(variant: Variant, opset: int = OPSET) -> bool:
    """Whether `graph` would find it in the cache."""
    return _reusable(variant) and _found(_graph_key(variant, opset), Graph) is not None


def graph(
    variant: Variant, opset: int = OPSET, first: Callable[[bytes], object] | None = None
) -> Graph:
    """The graph of a variant, compared with float64 PyTorch.

    `first` is called with the bytes before the comparison, which takes longer than most of what
    could fail. Raises CheckFailedError if the graph differs, and LossexportError if the function
    cannot be traced.
    """
    if not _reusable(variant):
        return _graph(variant, opset, first)
    return _kept(_graph_key(variant, opset), Graph, lambda: _graph(variant, opset, first))


def _graph(variant: Variant, opset: int, first: Callable[[bytes], object] | None) -> Graph:
    # torch is imported for the first graph, not with this module.
    from lossexport.exporter import onnx_file
    from lossexport.exporter.eager import blamed
    from lossexport.parity import quick

    model = onnx_file.onnx_bytes(variant, min(opset, NEWEST_OPSET))
    if opset > NEWEST_OPSET:
        model = onnx_file.raised(model, opset)
    if first is not None:
        first(model)
    with blamed(variant):
        return Graph(model, quick.check(variant, model))


def built(
    variant: Variant, model: bytes, builder: Builder, compute_capabilities: tuple[str, ...]
) -> Engine:
    """The engine of a variant's graph.

    Raises LossexportError, with the words of the builder, if it refuses the graph.
    """

    def make() -> Engine:
        shapes = {tensor.name: variant.shape(tensor) for tensor in variant.op.inputs}
        with within(variant.stem):
            return Engine(
                *engine.build_tuned(model, shapes, variant.ranges, builder, compute_capabilities)
            )

    # TensorRT's timing of kernels on this GPU is not the same every time.
    if builder != "rtx" or not _reusable(variant):
        return make()
    version = str(engine.module(builder).__version__)
    given = (model, Described.of(variant), builder, version, compute_capabilities)
    return _kept(_key("engine", *given), Engine, make)


def _reusable(variant: Variant) -> bool:
    """Whether the cache is on, and only files of this package decide what is made."""
    if cache.folder() is None or _surroundings() is None:
        return False
    return BUILTIN.get(variant.op.name) is variant.op


def _graph_key(variant: Variant, opset: int) -> bytes:
    return _key("graph", Described.of(variant), opset)


def _key(kind: str, *given: object) -> bytes:
    return msgspec.msgpack.encode((kind, _surroundings(), *given), order="sorted")


def _kept(key: bytes, kind: type[Made], make: Callable[[], Made]) -> Made:
    if (found := _found(key, kind)) is not None:
        return found
    made = make()
    cache.put(key, msgspec.msgpack.encode(made))
    return made


def _found(key: bytes, kind: type[Made]) -> Made | None:
    if (content := cache.get(key)) is None:
        return None
    try:
        return msgspec.msgpack.decode(content, type=kind)
    except msgspec.MsgspecError:
        return None


@functools.cache
def _surroundings() -> str | None:
    """Digest of all but the variant that decides what is made, and what its check measures.

    None if a file of the package has changed since, so that another code may be running.
    """
    digest = hashlib.sha256()
    package = Path(str(resources.files("lossexport")))
    for path in sorted([*package.rglob("*.py"), *package.glob("native/*.so")]):
        if path.stat().st_mtime > _IMPORTED:
            return None
        digest.update(f"{path.relative_to(package)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    versions = [f"{name} {installed_version(name)}" for name in _PACKAGES]
    facts = [platform.python_version(), platform.machine(), _processor(), *versions]
    digest.update("\0".join(facts).encode())
    return digest.hexdigest()


def _processor() -> str:
    """The processor's model: kernels of different ones round differently."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    words = ("model name", "flags", "CPU part", "Features")
    return "\n".join(sorted({line for line in lines if line.startswith(words)}))

"""Builds TensorRT and TensorRT-RTX engines from ONNX files. Neither needs a GPU to parse, and
TensorRT-RTX needs none to build."""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from lossexport.catalog.variant import Range
from lossexport.errors import LossexportError, one_line
from lossexport.exporter.refused import Refused, of_builder
from lossexport.exporter.rtx.script import refused
from lossexport.kernels import plugins
from lossexport.names import Builder
from lossexport.origin import install_command
from lossexport.runtime.trt import logger

# Name of the builder, and of the extra that installs it -> its module.
BUILDERS: dict[Builder, str] = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
# Loss graphs propagate NaN on purpose: nothing may fold 0 * x to 0 or x / x to 1.
_FLAGS = ("STRICT_NANS",)
# The message of TensorRT-RTX 1.7 if a reduced axis may have some thousand elements and is to be
# tuned for fewer than about 600: it has plans for some sizes of such a range and not for others.
_NO_PLAN = "cannot create std::vector larger than max_size()"


def module(builder: str) -> ModuleType:
    """The Python module of a builder. Raises LossexportError, with the remedy, if absent."""
    if builder not in BUILDERS:
        raise LossexportError(f"backend {builder!r} builds no engine; choose rtx or tensorrt")
    name = BUILDERS[builder]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LossexportError(f"{name} is not installed: {install_command(builder)}") from error


class _BuilderError(LossexportError):
    """The builder refused a network that the parser took."""


def build(
    model: bytes,
    shapes: Mapping[str, tuple[int | str, ...]],
    ranges: Mapping[str, Range],
    builder: Builder = "rtx",
    compute_capabilities: tuple[str, ...] = (),
) -> bytes:
    """The serialised engine of an ONNX model.

    `shapes` maps inputs to shapes, and `ranges` bounds their symbolic dimensions. Together they
    make the only optimisation profile. `compute_capabilities` ("8.6", ...) are those that the
    engine must run on; if empty, the builder's default. Raises LossexportError with the words of
    the parser or the builder if the model is refused.
    """
    return build_tuned(model, shapes, ranges, builder, compute_capabilities)[0]


def build_tuned(
    model: bytes,
    shapes: Mapping[str, tuple[int | str, ...]],
    ranges: Mapping[str, Range],
    builder: Builder = "rtx",
    compute_capabilities: tuple[str, ...] = (),
) -> tuple[bytes, dict[str, Range]]:
    """The serialised engine, as from `build`, and the ranges that it was built with.

    `opt` of a range is larger than asked for if the builder has no plan for so small a size, for
    example for a softmax tuned for 80 classes that takes up to 9605. Raises LossexportError if the
    model is refused, with the largest size that builds if there is one.
    """
    trt = module(builder)
    if builder == "tensorrt":  # TensorRT-RTX has no plugins; asking it for them ends the process
        plugins.register(trt, importlib.import_module("tensorrt.plugin"))

    def tried(sizes: Mapping[str, Range]) -> tuple[bytes, dict[str, Range]]:
        sizes = dict(sizes)
        while True:
            try:
                return _build(builder, model, shapes, sizes, compute_capabilities), sizes
            except _BuilderError as error:
                larger = {name: _tuned_for_more(size) for name, size in sizes.items()}
                if _NO_PLAN not in str(error) or larger == sizes:
                    raise
                sizes = larger

    try:
        return tried(ranges)
    except _BuilderError as error:
        hint = _largest_that_builds(ranges, tried)
        why = of_builder(model, str(error))
        raise LossexportError(f"{builder} builder: {why}{hint}") from error


def _tuned_for_more(size: Range) -> Range:
    return Range(size.min, min(max(2 * size.opt, 1), size.max), size.max)


def _largest_that_builds(ranges: Mapping[str, Range], tried: Callable[..., object]) -> str:
    """A hint such as `; it builds with C up to 4096`, for the first dimension that allows it."""
    for name, size in ranges.items():
        largest, too_many = size.min, size.max
        if largest == too_many or not _builds(tried, ranges, name, max(largest, 1)):
            continue
        while too_many - largest > 1:
            middle = (largest + too_many) // 2
            if _builds(tried, ranges, name, middle):
                largest = middle
            else:
                too_many = middle
        return f"; it builds with {name} up to {largest}"
    return ""


def _builds(
    tried: Callable[..., object], ranges: Mapping[str, Range], name: str, largest: int
) -> bool:
    size = ranges[name]
    try:
        tried({**ranges, name: Range(size.min, min(size.opt, largest), largest)})
    except _BuilderError:
        return False
    return True


def _build(
    builder: Builder,
    model: bytes,
    shapes: Mapping[str, tuple[int | str, ...]],
    ranges: Mapping[str, Range],
    compute_capabilities: tuple[str, ...],
) -> bytes:
    trt = module(builder)
    log = logger(trt)
    factory = trt.Builder(log)
    network = factory.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        raise LossexportError(Refused(*refused(parser)[0]).line(model, builder))
    config = factory.create_builder_config()
    for flag in _FLAGS:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    profile = factory.create_optimization_profile()
    for name, shape in shapes.items():
        sizes = [
            tuple(getattr(ranges[dim], which) if isinstance(dim, str) else dim for dim in shape)
            for which in ("min", "opt", "max")
        ]
        profile.set_shape(name, *sizes)
    config.add_optimization_profile(profile)
    _target(trt, config, compute_capabilities)
    engine = factory.build_serialized_network(network, config)
    if engine is None:
        raise _BuilderError(one_line(log.last))
    return bytes(engine)


def _target(trt: ModuleType, config: Any, compute_capabilities: tuple[str, ...]) -> None:
    if not compute_capabilities:
        return
    known = getattr(trt, "ComputeCapability", None)
    if known is None:
        raise LossexportError(
            f"compute capability {compute_capabilities[0]}: standard TensorRT builds for the GPU "
            "of the machine that it runs on"
        )
    config.num_compute_capabilities = len(compute_capabilities)
    for index, text in enumerate(compute_capabilities):
        value = getattr(known, "SM" + text.replace(".", ""), None)
        if value is None:
            names = [name[2:] for name in dir(known) if name.startswith("SM")]
            choices = ", ".join(f"{n[:-1]}.{n[-1]}" for n in sorted(names, key=int))
            raise LossexportError(f"compute capability {text!r}: must be one of {choices}")
        config.set_compute_capability(value, index)

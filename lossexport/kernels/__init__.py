"""The fused kernels: what they compute, how they are launched, and how they get into TensorRT.

`declared` derives from the catalogue; `ptx` compiles; `plugins` registers them with TensorRT.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lossexport.catalog import BUILTIN
from lossexport.catalog.launch import Launch
from lossexport.catalog.spec import Attribute, Op, Stage, Tensor

_GRADIENT = "LX_GRADIENT"


@dataclass(frozen=True, slots=True)
class Kernel:
    """An ONNX node that one launch computes: its type, tensors, attributes and the launch.

    For a stage of an op, also its torch function, the inputs whose gradients it gives, and `parts`.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attributes: tuple[Attribute, ...]
    launch: Launch
    function: Callable[..., Any] | None = None
    gradient: tuple[str, ...] = ()
    parts: int = 0


def kernels(op: Op, gradient: bool) -> tuple[Kernel, ...]:
    """The kernels of an op's value graph, or of its gradient graph, in order."""
    if op.kernel is not None and not gradient:
        return (Kernel(op.class_name, op.inputs, op.outputs, op.attributes, op.kernel),)
    stages = (stage for stage in op.stages if gradient or not stage.gradient_only)
    return tuple(_of_stage(op, stage, gradient) for stage in stages)


def _of_stage(op: Op, stage: Stage, gradient: bool) -> Kernel:
    wanted = stage.gradient if gradient else ()
    shapes = {tensor.name: tensor.shape for tensor in stage.inputs}
    launch = stage.launch
    if wanted:
        launch = replace(launch, macros=lambda given: {**stage.launch.macros(given), _GRADIENT: 1})
    return Kernel(
        name=op.class_name + stage.name.capitalize() + ("WithGrad" if wanted else ""),
        inputs=stage.inputs,
        outputs=(*stage.outputs, *(Tensor(f"grad_{name}", shapes[name], "") for name in wanted)),
        attributes=tuple(item for item in op.attributes if item.name in stage.attributes),
        launch=launch,
        function=stage.function,
        gradient=wanted,
        parts=stage.parts,
    )


def declared() -> dict[str, Kernel]:
    """Every node that has a kernel, by its type."""
    return {
        kernel.name: kernel
        for op in BUILTIN.values()
        for gradient in (False, True)
        for kernel in kernels(op, gradient)
    }

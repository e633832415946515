"""The fused kernels: what they compute, how they are launched, and how they get into TensorRT.

`declared` derives from the catalogue; `ptx` compiles; `plugins` registers them with TensorRT.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lossexport.catalog import BUILTIN
from lossexport.catalog.launch import Launch
from lossexport.catalog.spec import Attribute, Op, Stage, Tensor


@dataclass(frozen=True, slots=True)
class Kernel:
    """An ONNX node that one launch computes: its type, tensors, attributes and the launch.

    `gradient` are the inputs whose gradients are its last outputs. Of a stage of an op there are
    also its torch function and `parts`.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attributes: tuple[Attribute, ...]
    launch: Launch
    gradient: tuple[str, ...] = ()
    function: Callable[..., Any] | None = None
    parts: int = 0

    def written(self, attributes: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """The outputs for these attributes: a reduction makes one number of each value."""
        if attributes.get("reduction", "none") == "none":
            return self.outputs
        values = len(self.outputs) - len(self.gradient)
        single = (Tensor(t.name, (), t.domain, t.dtype) for t in self.outputs[:values])
        return (*single, *self.outputs[values:])


def kernels(op: Op, gradient: bool) -> tuple[Kernel, ...]:
    """The kernels of an op's value graph, or of its gradient graph, in order."""
    if op.kernel is not None:
        return (_of_op(op, op.kernel, gradient),) if op.gradient or not gradient else ()
    stages = (stage for stage in op.stages if gradient or not stage.gradient_only)
    return tuple(_of_stage(op, stage, gradient) for stage in stages)


def _of_op(op: Op, launch: Launch, gradient: bool) -> Kernel:
    return Kernel(
        name=op.class_name + ("WithGrad" if gradient else ""),
        inputs=op.inputs,
        outputs=op.output_tensors({}, gradient),
        attributes=op.attributes,
        launch=launch,
        gradient=op.gradient if gradient else (),
    )


def _of_stage(op: Op, stage: Stage, gradient: bool) -> Kernel:
    wanted = stage.gradient if gradient else ()
    shapes = {tensor.name: tensor.shape for tensor in stage.inputs}
    return Kernel(
        name=op.class_name + stage.name.capitalize() + ("WithGrad" if wanted else ""),
        inputs=stage.inputs,
        outputs=(*stage.outputs, *(Tensor(f"grad_{name}", shapes[name], "") for name in wanted)),
        attributes=tuple(item for item in op.attributes if item.name in stage.attributes),
        launch=stage.launch,
        gradient=wanted,
        function=stage.function,
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

"""The fused kernels: what they compute and how they are launched, and the road to TensorRT.

`declared` derives from the catalogue; `ptx` compiles; `plugins` registers them with TensorRT.
"""

from dataclasses import dataclass

from lossexport.catalog import CATALOG
from lossexport.catalog.kernels import Launch
from lossexport.catalog.spec import Attribute, Tensor


@dataclass(frozen=True, slots=True)
class Kernel:
    """An ONNX node that one launch computes: its type, tensors, attributes and the launch."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attributes: tuple[Attribute, ...]
    launch: Launch


def declared() -> dict[str, Kernel]:
    """Every node that has a kernel, by its type."""
    return {
        op.class_name: Kernel(op.class_name, op.inputs, op.outputs, op.attributes, op.kernel)
        for op in CATALOG.values()
        if op.kernel is not None
    }

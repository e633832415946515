"""Launch a kernel as the catalogue declares it, on an emulated or on a real device.

A launcher gets the arguments in their order, the memory of every tensor between two guard zones.
What it is given, and what is made of the result, is the same for all of them.
"""

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import ml_dtypes
import numpy as np

from lossexport.catalog import CATALOG
from lossexport.catalog.launch import Launch
from lossexport.catalog.spec import Arrays
from lossexport.catalog.variant import Variant
from lossexport.kernels import Kernel, kernels, ptx
from lossexport.names import Precision
from lossexport.parity.cases import Case
from lossexport.parity.error import Errors
from lossexport.parity.oracle import judged

GUARD = 256
# What memory is full of beforehand, and what else if a result looks like it, as a bfloat16 may.
UNWRITTEN, UNWRITTEN_TOO = 0xFD, 0xF3
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

# Attributes beside the defaults, where a kernel does something else with them.
ATTRIBUTES: dict[str, tuple[dict[str, Any], ...]] = {
    "best_match": ({"metric": "ciou"}, {"metric": "giou"}),
    "detr_cost": ({"kind": "softmax", "class_weight": 1}, {"gamma": 0.5, "eps": 0}, {"gamma": 3}),
    "task_aligned_assign": ({"alpha": 1.0, "beta": 2.0, "topk": 3}, {"alpha": 0, "small_side": 0}),
    "nms": ({"iou_threshold": 0.3, "score_threshold": 0.25, "max_output": 2000},),
    "diou_nms": ({"beta": 0.6, "max_output": 5},),
    "cluster_nms": ({"metric": "diou"},),
    "matrix_nms": ({"kernel": "linear", "max_output": 7}, {"sigma": 8.0, "score_threshold": 0.0}),
    "weighted_boxes_fusion": (
        {"mode": "max", "weights": (2.0, 1.0, 0.5), "max_output": 5},
        {"mode": "box_and_model_avg", "weights": (1.0, 3.0), "skip_threshold": 0.25},
        {"mode": "absent_model_aware_avg", "weights": (1.0, 0.5, 3.0), "iou_threshold": 0.3},
        {"allows_overflow": True, "weights": (2.0,)},
    ),
    "batched_nms": (
        {"multi_label": True, "max_candidates": 1500, "score_threshold": 0.0},
        {"metric": "diou", "class_aware": False, "max_output": 5, "iou_threshold": 0.45},
    ),
    "yolo_detection_loss": (
        {"alpha": 1.0, "beta": 2.0, "topk": 3, "small_side": 0.0},
        {"box_gain": 1.0, "class_gain": 2.0, "dfl_gain": 0.0},
    ),
    "retinanet_loss": (
        {"rescue": False, "beta": 0.1, "gamma": 1.5, "box_gain": 0.5},
        {"fg_iou": 0.3, "bg_iou": 0.0, "alpha": 0.6, "gamma": 0},
    ),
    "fcos_loss": (
        {"radius": 3.0, "eps": 0.0, "gamma": 0.5, "centre_gain": 0.5},
        {"box_gain": 2.0, "class_gain": 0.5, "alpha": 0.6},
    ),
    "detr_detection_loss": (
        {"kind": "softmax", "class_gain": 1},
        {"kind": "varifocal", "alpha": 0.75},
        {"gamma": 0.5, "alpha": 0.6, "box_gain": 0.5},
        {"kind": "varifocal", "gamma": 3.5, "giou_gain": 0},
    ),
    "suppression_reliability": ({"iou_threshold": 0.3, "center": 0.25, "score_threshold": 0.0},),
    "contrastive_confidence": ({"score_threshold": 0.5, "weight": 0.0},),
    "ghm_c_loss": ({"bins": 30, "momentum": 0.75},),
    "ghm_r_loss": ({"bins": 5, "momentum": 0.3, "mu": 0.5},),
    "ap_loss": ({"delta": 0.3, "max_positives": 257},),
    "dr_loss": ({"pos_lambda": 0.05, "neg_lambda": 2, "L": 1, "tau": 0.5, "margin": -0.2},),
    "kl_loss": ({"reduction": "mean"},),
    "sigmoid_focal_loss": (
        {"alpha": -1, "gamma": 0.5, "reduction": "sum"},
        {"gamma": 1, "alpha": 1},
        {"gamma": 3.5},
        {"gamma": 0},
    ),
    "softmax_focal_loss": ({"gamma": 0.5, "reduction": "mean"}, {"gamma": 5, "alpha": 0}),
    "distribution_focal_loss": ({"margin": 0.0, "reduction": "mean"},),
    "quality_focal_loss": ({"beta": 0.5}, {"beta": 1, "reduction": "mean"}, {"beta": 0}),
    "varifocal_loss": ({"gamma": 0.5, "iou_weighted": False, "reduction": "sum"}, {"gamma": 3.5}),
    "matched_varifocal_loss": ({"gamma": 1, "alpha": 0.2, "reduction": "mean"}, {"gamma": 0}),
    "matchability_aware_loss": ({"gamma": 2, "alpha": 0.75}, {"gamma": 0.5, "reduction": "sum"}),
    "iou_aware_bce_loss": ({"alpha": 0, "reduction": "sum"}, {"alpha": 1}, {"alpha": 0.9}),
    "anchor_loss": ({"anchor": "pos", "gamma": 2, "reduction": "sum"}, {"gamma": 1, "slack": 0}),
    "sce_loss": ({"prob_floor": 0.01, "alpha": 6, "reduction": "mean"}, {"prob_floor": 0}),
    "box_ciou": ({"eps": 0.0},),
    "iou_loss": ({"eps": 0.0, "reduction": "sum"},),
    "giou_loss": ({"eps": 0.0, "reduction": "mean"},),
    "diou_loss": ({"eps": 0.0}, {"reduction": "mean"}),
    "ciou_loss": ({"eps": 0.0}, {"eps": 0.5, "reduction": "sum"}),
    "eiou_loss": ({"eps": 1e-3, "reduction": "mean"},),
    "siou_loss": ({"eps": 0.0}, {"eps": 1e-3, "reduction": "sum"}),
    "box_siou": ({"eps": 0.0},),
    "nwd_loss": ({"constant": 0.05}, {"constant": 300.0, "reduction": "mean"}),
    "encode_boxes": ({"weights": (10.0, 10.0, 5.0, 5.0)},),
    "decode_boxes": ({"weights": (10.0, 20.0, 5.0, 0.5), "clip": 0.5},),
    "decode_distances": ({"bins": 7},),
    "smooth_l1_loss": ({"beta": 0.1, "reduction": "sum"}, {"beta": 0.0, "reduction": "mean"}),
    "variance_voting": ({"method": "hard", "offset": 1.0, "max_output": 20},),
}
# The largest size of a dimension that is tried where a GPU does the work.
LARGE = 100_000
# Dimensions whose size needs no more than this to be tried in full.
TILES = {
    "batched_nms": {"B": 2, "C": 3},
    "matrix_nms": {"N": 40},
    "weighted_boxes_fusion": {"N": 40},
    "task_aligned_assign": {"A": 40, "C": 3, "T": 5},
    "suppression_reliability": {"N": 40, "K": 5},
    "yolo_detection_loss": {"B": 2, "A": 40, "C": 3, "T": 5},
    "retinanet_loss": {"B": 2, "A": 40, "C": 3, "T": 5},
    "fcos_loss": {"B": 2, "A": 40, "C": 3, "T": 5},
    "detr_detection_loss": {"B": 2, "N": 40, "C": 3, "T": 5},
}
# Where it takes more to keep a block busy twice.
SIZES = {
    "ghm_r_loss": {"N": 16385},
    "matrix_nms": {"N": 1100},
    "weighted_boxes_fusion": {"N": 1100},
    "task_aligned_assign": {"A": 1100},
    "suppression_reliability": {"N": 1100, "K": 9},
    "yolo_detection_loss": {"A": 600},
    "retinanet_loss": {"A": 600},
    "fcos_loss": {"A": 600},
    "detr_detection_loss": {"N": 600},
}


@dataclass
class Memory:
    """A tensor between two guard zones."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: int = UNWRITTEN
    raw: np.ndarray = field(init=False)
    # Bytes of a zone; 0 for a tool that itself watches the ends of what was allocated.
    guard: ClassVar[int] = GUARD

    def __post_init__(self) -> None:
        size = int(np.prod(self.shape)) * self.dtype.itemsize
        self.raw = np.full(self.guard + size + self.guard, self.fill, np.uint8)

    @property
    def _inside(self) -> slice:
        return slice(self.guard, len(self.raw) - self.guard)

    @property
    def tensor(self) -> np.ndarray:
        return self.raw[self._inside].view(self.dtype).reshape(self.shape)

    def check(self, name: str) -> None:
        """Fail where something beside the tensor was written."""
        outside = np.delete(self.raw, self._inside)
        assert (outside == self.fill).all(), f"{name}: written outside of the tensor"

    @property
    def unwritten(self) -> np.ndarray:
        """The elements that hold what was there before: one may have been written, by chance."""
        inside = self.raw[self._inside].reshape(-1, self.dtype.itemsize)
        return np.asarray((inside == self.fill).all(1))


# Pointers to memory, and sizes.
Arguments = Sequence[Memory | int]


def pack(
    given: Arguments, address: Callable[[Memory], int]
) -> list[ctypes.c_void_p | ctypes.c_int]:
    """Arguments as a kernel takes them: 64-bit pointers to the tensors, 32-bit sizes.

    `address` says where the memory starts for the kernel.
    """
    return [
        ctypes.c_void_p(address(item) + item.guard)
        if isinstance(item, Memory)
        else ctypes.c_int(item)
        for item in given
    ]


def addresses(values: list[ctypes.c_void_p | ctypes.c_int]) -> ctypes.Array[ctypes.c_void_p]:
    """The form in which cuLaunchKernel takes arguments: the address of each."""
    pointers = [ctypes.cast(ctypes.byref(value), ctypes.c_void_p) for value in values]
    return (ctypes.c_void_p * len(values))(*pointers)


class Launcher(Protocol):
    """Runs a kernel; what it writes is in the arguments' memory afterwards."""

    def __call__(
        self, launch: Launch, macros: Mapping[str, str], grid: tuple[int, ...], given: Arguments
    ) -> None: ...


def launch(
    kernel: Kernel,
    variant: Variant,
    inputs: Arrays,
    launcher: Launcher,
    grid: tuple[int, ...] | None = None,
) -> Arrays:
    """The outputs of one launch, by name. `inputs` are in the types that the kernel takes."""
    known = dict(variant.attributes)
    for tensor in kernel.inputs:
        sizes = zip(tensor.shape, inputs[tensor.name].shape, strict=True)
        known |= {dim: size for dim, size in sizes if isinstance(dim, str)}
    written = _launched(kernel, variant, inputs, launcher, known, grid, UNWRITTEN)
    if any(memory.unwritten.any() for memory in written.values()):
        # A result may be what memory was full of: it cannot be two such numbers.
        again = _launched(kernel, variant, inputs, launcher, known, grid, UNWRITTEN_TOO)
        for name, memory in written.items():
            count = int((memory.unwritten & again[name].unwritten).sum())
            assert not count, f"{kernel.name}: {name}: {count} elements were not written"
    return {name: memory.tensor for name, memory in written.items()}


def _launched(
    kernel: Kernel,
    variant: Variant,
    inputs: Arrays,
    launcher: Launcher,
    known: Mapping[str, Any],
    grid: tuple[int, ...] | None,
    fill: int,
) -> dict[str, Memory]:
    """The memory of the outputs of one launch, which was full of `fill` before."""
    read = {t.name: Memory(inputs[t.name].shape, inputs[t.name].dtype) for t in kernel.inputs}
    for name, memory in read.items():
        memory.tensor[...] = inputs[name]
    written = {
        tensor.name: Memory(
            tuple(dim if isinstance(dim, int) else known[dim] for dim in tensor.shape),
            dtype(variant.numpy_dtype(tensor)),
            fill,
        )
        for tensor in kernel.written(variant.attributes)
    }
    given = [*read.values(), *kernel.launch.sizes(known), *written.values()]
    macros = ptx.definitions(kernel, variant.attributes, variant.precision)
    launcher(kernel.launch, macros, kernel.launch.grid(known) if grid is None else grid, given)
    for name, memory in read.items():
        assert memory.tensor.tobytes() == inputs[name].tobytes(), f"{name}: an input was written"
    for name, memory in written.items():
        memory.check(f"{kernel.name}: {name}")
    return written


def run(variant: Variant, inputs: Arrays, launcher: Launcher) -> Arrays:
    """The outputs of all kernels of a variant, each fed by those before it."""
    arrays = dict(inputs)
    for kernel in kernels(variant.op, variant.gradient):
        arrays |= launch(kernel, variant, arrays, launcher)
    # A stage passes on float32: the graph rounds it at the boundary.
    return {
        tensor.name: arrays[tensor.name].astype(dtype(variant.numpy_dtype(tensor)))
        for tensor in variant.outputs
    }


def dtype(name: str) -> np.dtype[Any]:
    """numpy's type of that name, bfloat16 included."""
    return BFLOAT16 if name == "bfloat16" else np.dtype(name)


def rounded(variant: Variant, exact: Arrays) -> Arrays:
    """The inputs of a case in the types that the kernels take."""
    return {
        tensor.name: exact[tensor.name].astype(dtype(variant.numpy_dtype(tensor)))
        for tensor in variant.op.inputs
    }


def compare(variant: Variant, case: Case, launcher: Launcher) -> dict[str, Errors]:
    """One case against eager PyTorch in float64, under the tolerance of the catalogue.

    Gives the errors of every output; an AssertionError where one is beyond the tolerance.
    """
    exact = case.inputs(variant)
    got = run(variant, rounded(variant, exact), launcher)
    expected, roundings = judged(variant, exact)
    found = {}
    for name in expected:
        tensor = next(tensor for tensor in variant.outputs if tensor.name == name)
        tolerance = variant.op.output_tolerance(name, variant.precision)
        errors = Errors(tolerance, variant.numpy_dtype(tensor))
        errors.add(str(case), got[name], expected[name], roundings[name])
        assert errors.breaches == 0, f"{name}: {errors.worst}"
        found[name] = errors
    return found


def variants(precision: Precision) -> Iterator[Variant]:
    """Every graph of kernels, with the default attributes of its op and with others."""
    for op in CATALOG.values():
        for gradient in (False, True):
            if kernels(op, gradient):
                for attributes in ({}, *ATTRIBUTES.get(op.name, ())):
                    yield Variant.make(op, attributes, precision, gradient)


def label(variant: Variant) -> str:
    """A name of its own for each of `variants` in each precision."""
    return "-".join(map(str, (variant.stem, *variant.attributes.values())))


def tile(variant: Variant, dim: str) -> int:
    """How much of a dimension a block takes: where a grid grows, or all of its threads."""
    ones: dict[str, Any] = {**dict.fromkeys((*variant.ranges, "P"), 1), **variant.attributes}
    tiles = []
    for kernel in kernels(variant.op, variant.gradient):
        grid, most = kernel.launch.grid, kernel.launch.block
        grown = (n - 1 for n in range(2, 2 * most) if grid(ones | {dim: n}) != grid(ones))
        tiles.append(next(grown, most))
    return min(tiles)


def cases(variant: Variant) -> Iterator[Case]:
    """Every family of inputs at the least size and past one tile, two elsewhere."""
    tiles = {dim: tile(variant, dim) for dim in variant.ranges} | TILES.get(variant.op.name, {})
    families = list(variant.op.samplers)
    least = {dim: size.min for dim, size in variant.ranges.items()}
    for sizes, drawn in (
        (least, families),
        (dict.fromkeys(tiles, 1), families[:2]),
        ({dim: size - 1 for dim, size in tiles.items()}, families[-2:]),
        (tiles, families[:2]),
        ({dim: size + 1 for dim, size in tiles.items()}, families),
    ):
        for family in drawn:
            yield Case(family, tuple(sizes.items()), 0)
    several = {dim: 5 * size // 2 for dim, size in tiles.items()} | SIZES.get(variant.op.name, {})
    for family in families[:2]:
        yield Case(family, tuple(several.items()), 0)


def large(variant: Variant) -> Iterator[Case]:
    """One dimension as large as the kernels serve, LARGE at most, the others 1."""
    limits = [kernel.launch.largest for kernel in kernels(variant.op, variant.gradient)]
    for dim, size in variant.ranges.items():
        # Where the oracle needs N x N, no larger than the catalogue says.
        own = size.max if variant.op.work or dim == "C" else LARGE
        most = min(LARGE, own, *(limit.get(dim, LARGE) for limit in limits))
        sizes = dict.fromkeys(variant.ranges, 1) | {dim: most}
        for family in variant.op.samplers:
            yield Case(family, tuple(sizes.items()), 0)

"""The oracle: the function that is exported, run by eager PyTorch in float64."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from lossexport.catalog.spec import Arrays, Op, Tensor, U
from lossexport.catalog.variant import Variant
from lossexport.errors import LossexportError, one_line
from lossexport.kernels import Kernel
from lossexport.ops.binding import bind
from lossexport.ops.common import NARROW
from lossexport.parity.cases import ELEMENTS, Case, largest
from lossexport.parity.roundings import bounded

Function = Callable[..., tuple[torch.Tensor, ...]]


def function(variant: Variant) -> Function:
    """The variant as a function of its inputs in order, in eager PyTorch, for any float type."""
    op = bind(variant.op)
    wanted = variant.op.gradient if variant.gradient else ()

    def value(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result = op(*inputs, **variant.attributes)
        return tuple(result) if isinstance(result, tuple | list) else (result,)

    return _with_gradient(value, variant.op.inputs, variant.outputs, wanted) if wanted else value


def stage(kernel: Kernel, variant: Variant) -> Function:
    """A stage of the variant as a function of its inputs in order."""
    call = kernel.function
    assert call is not None
    attributes = {item.name: variant.attributes[item.name] for item in kernel.attributes}

    def value(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result = call(*(x.float() if x.dtype in NARROW else x for x in inputs), **attributes)
        return result if isinstance(result, tuple) else (result,)

    if kernel.gradient:
        return _with_gradient(value, kernel.inputs, kernel.outputs, kernel.gradient)
    return lambda *inputs: _rounded(value(*inputs), kernel.inputs, kernel.outputs, inputs)


def _with_gradient(
    value: Function,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    wanted: tuple[str, ...],
) -> Function:
    names = [tensor.name for tensor in inputs]

    def value_and_gradient(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.enable_grad():
            # The gradient has the type that the op computes in, and is rounded once, at the end.
            wide = [x.float() if x.dtype in NARROW else x.detach() for x in given]
            leaves = [wide[names.index(name)].requires_grad_() for name in wanted]
            results = value(*wide)
            results += torch.autograd.grad(results[0].sum(), leaves)
        return _rounded(tuple(x.detach() for x in results), inputs, outputs, given)

    return value_and_gradient


def _rounded(
    results: tuple[torch.Tensor, ...],
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    given: tuple[torch.Tensor, ...],
) -> tuple[torch.Tensor, ...]:
    """Results in the types of the outputs; floats in the type of the inputs given."""
    floats = [x.dtype for x, tensor in zip(given, inputs, strict=True) if tensor.dtype == "float"]
    return tuple(
        x.to(floats[0]) if tensor.dtype == "float" else x
        for x, tensor in zip(results, outputs, strict=True)
    )


def oracle(variant: Variant, inputs: Arrays) -> Arrays:
    """The outputs of the function that is exported, computed by eager PyTorch in float64."""
    with one_thread():
        results = function(variant)(*tensors(variant, inputs))
    return _named(variant, results)


class Judge:
    """Computes the inputs and the expected outputs of cases.

    Results are kept, so that all backends of a file share them.
    """

    def __init__(self, variant: Variant) -> None:
        self._variant = variant
        self._known: dict[Case, tuple[Arrays, Arrays, Arrays]] = {}

    def __call__(self, case: Case) -> tuple[Arrays, Arrays, Arrays]:
        """The inputs, the oracle's outputs, and the number of roundings in each element."""
        if (known := self._known.get(case)) is not None:
            return known
        inputs = case.inputs(self._variant)
        with reported(self._variant.op, f"case {case}"):
            answer = (inputs, *judged(self._variant, inputs))
        # Larger cases, which only fixed shapes have, are computed again rather than kept.
        if largest(self._variant, dict(case.sizes)) <= ELEMENTS:
            self._known[case] = answer
        return answer


def judged(variant: Variant, inputs: Arrays) -> tuple[Arrays, Arrays]:
    """The outputs of the oracle, and the number of roundings in each of their elements."""
    if all(tensor.dtype == "int64" for tensor in variant.outputs):
        expected = oracle(variant, inputs)
        return expected, {name: np.zeros(values.shape) for name, values in expected.items()}
    with one_thread():
        results, errors = bounded(function(variant), tensors(variant, inputs))
    return _named(variant, results), _named(variant, [error / U for error in errors])


def tensors(variant: Variant, inputs: Arrays) -> list[torch.Tensor]:
    """The inputs as tensors, in order."""
    return [torch.from_numpy(inputs[tensor.name]) for tensor in variant.op.inputs]


def _named(variant: Variant, tensors: Sequence[torch.Tensor]) -> Arrays:
    return {
        output.name: tensor.numpy() for output, tensor in zip(variant.outputs, tensors, strict=True)
    }


@contextmanager
def reported(op: Op, where: str) -> Iterator[None]:
    """Turn an exception of the op's function into a LossexportError.

    Its message names the line of the function that failed and `where`, the inputs it failed on.
    """
    try:
        yield
    except LossexportError:
        raise
    except Exception as error:  # the code of the op's author
        code = getattr(op.function, "__code__", None)
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if code is not None and f.filename == code.co_filename]
        place = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
        raise LossexportError(
            f"op {op.name!r}: the function fails on {where}{place}: {type(error).__name__}: "
            f"{one_line(error)}"
        ) from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch in one thread: on small tensors, several would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

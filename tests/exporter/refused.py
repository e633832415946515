"""Marks functions as refused, with what is to be said of the line that ends in `# here`."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor


class Refused(NamedTuple):
    """A function, what is said of it, and how it is declared."""

    function: Callable[..., Any]
    says: str
    gradient: bool
    whose: str


FIXED_SIZE = "write torch.where(mask, x, 0) and a sum, or a topk of fixed size"
SORTED = "write torch.where(mask, x, 0) and a sum, or a sort or topk of fixed size"
PICKS = f"picks elements by a boolean mask, and how many depends on the data; {FIXED_SIZE}"
PUTS = "writes by a boolean mask; write x = torch.where(mask, value, x)"
BRANCHES = (
    "decides in Python by the values of a tensor; "
    "write torch.where, clamp or torch.maximum, and no assert"
)
FIXES = (
    "takes N, which may be 1 to 65536, for the 5 of this trace; write what needs no number of it "
    "(no loop over rows, x.shape[0] for len(x), torch.full((), n) for torch.tensor(n)), or fix it "
    "with --shape N=SIZE"
)
WIDENS = (
    "makes the output loss float64, from other types; "
    "write constants of the type of the inputs: torch.tensor(values, dtype=x.dtype)"
)
CUTS = (
    "leaves pred without a gradient; write differentiable operators "
    "(no detach, argmax, comparison), or gradient=() without pred"
)
RETURNS = "declared as loss; write a tensor for each output, in a tuple"


def sized(name: str) -> str:
    return f"makes a tensor whose size depends on the data ({name}); {SORTED}"


def number(name: str) -> str:
    return (
        f"takes a number out of a tensor ({name}); write the tensor itself: x.max() for "
        "x.max().item(), torch.stack for torch.tensor, x.index_select(0, i.reshape(1)) for x[i]"
    )


def memory(name: str) -> str:
    return f"takes a tensor out of torch ({name}); write the torch function of the same name"


def sizes(condition: str) -> str:
    return (
        f"holds only where {condition}, and N may be 1 to 65536; "
        "write the same for every size, or limit N in the field dims of the op, or fix it with "
        "--shape N=SIZE"
    )


def adds(operator: str) -> str:
    return (
        f"adds up by index ({operator}), which TensorRT refuses; "
        "write one_hot = index.unsqueeze(-1) == torch.arange(K), then torch.where(one_hot, x, 0) "
        "and a sum; slices and torch.stack for constant indices"
    )


def untranslated(operator: str, instead: str) -> str:
    return f"needs {operator}, which has no translation to ONNX; write {instead}"


def writes(name: str) -> str:
    return f"writes into the input {name}; write x = x.clamp(min=0) for x.clamp_(min=0)"


def draws(name: str) -> str:
    return f"draws random numbers ({name}); write the numbers as an input of the op"


def device(name: str) -> str:
    return f"asks for the device {name}; write device=x.device, the device of an input"


def shape(given: str) -> str:
    return (
        f"gives loss the shape {given} for pred [5, 4] and target [5, 4], declared as [N]; "
        "write a sum over the rest, squeeze(1) for squeeze(), or declare its shape"
    )


def dtype(name: str) -> str:
    return f"gives loss as {name}, declared as float32; write x.to(dtype), or declare its type"


def raises(error: str) -> str:
    return f"raises {error}, in plain PyTorch too, for pred [5, 4] and target [5, 4]"


def refused(says: str, *, gradient: bool = False) -> Callable[[Callable[..., Any]], Refused]:
    """Refused for the marked line."""
    return lambda function: Refused(function, says, gradient, "")


def gradient(says: str) -> Callable[[Callable[..., Any]], Refused]:
    """Refused for what differentiates the marked line."""
    return lambda function: Refused(function, says, gradient=True, whose="the gradient of ")


def index(target: Tensor) -> Tensor:
    return target[:, 0].long().clamp(0, 0)

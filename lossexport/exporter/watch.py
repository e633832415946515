"""Records the calls of torch that a function makes, and the line of each, eagerly or in a trace.

Only a function that has failed is watched, because this takes a second trace. Every call of torch
is recorded with the innermost line of the user's code that makes it. In a trace, each node of the
graph has the number of its call in place of a stack trace. Nodes that autograd adds have the number
of the call that they differentiate.
"""

import linecache
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from inspect import unwrap
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor
from torch.fx.traceback import set_stack_trace
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from lossexport.errors import printable

# Libraries that a user's function calls, or that call it: none of their lines are shown.
_LIBRARIES = {"lossexport", "torch", "numpy", "sympy", "onnx", "onnx_ir", "onnxscript"}
_MARK = re.compile(r"lossexport call (\d+)")
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a source file; `caller` is the line in the op's own file that led to it."""

    file: str
    line: int
    caller: "Place | None" = None

    def __str__(self) -> str:
        """FILE:LINE; a file below the working directory is given relative to it."""
        path = Path(self.file)
        below = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        called = f" (called at {self.caller})" if self.caller else ""
        return f"{below}:{self.line}{called}"

    @property
    def code(self) -> str:
        """The source line in at most 80 characters; empty if the source is not at hand."""
        text = printable(linecache.getline(self.file, self.line).strip())
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


@dataclass(frozen=True, slots=True)
class Call:
    """A call of torch; `place` is None if no line of the user's code makes it."""

    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    place: Place | None
    gradient: bool = False

    @property
    def name(self) -> str:
        """The name of the function: "sum", "__bool__"; "shape" for a property."""
        name = getattr(self.function, "__name__", str(self.function))
        owner = getattr(self.function, "__self__", None)
        return str(getattr(owner, "__name__", name)) if name == "__get__" else name

    @property
    def shown(self) -> str:
        """The name as in Python code: "float" for `__float__`, "[]" for an index."""
        return "[]" if self.name in ("__getitem__", "__setitem__") else self.name.strip("_")

    @property
    def device(self) -> str | None:
        """The device in its arguments, if there is one other than the CPU."""
        for word in (self.name, *self.args, *self.kwargs.values()):
            with suppress(RuntimeError):
                if isinstance(word, str | torch.device) and torch.device(word).type != "cpu":
                    return torch.device(word).type
        return None

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among its arguments."""
        return _tensors((self.args, self.kwargs))


class Home:
    """A function and its source file."""

    def __init__(self, function: Callable[..., Any]) -> None:
        inner: Any = unwrap(function)
        inner = unwrap(getattr(inner, "func", inner))  # functools.partial has `func`
        if not hasattr(inner, "__code__"):  # an object that can be called
            kind = type(inner)
            inner = kind.forward if issubclass(kind, torch.nn.Module) else kind.__call__
        self.code: CodeType | None = getattr(inner, "__code__", None)

    @property
    def file(self) -> str:
        """The file of the function; empty for one that is not written in Python."""
        return self.code.co_filename if self.code else ""

    @property
    def place(self) -> Place | None:
        """The line that defines it, below its decorators."""
        if self.code is None:
            return None
        line = self.code.co_firstlineno
        while linecache.getline(self.file, line).lstrip().startswith("@"):
            line += 1
        return Place(self.file, line)

    def innermost(self, frames: Iterable[tuple[FrameType, int]]) -> Place | None:
        """The innermost line of the user's code in `frames`, whose first is the outermost."""
        found = caller = None
        for frame, line in frames:
            file = frame.f_code.co_filename
            if file == self.file:
                found = caller = Place(file, line)
            elif _foreign(frame):
                found = Place(file, line, caller)
        return found

    def raised(self, error: BaseException) -> Place | None:
        """The innermost line of the user's code in the traceback of an error."""
        return self.innermost(traceback.walk_tb(error.__traceback__))


def _foreign(frame: FrameType) -> bool:
    """Whether a frame belongs neither to the standard library nor to one of `_LIBRARIES`."""
    root = str(frame.f_globals.get("__name__", "torch")).partition(".")[0]
    return root not in _LIBRARIES and root not in sys.stdlib_module_names


class Watch(TorchFunctionMode):
    """Records what a function does during one run."""

    def __init__(self, home: Home) -> None:
        super().__init__()
        self.home = home
        self.calls: list[Call] = []
        # The first call that turns other types into float64, leaves the CPU, or writes to an input.
        self.widened: Call | None = None
        self.moved: tuple[Call, str] | None = None
        self.wrote: Call | None = None
        # The last call that cuts the gradient, and the inputs that have none.
        self.cut: Call | None = None
        self.unused: tuple[int, ...] = ()
        # The last call that takes a number out of a tensor.
        self.number: Call | None = None
        # Guard of the trace -> the call in which torch needs it.
        self.guards: dict[int, Call] = {}
        self._failed: tuple[Call, BaseException] | None = None
        self._made: dict[int, tuple[Tensor, Call]] = {}
        self._inputs: tuple[Tensor, ...] = ()
        self._known: set[Any] = set()

    def run(self, function: Callable[..., Any], *inputs: Tensor) -> Any:
        """Call `function` and record its calls."""
        self._inputs = inputs
        with self:
            return function(*inputs)

    def maker(self, tensor: Tensor) -> Call | None:
        """The call that made a tensor."""
        made = self._made.get(id(tensor))
        return made[1] if made else None

    def failure(self, error: BaseException) -> Call | None:
        """The call from which an error comes."""
        if self._failed is None:
            return None
        call, raised = self._failed
        return call if any(cause is raised for cause in causes(error)) else None

    def call_of(self, node: torch.fx.Node) -> Call | None:
        """The call that a node of a graph comes from."""
        found = _MARK.search(node.stack_trace or "")
        if found is None:
            return None
        number = int(found[1])
        call = self.calls[number // 2]
        return replace(call, gradient=True) if number % 2 else call

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        call = Call(func, args, kwargs, self.home.innermost(self._frames()))
        number = 2 * len(self.calls)
        self.calls.append(call)
        _mark(number)
        versions = [x._version for x in self._inputs]
        before = len(self._needed)
        if call.name in ("item", "tolist"):
            self.number = call
        try:
            out = self._gradients(call) if _seeks_gradient(call) else func(*args, **kwargs)
        except Exception as error:
            self._failed = call, error
            raise
        finally:
            self.guards |= dict.fromkeys(range(before, len(self._needed)), call)
        if versions != [x._version for x in self._inputs]:
            self.wrote = self.wrote or call
        self._look(call, _tensors(out), number)
        return out

    def _frames(self) -> list[tuple[FrameType, int]]:
        """The frames between `run` and the call, the outermost first."""
        frames = []
        for frame, line in traceback.walk_stack(sys._getframe(2)):
            if frame.f_code is Watch.run.__code__:
                break
            frames.append((frame, line))
        return frames[::-1]

    @property
    def _needed(self) -> Sequence[Any]:
        for tensor in self._inputs:
            mode = getattr(tensor, "fake_mode", None)
            if mode is not None and mode.shape_env is not None:
                guards: Sequence[Any] = mode.shape_env.guards
                return guards
        return ()

    def _gradients(self, call: Call) -> Any:
        """The gradients that the exporter asks for; inputs without one are noted."""
        outputs, inputs = call.args[:2]
        if not outputs[0].requires_grad:
            self.unused = tuple(range(len(inputs)))
        else:
            found = torch.autograd.grad(outputs, inputs, allow_unused=True)
            self.unused = tuple(i for i, gradient in enumerate(found) if gradient is None)
            if not self.unused:
                return found
        raise RuntimeError("no gradient")

    def _look(self, call: Call, out: list[Tensor], number: int) -> None:
        given = call.tensors
        floats = [x for x in given if x.is_floating_point()]
        for x in out:
            self._made[id(x)] = x, call
            if x.dtype is torch.float64 and not (floats and all(_wide(y) for y in floats)):
                self.widened = self.widened or call
            if x.device.type != "cpu":
                self.moved = self.moved or (call, x.device.type)
            self._trail(x.grad_fn, number + 1)
        if out and any(x.requires_grad for x in given) and not any(x.requires_grad for x in out):
            self.cut = call

    def _trail(self, function: Any, number: int) -> None:
        """Mark the backward nodes of the operators that a call has added."""
        pending = [function]
        while pending:
            node = pending.pop()
            if node is not None and node not in self._known:
                self._known.add(node)
                node.register_prehook(lambda _: _mark(number))
                pending += [following for following, _ in node.next_functions]


def _mark(number: int) -> None:
    """Give `number` to all nodes that the trace adds from here on."""
    set_stack_trace([f"lossexport call {number}"])


def _seeks_gradient(call: Call) -> bool:
    return call.function is torch.autograd.grad and call.place is None


def _wide(x: Tensor) -> bool:
    return x.dtype is torch.float64


def _tensors(values: Any) -> list[Tensor]:
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and the chain of its causes."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__

"""Runs an op's function in eager PyTorch to find faults that need no graph to show."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lossexport.catalog.spec import Arrays, Deferred
from lossexport.catalog.spec import Tensor as Declared
from lossexport.catalog.variant import Variant
from lossexport.errors import CheckFailedError, LossexportError, one_line, printable
from lossexport.exporter import refusals
from lossexport.exporter.refusals import RefusalError
from lossexport.exporter.watch import Call, Home, Place, Watch
from lossexport.ops.binding import bind
from lossexport.parity.cases import cases
from lossexport.parity.oracle import Function, function

_LONGEST = 160


@dataclass(frozen=True, slots=True)
class Blame:
    """A refusal, and the line that it is about."""

    refusal: RefusalError
    place: Place | None
    gradient: bool = False

    @classmethod
    def of(cls, refusal: RefusalError, call: Call | None, default: Place | None) -> "Blame":
        """Blame a call of torch, whose name completes the refusal; without a call, `default`."""
        if call is None:
            return cls(refusal, default)
        if not call.gradient:
            refusal.words["name"] = call.shown
        return cls(refusal, call.place or default, call.gradient)

    def __str__(self) -> str:
        """A line such as FILE:LINE: `CODE` FAULT; REMEDY."""
        kind, words = self.refusal.kind, self.refusal.words
        text = kind.what.format_map(words)
        if self.place is not None:
            code = f"`{self.place.code}` " if self.place.code else ""
            whose = "the gradient of " if self.gradient and code else ""
            text = f"{self.place}: {whose}{code}{text}"
        return f"{text}; write {kind.write.format_map(words)}" if kind.write else text


@dataclass(slots=True)
class Boundary:
    """The function of an op, with example inputs and the outputs that it must have."""

    variant: Variant
    inputs: tuple[Declared, ...]
    outputs: tuple[Declared, ...]
    example: tuple[Tensor, ...]

    @property
    def home(self) -> Home:
        """The function itself."""
        given = self.variant.op.function
        return Home(given.resolve() if isinstance(given, Deferred) else given)

    def eager(self, call: Function) -> Blame | None:
        """The fault of `call`, the function with or without its gradient; None if it has none."""
        op, attributes = self.variant.op, self.variant.attributes
        functions: list[tuple[Callable[..., Any], Sequence[Declared]]] = [(call, self.outputs)]
        if self.inputs is op.inputs:  # the op itself and not a stage
            value = partial(bind(op), **attributes)
            functions.insert(0, (value, op.output_tensors(attributes, gradient=False)))
        for each, outputs in functions:
            if (found := self._look(each, outputs)) is not None:
                return found
        return None

    def _look(self, call: Callable[..., Any], outputs: Sequence[Declared]) -> Blame | None:
        watch = Watch(self.home)
        place = watch.home.place
        inputs = [x.clone() for x in self.example]
        try:
            results = watch.run(call, *inputs)
        except LossexportError:
            raise
        except Exception as error:
            # If it runs without the watch, the watch itself causes the failure.
            return None if self._runs(call) else self._raised(error, watch)
        if watch.moved is not None:
            moving, device = watch.moved
            return Blame.of(RefusalError(refusals.DEVICE, device=device), moving, place)
        for written in self.changed(inputs, [0] * len(inputs)):
            return Blame.of(RefusalError(refusals.WRITTEN, input=written), watch.wrote, place)
        results = results if isinstance(results, tuple) else (results,)
        for refusal, value in self.wrong(results, outputs):
            wide = watch.widened if refusal.kind is refusals.DOUBLE else None
            return Blame.of(refusal, wide or watch.maker(value), place)
        return None

    def _runs(self, call: Callable[..., Any]) -> bool:
        try:
            call(*(x.clone() for x in self.example))
        except Exception:
            return False
        return True

    def _raised(self, error: Exception, watch: Watch) -> Blame:
        home = watch.home
        if watch.unused:
            names = ", ".join(self.variant.op.gradient[index] for index in watch.unused)
            return Blame.of(RefusalError(refusals.GRADIENT, input=names), watch.cut, home.place)
        place = home.raised(error) or home.place
        failed = watch.failure(error)
        if failed is not None and (device := failed.device) is not None:
            return Blame(RefusalError(refusals.DEVICE, device=device), place)
        words: dict[str, Any] = {"error": described(error), "inputs": self._given}
        return Blame(RefusalError(refusals.RAISES, **words), place)

    @property
    def _given(self) -> str:
        pairs = zip(self.inputs, self.example, strict=True)
        return " and ".join(f"{item.name} {list(x.shape)}" for item, x in pairs)

    def changed(self, inputs: Iterable[Tensor], versions: Iterable[int]) -> list[str]:
        """The names of inputs that were written into since they had these versions."""
        return [
            item.name
            for item, x, version in zip(self.inputs, inputs, versions, strict=True)
            if x._version != version
        ]

    def wrong(
        self,
        values: Sequence[Any],
        outputs: Sequence[Declared],
        number: Callable[[Any], int] = int,
    ) -> Iterator[tuple[RefusalError, Any]]:
        """Yield a refusal for each difference between results and declaration, with the result.

        `number` turns a size into a number. Stages are not checked, because the body of a stage
        may give one part while its kernel gives several.
        """
        if self.inputs is not self.variant.op.inputs:
            return
        odd = [type(value).__name__ for value in values if not isinstance(value, Tensor)]
        if odd or len(values) != len(outputs):
            given = f"a value of type {odd[0]}" if odd else f"{len(values)} tensors"
            names = ", ".join(item.name for item in outputs)
            yield RefusalError(refusals.RETURNS, given=given, wanted=names), None
            return
        dims = {
            dim: size
            for item, given in zip(self.inputs, self.example, strict=True)
            for dim, size in zip(self.variant.shape(item), given.shape, strict=True)
        }
        for value, declared in zip(values, outputs, strict=True):
            words: dict[str, Any] = {"output": declared.name, "inputs": self._given}
            dtype = str(value.dtype).removeprefix("torch.")
            if dtype != (wanted := self.variant.numpy_dtype(declared)):
                kind = refusals.DOUBLE if dtype == "float64" else refusals.DTYPE
                yield RefusalError(kind, dtype=dtype, wanted=wanted, **words), value
            sizes = [number(size) for size in value.shape]
            shape = self.variant.shape(declared)
            if sizes != [dims.get(dim, dim) for dim in shape]:
                words |= {"shape": str(sizes), "wanted": f"[{', '.join(map(str, shape))}]"}
                yield RefusalError(refusals.SHAPE, **words), value


def tensors(variant: Variant, arrays: Arrays) -> tuple[Tensor, ...]:
    """The inputs of a variant as tensors of its types."""
    return tuple(
        torch.tensor(arrays[item.name]).to(getattr(torch, variant.numpy_dtype(item)))
        for item in variant.op.inputs
    )


def described(error: BaseException) -> str:
    """The type and the message of an error, on one line."""
    text = printable(one_line(error))
    cut = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return f"{type(error).__name__}: {cut}" if cut else type(error).__name__


@contextmanager
def blamed(variant: Variant) -> Iterator[None]:
    """Report an error of a variant's function during the comparison in one line.

    Raises LossexportError, with the line to blame, if the function fails for one of the sizes or
    its results are not those declared.
    """
    try:
        yield
    except (LossexportError, CheckFailedError):
        raise
    except Exception as error:
        op, call = variant.op, function(variant)
        for case in cases(variant, seeds=1, elements=2**14):
            inputs = tensors(variant, case.inputs(variant))
            if blame := Boundary(variant, op.inputs, variant.outputs, inputs).eager(call):
                raise LossexportError(f"{op.name}: {blame}") from error
        raise

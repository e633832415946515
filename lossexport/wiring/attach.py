"""`attach`: append ops and expressions to the graph of a detector."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from lossexport import __version__, arguments
from lossexport.detectors.detector import Detector
from lossexport.errors import LossexportError, one_line, shown, within
from lossexport.exporter import rtx
from lossexport.exporter.versions import check_opset
from lossexport.files import write_bytes
from lossexport.names import BoxFormat, Builder, Precision
from lossexport.runtime.guard.calls import CALLS, calls
from lossexport.runtime.ort import open_session
from lossexport.runtime.session import Source
from lossexport.wiring import detector as files
from lossexport.wiring import recipe as recipes
from lossexport.wiring.build import Build
from lossexport.wiring.chain import Chain, check
from lossexport.wiring.graph import Term
from lossexport.wiring.recipe import Recipe, Step
from lossexport.wiring.unchanged import Original

_STEPS = 4
_ENTRY = "lossexport.attached."
_Progress = Callable[[int, int, str], None] | None


@dataclass(frozen=True, slots=True)
class Attached:
    """The precision of the op that was added, and its outputs, such as `boxes float32[100,4]`.

    `inputs` are the new inputs of the file, in the same form. The precision is that of the last op,
    None if only expressions were added. `rtx` is the verdict of TensorRT-RTX's parser, if it is
    installed. `notes` say what was found in the detector for a recipe, and which of its versions
    were raised, and why.
    """

    precision: Precision | None
    outputs: tuple[str, ...]
    rtx: rtx.Parsed
    inputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def attach(
    model: str | Path,
    op: str | None,
    inputs: Mapping[str, str],
    out: str | Path,
    *,
    attributes: Mapping[str, Any] | None = None,
    box_format: BoxFormat = "xyxy",
    image_size: tuple[float, float] | None = None,
    prefix: str = "",
    new_inputs: Mapping[str, str | None] | None = None,
    outputs: Mapping[str, str] | None = None,
    gradient: bool = False,
    opset: int | None = None,
    build: bool = False,
    shapes: Mapping[str, str | int] | None = None,
    backend: Builder = "rtx",
    compute_capabilities: Sequence[str] = (),
    progress: _Progress = None,
) -> Attached:
    """Append `op` to the detector `model` and write the result to `out`.

    `inputs` maps every input of the op to a tensor of the detector, or to an expression over its
    tensors (see `expression`). A batch of 1 is dropped; of a larger one, `output[1]` picks an
    image, and an op of batches, such as `batched_nms`, takes it whole. [C,A] is transposed to
    [A,C], and boxes are converted from `box_format` and, if they are normalised, multiplied by
    `image_size` (width, height). The op takes the float type of the mapped tensors, or float32 if
    their types differ or are float64. Its outputs are added to the detector's own, and with
    `gradient` so is `grad_INPUT` for each input that it has a gradient to.

    `new_inputs` become inputs of the file: None for an input of the op, which says its type, or a
    type, as `float32[80]`, for an input that expressions use. `outputs` are expressions that become
    outputs, also over the op's outputs; `op` may then be None. Names of new inputs and outputs
    begin with `prefix`; expressions name them without it.

    The op is written for the detector's opset, or for `opset`, to which the detector is then
    raised, as is one that is older than 17. With `build`, the engine is written beside `out`;
    `shapes`, `backend` and `compute_capabilities` are as in `export`, and `shapes` has a range for
    each open dimension of the inputs.

    Before the file is written, the op is compared with float64 PyTorch, and the file is checked,
    loaded in onnxruntime and compared with the detector. `progress` is called with `(done, total,
    step)`. Raises LossexportError on bad usage or input, and if the detector does not run here.
    """
    inputs = arguments.mapping("inputs", inputs)
    attributes = arguments.mapping("attributes", attributes)
    expressions = arguments.mapping("outputs", outputs)
    if op is None and (inputs or attributes or gradient or not expressions):
        raise LossexportError("without an op, an attachment has outputs, and none of its inputs")
    step = Step(
        op=op or "",
        inputs=dict(inputs),
        attributes=dict(attributes),
        box_format=box_format,
        image_size=image_size,
        gradient=gradient,
    )
    recipe = Recipe(
        inputs=_new_inputs(new_inputs),
        steps=[] if op is None else [step],
        outputs=dict(expressions),
    )
    engine = Build.of(arguments.path("out", out), build, backend, shapes, compute_capabilities)
    return _Attachment(model, out, recipe, prefix, opset, engine, progress).write()


def attach_recipe(
    model: str | Path,
    recipe: str | Path,
    out: str | Path,
    *,
    inputs: Mapping[str, str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    prefix: str = "",
    new_inputs: Mapping[str, str | None] | None = None,
    outputs: Mapping[str, str] | None = None,
    gradient: bool = False,
    detector: str | Path = "auto",
    opset: int | None = None,
    build: bool = False,
    shapes: Mapping[str, str | int] | None = None,
    backend: Builder = "rtx",
    compute_capabilities: Sequence[str] = (),
    progress: _Progress = None,
) -> Attached:
    """Put the chain of a recipe behind the detector `model` and write the result to `out`.

    `recipe` is a file, the name of a shipped recipe, or `auto` for that of the layout that was
    found. If the recipe is for certain layouts, that of the detector is found in its graph;
    `detector` is a description, or the name of a layout, where this is not enough.

    `inputs`, `attributes` and `gradient` are put over those of the recipe's only op, and
    `new_inputs` and `outputs` are added to the recipe's; see `attach`, also for what is checked.
    """
    engine = Build.of(arguments.path("out", out), build, backend, shapes, compute_capabilities)
    given = str(arguments.path("recipe", recipe))
    chosen = None if given == recipes.AUTO else recipes.load(Path(given))
    found = None
    if chosen is None or chosen.layouts:
        path = arguments.path("model", model)
        found = Detector(path, arguments.path("detector", detector))
        if chosen is None:
            given, chosen = recipes.find(found)
    chosen = chosen.over(
        arguments.mapping("inputs", inputs),
        arguments.mapping("attributes", attributes),
        _new_inputs(new_inputs),
        arguments.mapping("outputs", outputs),
        gradient,
    )
    return _Attachment(
        model, out, chosen, prefix, opset, engine, progress, Path(given).stem, found
    ).write()


def _new_inputs(given: Mapping[str, str | None] | None) -> dict[str, str]:
    named = arguments.mapping("new_inputs", given)
    return {name: "" if text is None else text for name, text in named.items()}


class _Attachment:
    """A recipe that is put behind a detector; `name` is its name and `found` the layout's."""

    def __init__(
        self,
        model: str | Path,
        out: str | Path,
        recipe: Recipe,
        prefix: str,
        opset: int | None,
        engine: Build | None,
        progress: _Progress,
        name: str = "",
        found: Detector | None = None,
    ) -> None:
        self.path, self.target = arguments.path("model", model), arguments.path("out", out)
        self.recipe, self.name, self.found = recipe, name, found
        self.prefix = arguments.text("prefix", prefix)
        self._opset = None if opset is None else check_opset(opset)
        self._engine, self._progress = engine, progress
        with within(name) if name else nullcontext():
            check(recipe)
        self._section = "" if found is None else recipes.section(recipe, found)
        if not self.prefix.isprintable():
            raise LossexportError(f"prefix {shown(prefix)}: must be printable text")

    def _step(self, done: int, text: str) -> None:
        if self._progress is not None:
            self._progress(done, _STEPS, text)

    def write(self) -> Attached:
        """Wire, check and write the file."""
        self._step(0, "reading")
        loaded = files.load(self.path, self._opset)
        data, model = loaded.data, loaded.model
        chain = Chain(self.path, model, self.prefix)
        expressions = self.recipe.tensors
        if self.found is not None:
            with within(self.path):
                chain.compiler.names.update(recipes.facts(chain.compiler, self.found, self.recipe))
            expressions = self.recipe.layouts[self._section] | expressions
        chain.add(self.recipe, expressions)
        self._step(0, "looking for inputs that fit")
        profile = self._engine.shapes(self.path, model.graph.inputs) if self._engine else {}
        original = Original(self.path, data, loaded.converted)
        self._step(1, "exporting " + ", ".join(step.op for step in self.recipe.steps))
        chain.define()
        self._describe(chain, expressions)
        _state_calls(model, data)
        result = _checked(self.target, model)
        new = {str(value.name) for value in chain.inputs}
        with ThreadPoolExecutor(1) as beside:  # the parser is another process
            parsing = beside.submit(rtx.parse, result)
            original.check_same(self.target, result, lambda text: self._step(2, text), new)
            self._step(3, "parsing with TensorRT-RTX")
            parsed = parsing.result()
        if self._engine is None:
            write_bytes(self.target, result)
        else:
            self._step(3, "building the engine")
            self._engine.write(self.target, result, profile, parsed)
        self._step(_STEPS, "done")
        precision = chain.added[-1].variant.precision if chain.added else None
        notes = (*(() if self.found is None else self.found.why[:1]), *loaded.notes)
        return Attached(precision, _shown(chain.outputs), parsed, _shown(chain.inputs), notes)

    def _describe(self, chain: Chain, expressions: Mapping[str, str]) -> None:
        """State in the metadata what was attached."""
        stated = chain.model.metadata_props
        for added in chain.added:
            facts = {**added.facts, "version": __version__}
            stated[f"{_ENTRY}{added.node.name}"] = json.dumps(facts, sort_keys=True)
        if not (self.name or expressions or self.recipe.outputs):
            return
        facts = {
            "recipe": self.name or None,
            "layout": self._section or None,
            "inputs": self.recipe.inputs,
            "tensors": {n: chain.portable(text) for n, text in expressions.items()},
            "outputs": {n: chain.portable(text) for n, text in self.recipe.outputs.items()},
            "version": __version__,
        }
        number, key = 1, f"{_ENTRY}{self.prefix}expressions"
        while key in stated:
            number += 1
            key = f"{_ENTRY}{self.prefix}expressions_{number}"
        stated[key] = json.dumps(facts, sort_keys=True)


def _shown(values: list[ir.Value]) -> tuple[str, ...]:
    return tuple(f"{value.name} {Term.of(value)}" for value in values)


def _state_calls(model: ir.Model, original: bytes) -> None:
    """Note what our calls are, so that kernels may run them for as long as they are the same.

    Nothing is said of a model whose own calls were changed, or not noted, before.
    """
    before, digest = calls(original)
    if before and model.metadata_props.pop(CALLS, None) != digest:
        return
    data = ir.to_proto(model).SerializeToString(deterministic=True)
    _, model.metadata_props[CALLS] = calls(data)


def _checked(out: Path, model: ir.Model) -> bytes:
    """The bytes of a model that the checker, the guard and onnxruntime accept."""
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    try:
        onnx.checker.check_model(data)
    except Exception as error:  # any exception of its C++ code
        raise LossexportError(f"{out}: would not be valid: {one_line(error)}") from error
    open_session(Source(out, data, None), "ort", "cpu")
    return data

"""`export`: traces, builds and checks ops, then writes all of the files or none."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lossexport import __version__, arguments
from lossexport.catalog import BUILTIN, CATALOG, find
from lossexport.catalog.spec import Tensor
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import CheckFailedError, LossexportError, shown, within
from lossexport.exporter import checked, engine, helpers, recipe
from lossexport.exporter.recipe import Settings
from lossexport.exporter.versions import OPSET, check_opset, ir_version
from lossexport.files import appear_together, check_folder, sha256
from lossexport.manifest import (
    Artifact,
    BackendParity,
    Manifest,
    ProofRecord,
    RangeRecord,
    TensorRecord,
    load_manifest,
    merge,
    save_manifest,
)
from lossexport.names import FILE_FORMATS, PRECISIONS, Builder, FileFormat, Precision
from lossexport.progress import Step

if TYPE_CHECKING:
    from lossexport.ranges import Image


@dataclass(frozen=True, slots=True)
class _Job:
    variant: Variant
    formats: tuple[FileFormat, ...]
    opset: int

    def task(self, builder: Builder, compute_capabilities: tuple[str, ...]) -> helpers.Task:
        wanted = builder if "engine" in self.formats else None
        return helpers.Task.of(self.variant, wanted, compute_capabilities, self.opset)


def export(
    op: str | Sequence[str] | None,
    out: str | Path,
    *,
    recipe_file: str | Path | None = None,
    formats: Sequence[FileFormat] | None = None,
    gradient: bool | None = None,
    precision: Precision | None = None,
    opset: int | None = None,
    attributes: Mapping[str, Any] | None = None,
    shapes: Mapping[str, str | int] | None = None,
    backend: Builder = "rtx",
    compute_capabilities: Sequence[str] = (),
    prove: bool = False,
    image_size: tuple[float, float] | None = None,
    progress: Step | None = None,
) -> Manifest:
    """Export ops to the folder `out` and return its manifest.

    `op` is a name, several names, or None for all ops (those of the recipe if there is one). Each
    op is written to `OP.onnx`, with `gradient` also to `OP.grad.onnx`, and to `.engine` files with
    the same stems if `formats` asks for them. `attributes` apply to every op that has them.
    `shapes` maps a dimension to "MIN:OPT:MAX" or a fixed size. Settings that are not given come
    from the recipe. Otherwise the defaults are onnx, no gradient, fp32, opset 20, and the
    catalogue's attributes and shapes. `opset` is one from 17 to 23.

    With `prove`, for fp16 and bf16, the manifest records whether every result in a graph is proved
    to stay within the type that computes it, for boxes in an image of `image_size` (width, height)
    in pixels, 640 x 640 by default (docs/precision.md).

    Every graph is compared with float64 PyTorch before anything is written. Raises LossexportError
    on bad usage and CheckFailedError if a graph is wrong or, with `prove`, overflows for an input
    that was found; in both cases `out` does not change.
    """
    folder = arguments.path("out", out)
    arguments.check_function("progress", progress)
    compute_capabilities = arguments.several("compute_capabilities", compute_capabilities)
    given = Settings(
        formats=None if formats is None else arguments.several("formats", formats),
        precisions=None if precision is None else [precision],
        opset=None if opset is None else check_opset(opset),
        gradient=gradient,
        attributes=dict(arguments.mapping("attributes", attributes)),
        shapes=dict(arguments.mapping("shapes", shapes)),
    )
    _check_settings(given)
    names = None if op is None else arguments.several("op", op)
    recipe_file = arguments.optional_path("recipe_file", recipe_file)
    plan = _plan(names, recipe_file, given)
    with nullcontext() if recipe_file is None else within(recipe_file):
        jobs = list(_jobs(plan, names, given))
    image = _image(prove, image_size, jobs)
    if any("engine" in job.formats for job in jobs):
        engine.module(backend)  # before any work
    unknown = _unknown(jobs)
    check_folder(folder)
    tasks = [job.task(backend, tuple(compute_capabilities)) for job in jobs]
    shared = {index: tasks[index] for index in unknown if jobs[index].variant.op.name in BUILTIN}
    made: dict[int, list[Artifact]] = {}
    with appear_together(folder) as stage, helpers.crew(shared) as crew:
        existing = load_manifest(folder)  # once no other run can change it
        for index in _order(len(jobs), crew):
            if progress:
                progress(crew.claimed - 1, len(jobs), jobs[index].variant.stem)
            made[index] = _make(jobs[index], tasks[index], stage, image)
        entries = [entry for index in range(len(jobs)) for entry in made[index]]
        manifest = merge(existing, entries, _generator())
        save_manifest(stage, manifest)
    if progress:
        progress(len(jobs), len(jobs), "done")
    return manifest


def _image(prove: bool, size: object, jobs: list[_Job]) -> "Image | None":
    """The image to prove the files for; None if they are not to be proved."""
    if not isinstance(prove, bool):
        raise arguments.refuse("prove", prove, "true or false")
    if not prove:
        if size is not None:
            raise LossexportError(f"image_size {shown(size)}: is for prove alone")
        return None
    from lossexport.ranges import image_size

    for job in jobs:
        if job.variant.precision == "fp32":
            raise LossexportError(
                f"prove: is for fp16 and bf16, the precision of {job.variant.stem} is fp32"
            )
    return image_size(size)


def _unknown(jobs: list[_Job]) -> list[int]:
    """The jobs that have to be made, because no equal graph is known.

    Raises LossexportError if one of them has a size or a function that cannot be exported.
    """
    unknown = [index for index, job in enumerate(jobs) if not checked.known(job.variant, job.opset)]
    if unknown:
        from lossexport.parity.cases import check_sizes  # imports torch
        from lossexport.parity.trial import trial

        for index in unknown:
            check_sizes(jobs[index].variant)
            trial(jobs[index].variant)
    return unknown


def _order(count: int, crew: helpers.Crew) -> Iterator[int]:
    """The jobs as this process can take them, those that helpers have made at the end."""
    others = []
    for index in range(count):
        if crew.claim(index):
            yield index
        else:
            others.append(index)
    crew.wait()
    yield from others


def _check_settings(given: Settings) -> None:
    for field, values, known in (
        ("format", given.formats, FILE_FORMATS),
        ("precision", given.precisions, PRECISIONS),
    ):
        for value in values or []:
            if not isinstance(value, str) or value not in known:
                raise LossexportError(f"{field} {shown(value)}: must be one of {', '.join(known)}")


def _plan(
    names: list[str] | None, recipe_file: str | Path | None, given: Settings
) -> list[tuple[str, Settings]]:
    """The requested ops, each with its settings."""
    if recipe_file is None:
        return [(name, given) for name in (CATALOG if names is None else names)]
    loaded = list(recipe.load(Path(recipe_file)).settings())
    known = [name for name, _ in loaded]
    for name in names or []:
        if name not in known:
            raise LossexportError(f"{recipe_file}: has no op {shown(name)}; it has: {known}")
    return [(name, given.over(own)) for name, own in loaded if not names or name in names]


def _jobs(
    plan: list[tuple[str, Settings]], names: list[str] | None, given: Settings
) -> Iterator[_Job]:
    """Every graph to make. The whole request is checked before the first graph is traced."""
    # Some of the ops may lack an attribute or dimension; if all of them do, it is a mistake.
    ops = [find(name) for name, _ in plan]
    for kind, wanted, has in (
        ("attribute", given.attributes, {a.name for op in ops for a in op.attributes}),
        ("dimension", given.shapes, {dim for op in ops for dim in op.dims}),
    ):
        for name in wanted:
            if name not in has:
                names_text = ", ".join(sorted(has)) or "none"
                subject = ops[0].name if len(ops) == 1 else "no op"
                verb = "it has" if len(ops) == 1 else "they have"
                raise LossexportError(
                    f"{subject}: unknown {kind} {shown(name)}; {verb}: {names_text}"
                )
    if names is not None and given.gradient and not any(op.gradient for op in ops):
        raise LossexportError(f"{ops[0].name}: has no gradient graph; it is a {ops[0].kind}")
    stems: set[str] = set()
    for op, (_, settings) in zip(ops, plan, strict=True):
        known_attributes = {attribute.name for attribute in op.attributes}
        attributes = {k: v for k, v in settings.attributes.items() if k in known_attributes}
        ranges = {
            name: Range.parse(name, text)
            for name, text in settings.shapes.items()
            if name in op.dims
        }
        kinds = (False, True) if settings.gradient and op.gradient else (False,)
        for precision in settings.precisions or ["fp32"]:
            for with_gradient in kinds:
                variant = Variant.make(op, attributes, precision, with_gradient, ranges)
                if variant.stem in stems:
                    raise LossexportError(f"{variant.stem}: is asked for twice")
                stems.add(variant.stem)
                formats: list[FileFormat] = settings.formats or ["onnx"]
                yield _Job(variant, tuple(formats), settings.opset or OPSET)


def _proof(model: bytes, variant: Variant, image: "Image | None") -> ProofRecord | None:
    if image is None:
        return None
    from lossexport.ranges import prove, sentence

    record = prove(model, variant, image, limit=True)
    if record.status == "overflows":
        raise CheckFailedError(f"{variant.stem}: {sentence(record)}: nothing was written")
    return record


def _make(job: _Job, task: helpers.Task, stage: Path, image: "Image | None") -> list[Artifact]:
    variant = job.variant
    graph, built = helpers.made(task, variant)
    proof = _proof(graph.model, variant, image)
    entries = []
    if "onnx" in job.formats:
        name = f"{variant.stem}.onnx"
        (stage / name).write_bytes(graph.model)
        entries.append(_describe(job, graph.model, name, graph.measured))
    if built is not None and task.builder is not None:
        name = f"{variant.stem}.engine"
        (stage / name).write_bytes(built.data)
        version_of = str(engine.module(task.builder).__version__)
        unseen = BackendParity(task.builder, version_of, "not run here", "export runs no engine")
        entries.append(
            msgspec.structs.replace(
                _describe(job, built.data, name, unseen),
                builder=task.builder,
                builder_version=version_of,
                compute_capabilities=list(task.compute_capabilities),
                profile=_profile(built.ranges, variant),
                source=sha256(graph.model),
            )
        )
    return [msgspec.structs.replace(entry, proof=proof) for entry in entries]


def _describe(job: _Job, data: bytes, file: str, measured: BackendParity) -> Artifact:
    from lossexport.parity.tolerance import tolerances

    variant = job.variant

    def info(tensor: Tensor) -> TensorRecord:
        shape = list(variant.shape(tensor))
        return TensorRecord(tensor.name, variant.numpy_dtype(tensor), shape, tensor.text)

    return Artifact(
        file=file,
        sha256=sha256(data),
        size_bytes=len(data),
        op=variant.op.name,
        kind="gradient" if variant.gradient else "value",
        precision=variant.precision,
        attributes={
            name: list(value) if isinstance(value, tuple) else value
            for name, value in variant.attributes.items()
        },
        inputs=[info(tensor) for tensor in variant.op.inputs],
        outputs=[info(tensor) for tensor in variant.outputs],
        tolerance=tolerances(variant),
        opset=job.opset,
        ir_version=ir_version(job.opset),
        profile=_profile(variant.ranges, variant),
        parity=[measured],
    )


def _profile(ranges: Mapping[str, Range], variant: Variant) -> dict[str, RangeRecord]:
    return {
        name: RangeRecord(ranges[name].min, ranges[name].opt, ranges[name].max)
        for name in variant.dynamic
    }


def _generator() -> dict[str, str]:
    packages = ("torch", "onnx", "onnx-ir", "onnxscript")
    return {"lossexport": __version__} | {name: version(name) for name in packages}

"""Which op a file holds and which backends can run it. Importing this module imports no torch."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lossexport import arguments
from lossexport.catalog import find
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError, within
from lossexport.files import read_bytes
from lossexport.manifest import MANIFEST_NAME, Artifact, load_manifest
from lossexport.names import KERNEL_BACKENDS, Builder
from lossexport.parity.tolerance import tolerances
from lossexport.runtime import NAMES, available, ort
from lossexport.runtime.backends import MAX_BYTES, listed
from lossexport.runtime.identity import identify as from_metadata
from lossexport.runtime.native import kernel, kernel_name, kernels
from lossexport.runtime.onnx_guard import CLAIM, check_model, claim
from lossexport.runtime.session import Source
from lossexport.runtime.trt import check_header


@dataclass(frozen=True, slots=True)
class Target:
    """A backend that a file is checked on; for onnxruntime, also the provider."""

    backend: str
    provider: str = "cpu"

    @property
    def label(self) -> str:
        """The name in reports, such as `ort-cpu`, `ort-kernels`, `native` or `tensorrt`."""
        return f"{self.backend}-{self.provider}" if self.backend == "ort" else self.backend

    def among(self, names: Iterable[str]) -> bool:
        """Whether `names` has the name of the target or of its backend."""
        return not {self.label, self.backend}.isdisjoint(names)

    def absence(self, variant: Variant) -> str | None:
        """Why a file of this variant cannot run here; None if it can."""
        here = available()[self.backend]
        if not here.runs:
            return here.reason or "no reason is given"
        if self.backend == "ort" and ort.PROVIDERS[self.provider] not in here.providers:
            return ort.absence(self.provider) or "no reason is given"
        if self.backend in KERNEL_BACKENDS and kernel(variant) not in kernels():
            return f"no native kernel of {kernel(variant)}"
        return None


_ORT = tuple(Target("ort", provider) for provider in ort.PROVIDERS)
TARGETS = (*NAMES, *(target.label for target in _ORT))
"""Every name of a target, or of a backend with several."""


def check_names(option: str, names: object) -> list[str]:
    """`names` as a list. Raises LossexportError on a name that no target has."""
    found = arguments.several(option, names)
    for name in found:
        if name not in TARGETS:
            raise LossexportError(f"backend {name!r}: not one of {', '.join(TARGETS)}")
    return found


def required(label: str, names: Collection[str]) -> bool:
    """Whether `names`, which have to run, include the target `label`; `ort` means the CPU."""
    return label in names or (label == "ort-cpu" and "ort" in names)


def targets(
    op: str, gradient: bool, builder: Builder | None, names: Sequence[str] | None = None
) -> list[Target]:
    """The targets that a file of the op can run on; with `names`, only those among them.

    An engine runs on the backend that built it. An ONNX file runs on onnxruntime, and on the native
    kernel of the op if there is one or `names` are given.
    """
    if builder is not None:
        found = [Target(builder)]
    else:
        has_kernel = names or kernel_name(op, gradient) in kernels()
        found = [*_ORT, *map(Target, KERNEL_BACKENDS)] if has_kernel else [*_ORT]
    return [target for target in found if names is None or target.among(names)]


def files(path: Path) -> Iterator[tuple[Path, Artifact | None]]:
    """The file `path`, or the files in the manifest of the folder `path`, each with its entry.

    Raises LossexportError on a folder without a manifest, or with one that lists nothing.
    """
    if not path.is_dir():
        yield path, None
        return
    manifest = load_manifest(path)
    if manifest is None:
        raise LossexportError(f"{path}: has no manifest.json")
    if not manifest.artifacts:
        raise LossexportError(f"{path / MANIFEST_NAME}: lists no artifacts")
    for entry in manifest.artifacts:
        yield path / entry.file, entry


def identify(path: Path) -> tuple[Variant, Artifact | None]:
    """The variant of a file, from the manifest beside it or from an `.onnx` file's metadata."""
    data = read_bytes(path, MAX_BYTES)
    entry = listed(path, data)
    if entry is not None:
        if entry.builder is not None:
            check_header(Source(path, data, entry), entry)
        with within(f"{path}: manifest.json"):
            return _listed_variant(entry), entry
    if path.suffix == ".engine":
        raise LossexportError(f"{path}: no manifest.json beside it lists it, so it is not trusted")
    if path.suffix != ".onnx":
        raise LossexportError(f"{path}: suffix {path.suffix!r}, expected .onnx or .engine")
    return from_metadata(check_model(data, str(path)), str(path)), None


def edited(path: Path) -> bool:
    """Whether the graph of an `.onnx` file is not the one that its metadata claim."""
    if path.suffix != ".onnx":
        return False
    data = read_bytes(path, MAX_BYTES)
    metadata = check_model(data, str(path)).metadata
    return metadata.get(CLAIM) != claim(data, metadata)


def _listed_variant(entry: Artifact) -> Variant:
    """The variant of an entry. The entry's tensors and profile must be those of the variant."""
    op = find(entry.op, in_file=True)
    fixed = {
        dim: Range(size, size, size)
        for tensor, info in zip(op.inputs, entry.inputs, strict=False)
        for dim, size in zip(tensor.shape, info.shape, strict=False)
        if isinstance(dim, str) and isinstance(size, int) and dim in op.dims
    }
    profile = {name: Range(size.min, size.opt, size.max) for name, size in entry.profile.items()}
    variant = Variant.make(
        op, entry.attributes, entry.precision, entry.kind == "gradient", fixed | profile
    )
    if found := difference(variant, entry.inputs, entry.outputs):
        raise LossexportError(found)
    tolerance = tolerances(variant)
    if entry.tolerance != tolerance:
        name = next(n for n in tolerance if entry.tolerance.get(n) != tolerance[n])
        raise LossexportError(
            f"tolerance of {name} is {entry.tolerance.get(name)}, the catalogue's is "
            f"{tolerance[name]}; export again"
        )
    if set(profile) != set(variant.dynamic):
        raise LossexportError(f"profile of {list(profile)}, not of {list(variant.dynamic)}")
    return variant


class _Info(Protocol):
    """A tensor as a file or a manifest describes it."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> Sequence[str | int]: ...


def difference(variant: Variant, inputs: Iterable[_Info], outputs: Iterable[_Info]) -> str:
    """How names, types or shapes differ from the catalogue's, in words; nothing if equal."""
    for kind, tensors, found in (
        ("input", variant.op.inputs, inputs),
        ("output", variant.outputs, outputs),
    ):
        wanted = [(t.name, variant.numpy_dtype(t), list(variant.shape(t))) for t in tensors]
        actual = [(info.name, info.dtype, list(info.shape)) for info in found]
        if wanted != actual:
            return f"{kind}s are {actual}, the catalogue's are {wanted}"
    return ""

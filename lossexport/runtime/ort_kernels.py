"""The backend `ort-kernels`: onnxruntime, with the native kernels in place of our functions.

The library of the kernels is also one of custom ops, which any binding of onnxruntime registers.
onnxruntime then runs the kernel for a node of an exported or attached file, and not the body of its
function; the rest of the graph it runs as ever.
"""

import functools
from dataclasses import replace
from pathlib import Path

from lossexport.catalog import CATALOG
from lossexport.errors import LossexportError
from lossexport.runtime import native, ort
from lossexport.runtime.guard.calls import CALLS, DOMAIN, calls
from lossexport.runtime.onnx_guard import CLAIM, ModelSummary, check_model, claim
from lossexport.runtime.session import Availability, Session, Source

SUFFIX = ".onnx"
# What a node tells TensorRT's parser.
_PLUGIN = frozenset({"plugin_namespace", "plugin_version", "aot"})


def onnxruntime_library() -> Path:
    """The library for `SessionOptions.register_custom_ops_library`, in any language.

    Raises LossexportError where there is none that fits this release.
    """
    native.library()
    return native.path().absolute()


def availability(backend: str = "ort-kernels") -> Availability:
    """Whether there are both onnxruntime and the library; the version is that of onnxruntime."""
    runtime, kernels = ort.availability(backend), native.availability(backend)
    missing = next((one for one in (runtime, kernels) if not one.runs), None)
    return missing or replace(runtime, providers=(ort.PROVIDERS["cpu"],))


def runs(source: Source) -> bool:
    """Whether the kernels may run nodes of a file, and can here."""
    if DOMAIN.encode() not in source.data or not availability().runs:
        return False
    return _obstacle(check_model(source.data, str(source.path)), source.data) is None


def open_session(source: Source, backend: str, provider: str) -> Session:
    """Guard the model, check that the kernels may run its nodes, and hand it to onnxruntime."""
    if provider != "cpu":
        raise LossexportError(f"provider {provider!r}: backend {backend!r} runs on the cpu alone")
    here = availability(backend)
    if not here.runs:
        raise LossexportError(f"{source.path}: not run here: {here.reason}; {here.fix}")
    model = check_model(source.data, str(source.path))
    if (reason := _obstacle(model, source.data)) is not None:
        raise LossexportError(f"{source.path}: {reason}; backend 'ort' runs it as it is")
    library = onnxruntime_library()
    return ort.OrtSession(source, backend, ort.PROVIDERS[provider], model.plan, library)


def _obstacle(model: ModelSummary, data: bytes) -> str | None:
    """Why the kernels may not run the nodes of a file; None where they may.

    onnxruntime itself would use them for every node of a known name, whatever its version, its
    attributes and the body of its function.
    """
    found, digest = calls(data)
    found = [call for call in found if call.op in _attributes()]
    if not found:
        return "no node has a native kernel"
    if (version := model.opsets.get(DOMAIN)) != 1:
        return f"version {version} of the domain {DOMAIN} is unknown"
    for call in found:
        if unknown := call.attributes - _attributes()[call.op]:
            return f"attribute {min(unknown)} of {call.op} is unknown"
    metadata = model.metadata
    if metadata.get(CALLS) != digest and metadata.get(CLAIM) != claim(data, metadata):
        return "the graph is not what its metadata say"
    return None


@functools.cache
def _attributes() -> dict[str, frozenset[str]]:
    """What the library computes, by the type of the node: the attributes that it may have."""
    found = {}
    for name in native.kernels():
        op = CATALOG.get(name.removesuffix(".grad"))
        if op is not None:
            node = op.class_name + ("WithGrad" if name.endswith(".grad") else "")
            found[node] = _PLUGIN.union(attribute.name for attribute in op.attributes)
    return found

"""Bounds on an ONNX file, checked before any runtime sees its bytes.

Needs neither `onnx` nor `protobuf`. It bounds the contents of a file, its size after its functions
are inlined, and the work of graph optimisation on its constants when it is loaded. It does not
bound what a valid graph computes at run time.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from lossexport.errors import LossexportError
from lossexport.runtime.guard.inlining import Plan, plan
from lossexport.runtime.guard.reading import Checks, Function, Graph, Limits
from lossexport.runtime.guard.schema import METADATA_PROPS, SCHEMA
from lossexport.runtime.wire import Message, Reader, WireError

__all__ = ["CLAIM", "Limits", "ModelSummary", "Plan", "check_model", "claim"]

CLAIM = "lossexport.claim"
_MOST_KEPT = 2**26
_KEPT = 4


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """The contents of a file that passed the guard.

    `nodes` counts every call of a function and the nodes that replace it. `sizes` are the
    dimensions of the inputs, None for symbolic ones. `plan` says how far it may be optimised.
    """

    ir_version: int
    opsets: dict[str, int]
    nodes: int
    functions: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sizes: dict[str, tuple[int | None, ...]]
    metadata: dict[str, str]
    plan: Plan


_passed: dict[tuple[bytes, Limits] | None, ModelSummary] = {}
"""The summaries of the last files that passed, by their bytes' hash and the limits."""


def check_model(data: bytes, source: str, limits: Limits | None = None) -> ModelSummary:
    """Walk the ONNX model `data`; `source` names it in messages.

    Raises LossexportError, naming file, field and value, for malformed wire data, any external
    data, a tensor whose data does not fill its dimensions, or more than `limits` allow; the last
    as soon as the limit is passed.
    """
    limits = limits or Limits()
    # The same bytes are often checked for several sessions. Weights cost a hash more than a walk.
    key = (hashlib.sha256(data).digest(), limits) if len(data) <= _MOST_KEPT else None
    if key in _passed:
        return _passed[key]
    checks = Checks(limits)
    reader = Reader(SCHEMA, limits.fields, checks.finish(), limits.most(SCHEMA))
    try:
        found = _summary(reader.read("model", memoryview(data), "model"), checks, len(data))
    except WireError as error:
        raise LossexportError(f"{source}: {error}") from None
    if key is not None:
        _passed[key] = found
        for oldest in [*_passed][:-_KEPT]:
            _passed.pop(oldest, None)
    return found


def _summary(model: Message, checks: Checks, size: int) -> ModelSummary:
    graph: Graph | None = model.get("graph")
    if graph is None:
        raise WireError("model.graph: missing, this is not an ONNX model")
    functions: dict[str, Function] = {}
    for function in model.many("functions"):
        if function.call in functions:
            raise WireError(f"{function.where}: a second function of the name {function.call}")
        functions[function.call] = function
    training = [
        part
        for info in model.many("training_info")
        for name in ("initialization", "algorithm")
        if (part := info.get(name)) is not None
    ]
    nodes, best = plan(graph, training, functions, checks.limits, size, checks.spend)
    return ModelSummary(
        ir_version=model.get("ir_version", 0),
        opsets={o.get("domain", ""): o.get("version", 0) for o in model.many("opset_import")},
        nodes=nodes,
        functions=len(functions),
        # Files of IR 3 list their initializers as inputs too.
        inputs=tuple(name for name in graph.sizes if name not in graph.initializers),
        outputs=tuple(graph.outputs),
        sizes=graph.sizes,
        metadata={p.get("key", ""): p.get("value", "") for p in model.many("metadata_props")},
        plan=best,
    )


def claim(data: bytes, metadata: Mapping[str, str]) -> str:
    """The sha256 of a model with only our own metadata, in which it is stored as CLAIM.

    A kernel of the op that the metadata names may replace exactly the graph that this metadata was
    written for, and no other. Raises WireError on malformed data.
    """
    ours = {k: v for k, v in metadata.items() if k.startswith("lossexport.") and k != CLAIM}
    digest = hashlib.sha256(json.dumps(ours, sort_keys=True).encode())
    for number, wire, value, payload in Reader(SCHEMA, Limits().fields).split(
        memoryview(data), "model"
    ):
        if number != METADATA_PROPS:
            digest.update(b"%d %d %d %d:" % (number, wire, value, len(payload)))
            digest.update(payload)
    return digest.hexdigest()

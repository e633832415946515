"""The onnxruntime backend: on the CPU, on CUDA, or on TensorRT-RTX."""

import contextlib
import ctypes
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lossexport.errors import LossexportError, one_line
from lossexport.origin import install_command
from lossexport.runtime import ort_rtx
from lossexport.runtime.cuda import driver
from lossexport.runtime.guard.inlining import FOLD_BYTES, Plan
from lossexport.runtime.onnx_guard import check_model
from lossexport.runtime.session import Array, Availability, Session, Source, TensorInfo

SUFFIX = ".onnx"
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
PROVIDERS = {"cpu": _CPU, "cuda": _CUDA, "rtx": ort_rtx.NAME}

_FOLD_LIMIT = "optimization.constant_folding_max_output_size_in_bytes"
_FOLD_LIMIT_SINCE = (1, 27)
_BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16
_DTYPES = {"float": "float32", "double": "float64"}


def availability(backend: str = "ort") -> Availability:
    """Whether onnxruntime can be imported, and the execution providers that can run here."""
    try:
        import onnxruntime
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime"
        return Availability(
            backend,
            runs=False,
            reason="onnxruntime is not installed" if missing else one_line(error),
            fix=install_command("cpu"),
        )
    # Those of a GPU first.
    providers = [name for key, name in reversed(PROVIDERS.items()) if absence(key) is None]
    return Availability(
        backend, runs=True, version=onnxruntime.__version__, providers=tuple(providers)
    )


def absence(provider: str) -> str | None:
    """Why an onnxruntime that is installed cannot run on one of PROVIDERS; None where it can."""
    import onnxruntime

    if provider == "rtx":
        return ort_rtx.absence()
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        return f"this onnxruntime has no {provider.upper()} provider"
    return driver().reason if provider == "cuda" else None


def open_session(
    source: Source, backend: str, provider: str, *, optimise: bool = True
) -> "OrtSession":
    """Guard the model, then hand the same bytes to onnxruntime.

    Without `optimise`, its nodes run unchanged: none is fused, folded or given another layout.
    """
    if provider not in PROVIDERS:
        raise LossexportError(f"provider {provider!r}: not one of {', '.join(PROVIDERS)}")
    here = availability(backend)
    if not here.runs:
        raise LossexportError(f"{source.path}: not run here: {here.reason}; {here.fix}")
    if PROVIDERS[provider] not in here.providers:
        raise LossexportError(
            f"{source.path}: onnxruntime {here.version} cannot run {PROVIDERS[provider]} here: "
            f"{absence(provider)}; lossexport doctor says more"
        )
    plan = check_model(source.data, str(source.path)).plan
    if not optimise:
        plan = replace(plan, optimise=False)
    return OrtSession(source, backend, PROVIDERS[provider], plan)


class OrtSession(Session):
    """An onnxruntime session on one execution provider, which runs every node or none.

    `metadata` are the entries that the file has for others.
    """

    def __init__(
        self, source: Source, backend: str, provider: str, plan: Plan, library: Path | None = None
    ) -> None:
        """`library` has custom ops.

        Raises LossexportError if onnxruntime refuses the model, the provider or the library.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        # Otherwise, bytes in onnxruntime's own format would bypass the ONNX guard.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        _restrain(options, plan, onnxruntime.__version__)
        if provider != _CPU:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        if provider == _CUDA:
            with contextlib.redirect_stdout(sys.stderr):  # it prints the names of missing libraries
                onnxruntime.preload_dlls()
        try:
            if library is not None:
                options.register_custom_ops_library(str(library))
            named = [provider]
            if provider == ort_rtx.NAME:
                options.add_provider_for_devices(ort_rtx.devices()[:1], {})
                named = []
            # Its own fallback would retry on the CPU, at load and at any later run.
            self._session = onnxruntime.InferenceSession(
                source.data, options, named, enable_fallback=0
            )
            inputs = tuple(_info(node) for node in self._session.get_inputs())
            outputs = tuple(_info(node) for node in self._session.get_outputs())
            self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise LossexportError(f"{source.path}: onnxruntime: {one_line(error)}") from error
        providers = tuple(self._session.get_providers())
        if provider not in providers:
            raise LossexportError(
                f"{source.path}: onnxruntime fell back from {provider} to {', '.join(providers)}"
            )
        super().__init__(source.path, backend, providers, inputs, outputs)
        self._names = [info.name for info in self.outputs]
        self._bits = any(info.dtype == "bfloat16" for info in (*self.inputs, *self.outputs))

    def _run(self, arrays: dict[str, Array]) -> dict[str, Array]:
        try:
            found = self._run_bits(arrays) if self._bits else self._session.run(self._names, arrays)
        except Exception as error:  # see above
            self._refuse(f"onnxruntime: {one_line(error)}")
        return dict(zip(self._names, found, strict=True))

    def _run_bits(self, arrays: dict[str, Array]) -> list[Array]:
        """Run with bfloat16, which onnxruntime neither takes from nor gives to numpy."""
        from onnxruntime import OrtValue

        values = {
            info.name: OrtValue.ortvalue_from_numpy_with_onnx_type(arrays[info.name], _BFLOAT16)
            if info.dtype == "bfloat16"
            else OrtValue.ortvalue_from_numpy(arrays[info.name])
            for info in self.inputs
        }
        found = self._session.run_with_ort_values(self._names, values)
        return [
            _bits(value) if info.dtype == "bfloat16" else value.numpy()
            for info, value in zip(self.outputs, found, strict=True)
        ]


def _restrain(options: Any, plan: Plan, version: str) -> None:
    """Keep the optimisation of a session within `plan`."""
    if not plan.optimise:
        # Fusions and repacking would copy a constant for each node that uses it.
        options.graph_optimization_level = type(options.graph_optimization_level).ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    elif plan.fold_bytes < FOLD_BYTES[0]:
        # Where the limit is not known, nothing would bound the sizes that depend on values.
        known = tuple(map(int, version.split(".")[:2])) >= _FOLD_LIMIT_SINCE
        if plan.fold_bytes and known:
            options.add_session_config_entry(_FOLD_LIMIT, str(plan.fold_bytes))
        else:
            options.add_session_config_entry(
                "optimization.disable_specified_optimizers", "ConstantFolding;ConstantFoldingDQ"
            )


def _bits(value: Any) -> Array:
    """A copy of a bfloat16 tensor in host memory, as uint16."""
    array = np.empty(value.shape(), np.uint16)
    if array.size:
        ctypes.memmove(array.ctypes.data, value.data_ptr(), array.nbytes)
    return array


def _info(node: Any) -> TensorInfo:
    """onnxruntime's `tensor(float)` and dimensions (None: without a name) as ours."""
    dtype = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple("?" if dim is None else dim for dim in node.shape)
    return TensorInfo(node.name, _DTYPES.get(dtype, dtype), shape)

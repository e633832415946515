"""The ops as PyTorch functions: differentiable, exportable, one catalogue entry each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lossexport.catalog import BUILTIN, CATALOG

__all__ = sorted(BUILTIN)


def __getattr__(name: str) -> Callable[..., Any]:
    if name in BUILTIN:
        from lossexport.ops.binding import bind

        globals()[name] = bind(BUILTIN[name])  # the next time Python finds it by itself
        function: Callable[..., Any] = globals()[name]
        return function
    # Neither what Python asks every module for nor a module in here is looked for outside.
    inside = name.startswith("_") or Path(__file__).with_name(f"{name}.py").exists()
    if inside or name not in CATALOG:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lossexport.ops.binding import bind

    return bind(CATALOG[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *CATALOG})

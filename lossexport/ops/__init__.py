"""The ops as PyTorch functions, which are differentiable and exportable."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lossexport.catalog import BUILTIN, CATALOG

__all__ = sorted(BUILTIN)


def __getattr__(name: str) -> Callable[..., Any]:
    if name in BUILTIN:
        from lossexport.ops.binding import bind

        globals()[name] = bind(BUILTIN[name])  # found by Python itself next time
        function: Callable[..., Any] = globals()[name]
        return function
    # Special names and modules of this package are not looked up among ops of one's own.
    inside = name.startswith("_") or Path(__file__).with_name(f"{name}.py").exists()
    if inside or name not in CATALOG:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lossexport.ops.binding import bind

    return bind(CATALOG[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *CATALOG})

"""The ops as PyTorch functions: differentiable, exportable, one catalogue entry each."""

from collections.abc import Callable
from typing import Any

from lossexport.catalog import CATALOG

__all__ = sorted(CATALOG)


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in CATALOG:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lossexport.ops.binding import bind

    return bind(CATALOG[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *CATALOG})

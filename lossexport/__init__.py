"""Losses, their gradients and box metrics as portable graphs; importing this imports no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossexport.exporter import export
    from lossexport.exporter.attach import attach
    from lossexport.parity.verify import verify
    from lossexport.scoring import compare, score

__version__ = "0.1.0"
__all__ = ["__version__", "attach", "compare", "export", "score", "verify"]

_LAZY = {
    "attach": "lossexport.exporter.attach",
    "compare": "lossexport.scoring",
    "export": "lossexport.exporter",
    "verify": "lossexport.parity",
    "score": "lossexport.scoring",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

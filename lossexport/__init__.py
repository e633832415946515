"""Losses, their gradients and box metrics as portable graphs; importing this imports no torch."""

from typing import TYPE_CHECKING

from lossexport._lazy import lazy

if TYPE_CHECKING:
    from lossexport.catalog import register
    from lossexport.exporter import export
    from lossexport.parity.verify import verify
    from lossexport.scoring import compare, score
    from lossexport.wiring.attach import attach

__version__ = "0.1.0"
__all__ = ["__version__", "attach", "compare", "export", "register", "score", "verify"]

__getattr__ = lazy(
    __name__,
    {
        "attach": "lossexport.wiring.attach",
        "compare": "lossexport.scoring",
        "export": "lossexport.exporter",
        "register": "lossexport.catalog",
        "verify": "lossexport.parity",
        "score": "lossexport.scoring",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

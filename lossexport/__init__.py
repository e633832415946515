"""Losses, their gradients and box metrics as portable graphs; importing this imports no torch."""

from typing import TYPE_CHECKING

from lossexport._lazy import lazy

if TYPE_CHECKING:
    from lossexport import nn as nn
    from lossexport import ops as ops
    from lossexport import runtime as runtime
    from lossexport.bootstrap.pair import score_pair
    from lossexport.catalog import register
    from lossexport.comparison import compare
    from lossexport.evaluator import Evaluator
    from lossexport.exporter import export
    from lossexport.monitor import Calibration, Watch, calibrate
    from lossexport.parity.verify import verify
    from lossexport.scoring import score
    from lossexport.scoring.trackers import flat
    from lossexport.wiring.attach import attach, attach_recipe
else:
    __getattr__ = lazy(
        __name__,
        {
            "Calibration": "lossexport.monitor",
            "Evaluator": "lossexport.evaluator",
            "Watch": "lossexport.monitor",
            "attach": "lossexport.wiring.attach",
            "attach_recipe": "lossexport.wiring.attach",
            "calibrate": "lossexport.monitor",
            "compare": "lossexport.comparison",
            "export": "lossexport.exporter",
            "flat": "lossexport.scoring.trackers",
            "nn": "lossexport.nn",
            "ops": "lossexport.ops",
            "register": "lossexport.catalog",
            "runtime": "lossexport.runtime",
            "score": "lossexport.scoring",
            "score_pair": "lossexport.bootstrap.pair",
            "verify": "lossexport.parity.verify",
        },
    )

__version__ = "0.1.0"
__all__ = [
    "Calibration",
    "Evaluator",
    "Watch",
    "__version__",
    "attach",
    "attach_recipe",
    "calibrate",
    "compare",
    "export",
    "flat",
    "register",
    "score",
    "score_pair",
    "verify",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "nn", "ops", "runtime"})

"""All that a comparison found: its summary, its table and its report are made from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lossexport.boxes.boxset import Float32, Float64
from lossexport.comparison.match import Comparison
from lossexport.comparison.sides import Sides


@dataclass(frozen=True, slots=True)
class Run:
    """The boxes of parent and child, how they match, and what was measured on them."""

    sides: Sides
    result: Comparison
    quality: Mapping[str, Float32]
    """[M] each metric of the matched pairs."""
    settings: Mapping[str, Any]
    backend: str

    @property
    def drift(self) -> Float64:
        """Score of the child minus score of the parent, of the matched pairs [M]."""
        return (
            self.sides.child.score[self.result.child] - self.sides.parent.score[self.result.parent]
        )

"""The results of a comparison, from which its summary, table and report are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lossexport.boxes.boxset import Float32, Float64
from lossexport.comparison.match import Comparison
from lossexport.comparison.sides import Sides


@dataclass(frozen=True, slots=True)
class Run:
    """The boxes of parent and child, their matches, and the measurements."""

    sides: Sides
    result: Comparison
    quality: Mapping[str, Float32]
    """[M] each metric of the matched pairs."""
    settings: Mapping[str, Any]
    backend: str

    @property
    def drift(self) -> Float64:
        """Score of the child minus score of the parent for the matched pairs [M]."""
        return (
            self.sides.child.score[self.result.child] - self.sides.parent.score[self.result.parent]
        )

"""What is known of the result of one node, in the type that computes it."""

from dataclasses import dataclass

from lossexport.ranges.interval import Kind


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the result of a node may go, of what its type holds.

    `result` is true for the conversion of a result to the type of the `output` of the graph, and
    `known` for an operator that has a rule.
    """

    node: str
    operator: str
    output: str
    bound: float
    kind: Kind
    result: bool
    known: bool

    @property
    def part(self) -> float:
        """The bound in parts of the largest number of the type."""
        return self.bound / self.kind.high

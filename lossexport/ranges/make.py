"""Makes expressions: bounds by rule, by relation between the arguments, and by rounding."""

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from lossexport.ranges import grid, relations
from lossexport.ranges.expression import MINUS, NAN, PLUS, Expression
from lossexport.ranges.interval import EVERYTHING, TRUTH, Interval, Kind
from lossexport.ranges.rules import RULES

_INFINITE = {PLUS: math.inf, MINUS: -math.inf}
_PLACED = frozenset(("view", "input", "any", "sum", "opaque", "most", "fewest", "constant"))


class Maker:
    """Expressions by what they are made of: the same is made once."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Expression] = {}
        self._views: dict[Hashable, Expression] = {}
        self.facts = relations.Facts()

    def constant(
        self, low: float, high: float, kind: Kind, odd: frozenset[str], step: float | None = None
    ) -> Expression:
        """A constant, or one with all numbers between two bounds, on a grid."""
        key: tuple[Hashable, ...] = ("constant", low, high, kind.name, odd)
        if low != high:
            key = (*key, len(self._made))  # its elements are not known to be equal
        if key not in self._made:
            bounds = Interval(low, high)
            made = Expression("constant", (), bounds, bounds, kind, odd, key)
            made.grid = step if step is not None else grid.of_numbers(bounds)
            self._made[key] = made
        return self._made[key]

    def input(self, key: Hashable, bounds: Interval, kind: Kind) -> Expression:
        """The elements of an input, or a number that nothing else is known of."""
        if ("input", key) not in self._made:
            made = Expression("input", (), bounds, bounds, kind, key=key)
            made.grid = float(kind.least) if kind.digits else 0.0
            self._made["input", key] = made
        return self._made["input", key]

    def opaque(
        self, key: Hashable, bounds: Interval, kind: Kind, odd: frozenset[str]
    ) -> Expression:
        """The elements of a result whose bounds are all that is known."""
        made = Expression("opaque", (), bounds, bounds, kind, odd, key)
        made.grid = float(kind.least) if kind.digits else 0.0
        return self._cut(made)

    def __call__(
        self,
        operator: str,
        arguments: Sequence[Expression],
        kind: Kind,
        given: Mapping[str, Any] | None = None,
    ) -> Expression:
        """The result of an operator with a rule."""
        given = given or {}
        key = (operator, tuple(map(id, arguments)), kind.name, tuple(sorted(given.items())))
        if key not in self._made:
            self._made[key] = self._result(operator, tuple(arguments), kind, given, key)
        return self._made[key]

    def _result(
        self,
        operator: str,
        arguments: tuple[Expression, ...],
        kind: Kind,
        given: Mapping[str, Any],
        key: Hashable,
    ) -> Expression:
        declared = RULES[operator]
        bounds = declared.rule([one.bounds for one in arguments], given)
        if len(arguments) == 2 and operator == "Mul" and arguments[0] is arguments[1]:
            shared = arguments[0].bounds
            bounds = declared.rule([shared, shared], given)
        bounds = kind.rounded(_sure(bounds), declared.units)
        made = Expression(operator, arguments, bounds, bounds, kind, key=key)
        made.grid = grid.of_result(operator, arguments, kind)
        narrower = _sure(self.facts.bounds(made))
        made.bounds = bounds.within(kind.rounded(narrower)) if narrower != EVERYTHING else bounds
        made.raw = made.bounds
        bounds, made.odd = self._with_odd(operator, arguments, made.bounds, given)
        made.bounds = bounds
        return self._cut(made)

    def _with_odd(
        self,
        operator: str,
        arguments: tuple[Expression, ...],
        bounds: Interval,
        given: Mapping[str, Any],
    ) -> tuple[Interval, frozenset[str]]:
        """The bounds with those that infinite arguments lead to, and what is not finite."""
        rule = RULES[operator].rule
        odd: set[str] = set()
        if all(not one.odd for one in arguments):
            if operator == "Div" and arguments[1].bounds.low <= 0.0 <= arguments[1].bounds.high:
                odd |= {NAN}
            return bounds, frozenset(odd)
        if operator in ("Where", "view", "any"):
            for one in arguments[operator == "Where" :]:
                odd |= one.odd
            return bounds, frozenset(odd)
        if any(NAN in one.odd for one in arguments):
            odd.add(NAN)
        choices = [
            [one.bounds, *(Interval(_INFINITE[w], _INFINITE[w]) for w in one.odd if w != NAN)]
            for one in arguments
        ]
        for chosen in itertools.product(*choices):
            if all(one.low != one.high or math.isfinite(one.low) for one in chosen):
                continue
            found = rule(chosen, given)
            for end in found:
                if math.isfinite(end):
                    bounds = bounds.hull(Interval(end, end))
                else:
                    odd.add(PLUS if end > 0 else MINUS)
            if operator in ("Add", "Sub", "Mul", "Div"):
                odd.add(NAN)
        return bounds, frozenset(odd)

    def _cut(self, made: Expression) -> Expression:
        """Beyond the largest number of the type lies infinity."""
        if made.kind is TRUTH:
            made.odd = frozenset()
        most = made.kind.high
        if made.raw.high > most:
            made.odd |= {PLUS}
        if made.raw.low < -most:
            made.odd |= {MINUS}
        made.bounds = Interval(
            min(max(made.bounds.low, -most), most), max(min(made.bounds.high, most), -most)
        )
        return made

    def view(self, of: Expression, how: Hashable) -> Expression:
        """The expression where its elements are at other places, such as along a new axis."""
        if of.operator == "constant" and of.known is not None:
            return of
        if (of, how) not in self._views:
            self._views[of, how] = self._viewed(of, how)
        return self._views[of, how]

    def _viewed(self, of: Expression, how: Hashable) -> Expression:
        if of.operator in _PLACED:
            made = self("view", [of], of.kind, {"how": how})
            if of.form and not made.form:
                made.form = {self.view(atom, how): c for atom, c in of.form.items()}
            return made
        moved = [self.view(one, how) for one in of.arguments]
        given = dict(of.key[3]) if isinstance(of.key, tuple) else {}
        return self(of.operator, moved, of.kind, given)


def _sure(bounds: Interval) -> Interval:
    """Nothing is known of a bound that is NaN, as of inf - inf."""
    low, high = bounds
    return Interval(-math.inf if math.isnan(low) else low, math.inf if math.isnan(high) else high)

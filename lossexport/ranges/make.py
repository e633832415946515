"""Makes expressions: bounds by rule, by relation between the arguments, and by rounding."""

import itertools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from lossexport.ranges import grid, relations, zeros
from lossexport.ranges.expression import MINUS, NAN, PLUS, Expression
from lossexport.ranges.interval import EVERYTHING, TRUTH, Interval, Kind
from lossexport.ranges.rules import RULES

_INFINITE = {PLUS: math.inf, MINUS: -math.inf}
_PLACED = frozenset(("view", "input", "any", "sum", "opaque", "most", "fewest", "constant"))


def has_one(x: Expression, given: Mapping[str, Any]) -> bool:
    """Whether one element of each sum is exp(0): x are exponentials of differences to the most."""
    while x.operator in ("Cast", "Identity"):
        x = x.arguments[0]
    if x.operator != "Exp":
        return False
    x = x.arguments[0]
    while x.operator in ("Cast", "Identity"):
        x = x.arguments[0]
    if x.operator != "Sub" or x.arguments[1].operator != "most":
        return False
    most = x.arguments[1]
    return most.arguments[0] is x.arguments[0] and most.given.get("how") == given.get("how")


def _both(one: Expression, other: Expression) -> bool:
    return bool(one.odd & _INFINITE.keys()) and bool(other.odd & _INFINITE.keys())


def _scaled(one: Expression, other: Expression) -> bool:
    return any(
        x.odd & _INFINITE.keys() and y.bounds.low <= 0.0 <= y.bounds.high
        for x, y in ((one, other), (other, one))
    )


# Whether an operator on infinities may give NaN.
_UNDEFINED: Mapping[str, Callable[..., bool]] = {
    "Add": lambda a, b: (PLUS in a.odd and MINUS in b.odd) or (MINUS in a.odd and PLUS in b.odd),
    "Sub": lambda a, b: bool(a.odd & b.odd & _INFINITE.keys()),
    "Mul": _scaled,
    "Div": _both,
}


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
            made = self._made[key] = self._result(operator, tuple(arguments), kind, given, key)
            if operator == "Where":
                made.form = self._chosen(kind, *arguments)
        return self._made[key]

    def _chosen(
        self, kind: Kind, truth: Expression, one: Expression, other: Expression
    ) -> dict[Expression, float]:
        """The sum that a choice between an exact sum and 0 is: that of choices of its terms."""
        chosen = one if other.known == 0.0 else other
        if {one.known, other.known} == {0.0} or 0.0 not in (one.known, other.known):
            return {}
        terms = self.facts.form(chosen)
        if not self.facts.exact(chosen) or chosen.odd or chosen.operator in _PLACED - {"view"}:
            return {}
        if any(term.operator not in ("input", "view", "Where") for term in terms):
            return {}
        return {
            self("Where", [truth, *((x, other) if chosen is one else (one, x))], kind): factor
            for x, factor in terms.items()
            if x is not chosen
        }

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
        made = Expression(operator, arguments, bounds, bounds, kind, key=key, given=given)
        if operator == "sum" and has_one(arguments[0], given):
            bounds = Interval(max(bounds.low, 1.0), bounds.high)
            made.bounds = bounds
        made.grid = grid.of_result(operator, arguments, kind)
        made.least = grid.least_of(operator, arguments, kind)
        narrower = _sure(self.facts.bounds(made))
        made.bounds = bounds.within(kind.rounded(narrower)) if narrower != EVERYTHING else bounds
        made.raw = made.bounds
        bounds, made.odd = self._with_odd(operator, arguments, made.bounds, given)
        made.bounds = bounds
        self._cut(made)
        if made.odd:
            self.facts.forget(made)
        return made

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
            if operator in ("Div", "Reciprocal") and not zeros.is_never_zero(arguments[-1]):
                # A zero has a sign of its own, whatever the sign of all other numbers.
                if math.isinf(bounds.size):
                    odd |= {PLUS, MINUS}
                if operator == "Div":
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
        if operator in _UNDEFINED and _UNDEFINED[operator](*arguments):
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
        made = self(of.operator, moved, of.kind, of.given)
        # All its elements are among those of the other.
        made.bounds, made.raw = made.bounds.within(of.bounds), made.raw.within(of.raw)
        made.odd &= of.odd
        return made


def _sure(bounds: Interval) -> Interval:
    """Nothing is known of a bound that is NaN, as of inf - inf."""
    low, high = bounds
    return Interval(-math.inf if math.isnan(low) else low, math.inf if math.isnan(high) else high)

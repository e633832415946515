"""Whether a numerator is 0 wherever what it is divided by is.

Together with the grid of the divisor this bounds a quotient: where the divisor is not 0, it is at
least one step of its grid.
"""

import math
from typing import Protocol

from lossexport.ranges.expression import Expression
from lossexport.ranges.interval import EVERYTHING, Interval

_DEPTH = 12
_CASES = 16
_ODD_IN_ZERO = ("Identity", "Neg", "Abs", "view", "Sqrt", "Relu", "Sign", "Atan", "Tanh")


class Multiples(Protocol):
    """What bounds a result in multiples of another."""

    def bounds_above(self, x: Expression, y: Expression) -> bool:
        """Whether x <= k y for a known k, for a y that is not negative."""
        ...

    def share(self, x: Expression, y: Expression) -> float:
        """The least known k with -k y <= x <= k y, for a y that is not negative."""
        ...


def quotient(top: Expression, bottom: Expression, multiples: Multiples) -> Interval:
    """Bounds of a quotient, whose divisor may be the larger of a result and a constant.

    Or a result with another number in place of 0.
    """
    if (number := _replaced(bottom)) is not None:
        return _signed(top, number, bottom, multiples)
    divisor = bottom
    if bottom.operator == "Max":
        one, other = bottom.arguments
        floors = [x for x in (one, other) if (x.known or 0.0) > 0.0]
        if len(floors) == 1:
            divisor = one if floors[0] is other else other
    bare = divisor is bottom
    if divisor.odd or top.odd or divisor.bounds.low < 0.0 or divisor.step == 0.0:
        return EVERYTHING
    if (not bare or divisor.bounds.low == 0.0) and not vanishes(top, divisor, multiples):
        return EVERYTHING
    least = max(divisor.step, divisor.bounds.low)
    return Interval(min(top.bounds.low / least, 0.0), max(top.bounds.high / least, 0.0))


def is_never_zero(x: Expression) -> bool:
    """Whether x is known not to be 0."""
    return not x.bounds.low <= 0.0 <= x.bounds.high or _replaced(x) is not None


def _replaced(bottom: Expression) -> Expression | None:
    """The x of `where(x == 0, number, x)`."""
    if bottom.operator != "Where":
        return None
    truth, one, x = bottom.arguments
    is_zero = truth.operator == "Equal" and x in truth.arguments
    compared = [y.known for y in truth.arguments if y is not x]
    return x if is_zero and compared == [0.0] and one.known else None


def _signed(top: Expression, x: Expression, bottom: Expression, multiples: Multiples) -> Interval:
    """Bounds of a quotient by an x that is not 0, or a number in its place."""
    if top.odd:
        return EVERYTHING
    found = [size for size in _sizes(top, _DEPTH) if size.arguments[0] is x]
    related = min((multiples.share(top, size) for size in found), default=math.inf)
    least = bottom.step
    most = min(related, top.bounds.size / least if least else math.inf)
    return Interval(-most, most)


def _sizes(x: Expression, depth: int) -> set[Expression]:
    """The absolute values among what an expression is made of."""
    own = {x} if x.operator == "Abs" else set()
    if depth == 0 or x.operator not in ("Min", "Max", "Neg", "Abs"):
        return own
    return own.union(*(_sizes(one, depth - 1) for one in x.arguments))


def vanishes(x: Expression, y: Expression, multiples: Multiples) -> bool:
    """Whether x is 0 in all cases in which y, which is not negative, is."""
    cases = _cases(y, _DEPTH)
    return len(cases) <= _CASES and all(_is_zero(x, case, multiples, _DEPTH) for case in cases)


def _cases(y: Expression, depth: int) -> list[frozenset[Expression]]:
    """Sets of results, of which those of at least one are all 0 if y is."""
    own = frozenset((y,))
    if depth == 0 or y.odd or any(one.odd for one in y.arguments):
        return [own]
    arguments = y.arguments
    signed = any(one.bounds.low < 0.0 for one in arguments)
    if y.operator in ("Identity", "Neg", "Abs", "view", "Sqrt") or (
        y.operator == "Cast" and _keeps_small(y)
    ):
        return [own | case for case in _cases(arguments[0], depth - 1)]
    if y.operator in ("Add", "Max") and not signed:
        found = [_cases(one, depth - 1) for one in arguments]
        return [own | a | b for a in found[0] for b in found[1]][: _CASES + 1]
    if y.operator in ("Mul", "Min") and (y.operator == "Mul" or not signed) and _keeps_small(y):
        several = arguments[:1] if arguments[0] is arguments[1] else arguments
        return [own | case for one in several for case in _cases(one, depth - 1)]
    return [own]


def _keeps_small(y: Expression) -> bool:
    """Whether a result other than 0 cannot be rounded to 0."""
    if not y.kind.digits:
        return False
    exact = sum(one.grid for one in y.arguments) if y.operator == "Mul" else y.arguments[0].grid
    return y.operator == "Min" or exact >= y.kind.least + y.kind.digits


def _is_zero(x: Expression, zeros: frozenset[Expression], multiples: Multiples, depth: int) -> bool:
    if x in zeros or x.known == 0.0:
        return True
    if depth == 0 or x.odd:
        return False

    def zero(one: Expression) -> bool:
        return _is_zero(one, zeros, multiples, depth - 1)

    arguments = x.arguments
    if x.operator in (*_ODD_IN_ZERO, "Cast", "sum", "most", "fewest") and zero(arguments[0]):
        return True
    if x.operator in ("Add", "Sub", "Max", "Min", "any") and all(map(zero, arguments)):
        return True
    if x.operator == "Mul" and any(map(zero, arguments)):
        return True
    if x.operator == "Where" and all(map(zero, arguments[1:])):
        return True
    return x.bounds.low >= 0.0 and any(
        multiples.bounds_above(x, z) for z in zeros if z.bounds.low >= 0.0
    )

"""Bounds of the result of an operator, from those of its arguments: one declaration a rule.

A rule sees real arithmetic. Rounding, and what is not finite, is added by `lossexport.ranges.make`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossexport.ranges.interval import EVERYTHING, Interval

Bounds = Sequence[Interval]
Attributes = Mapping[str, Any]
Rule = Callable[[Bounds, Attributes], Interval]


@dataclass(frozen=True, slots=True)
class Declared:
    """A rule, and the error of the operator beyond one rounding, in roundings."""

    rule: Rule
    units: float = 0.0


RULES: dict[str, Declared] = {}
"""By operator. All of these are elementwise."""


def _rule(*operators: str, units: float = 0.0) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(operators, Declared(rule, units)))
        return rule

    return register


def _spanned(values: Sequence[float]) -> Interval:
    """The interval of all `values`; NaN, as in 0 * inf, is anything between."""
    known = [value for value in values if not math.isnan(value)]
    if len(known) < len(values):
        known.append(0.0)
    return Interval(min(known), max(known))


def _rising(function: Callable[[float], float]) -> Rule:
    return lambda x, _: Interval(function(x[0].low), function(x[0].high))


def _exp(value: float) -> float:
    return math.exp(value) if value < 709.0 else math.inf


def _log(value: float) -> float:
    return -math.inf if value <= 0.0 else math.log(value)


for _name, _function, _units in (
    ("Identity", lambda x: x, 0.0),
    ("Cast", lambda x: x, 0.0),
    ("Exp", _exp, 4.0),
    ("Log", _log, 4.0),
    ("Sqrt", lambda x: math.sqrt(max(x, 0.0)), 4.0),
    ("Atan", math.atan, 8.0),
    ("Tanh", math.tanh, 8.0),
    ("Floor", lambda x: math.floor(x) if math.isfinite(x) else x, 0.0),
    ("Ceil", lambda x: math.ceil(x) if math.isfinite(x) else x, 0.0),
    ("Round", lambda x: round(x) if math.isfinite(x) else x, 0.0),
    ("Relu", lambda x: max(x, 0.0), 0.0),
    ("Sign", lambda x: float((x > 0) - (x < 0)), 0.0),
):
    RULES[_name] = Declared(_rising(_function), _units)


@_rule("Sigmoid", "Softmax", units=8.0)
def _part(x: Bounds, given: Attributes) -> Interval:
    return Interval(0.0, 1.0)


@_rule("Sin", "Cos")
def _wave(x: Bounds, given: Attributes) -> Interval:
    return Interval(-1.0, 1.0)


@_rule(
    "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "And", "Or", "Not", "Xor", "IsNaN",
    "IsInf",
)  # fmt: skip
def _truth(x: Bounds, given: Attributes) -> Interval:
    return Interval(0.0, 1.0)


@_rule("Neg")
def _negated(x: Bounds, given: Attributes) -> Interval:
    return Interval(-x[0].high, -x[0].low)


@_rule("Abs")
def _absolute(x: Bounds, given: Attributes) -> Interval:
    return Interval(max(x[0].low, -x[0].high, 0.0), x[0].size)


@_rule("Add")
def _sum(x: Bounds, given: Attributes) -> Interval:
    return Interval(x[0].low + x[1].low, x[0].high + x[1].high)


@_rule("Sub")
def _difference(x: Bounds, given: Attributes) -> Interval:
    return Interval(x[0].low - x[1].high, x[0].high - x[1].low)


@_rule("Mul")
def _product(x: Bounds, given: Attributes) -> Interval:
    if x[0] is x[1]:
        return Interval(_absolute(x, given).low ** 2, x[0].size * x[0].size)
    return _spanned([a * b for a in x[0] for b in x[1]])


@_rule("Div")
def _quotient(x: Bounds, given: Attributes) -> Interval:
    low, high = x[1]
    if x[0] == (0.0, 0.0):
        return x[0]
    if low < 0.0 < high or low == high == 0.0:
        return EVERYTHING
    if low == 0.0 or high == 0.0:
        ends = [high if low == 0.0 else low, math.copysign(0.0, high if low == 0.0 else low)]
    else:
        ends = [low, high]
    return _spanned([_over(a, b) for a in x[0] for b in ends])


def _over(a: float, b: float) -> float:
    if b != 0.0:
        return a / b
    return 0.0 if a == 0.0 else math.copysign(math.inf, a) * math.copysign(1.0, b)


@_rule("Reciprocal")
def _inverse(x: Bounds, given: Attributes) -> Interval:
    return _quotient([Interval(1.0, 1.0), x[0]], given)


@_rule("Pow", units=16.0)
def _power(x: Bounds, given: Attributes) -> Interval:
    base, exponent = x
    if base.low < 0.0:
        if exponent.low != exponent.high or exponent.low not in (1.0, 2.0, 3.0, 4.0):
            return EVERYTHING
        if exponent.low in (2.0, 4.0):
            base = _absolute([base], given)
    return _spanned([_raised(a, b) for a in base for b in exponent])


def _raised(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except (ZeroDivisionError, OverflowError):
        return math.inf


@_rule("Min")
def _least(x: Bounds, given: Attributes) -> Interval:
    return Interval(min(one.low for one in x), min(one.high for one in x))


@_rule("Max")
def _most(x: Bounds, given: Attributes) -> Interval:
    return Interval(max(one.low for one in x), max(one.high for one in x))


@_rule("Where")
def _either(x: Bounds, given: Attributes) -> Interval:
    return x[1].hull(x[2])


@_rule("view", "most", "fewest")
def _same(x: Bounds, given: Attributes) -> Interval:
    return x[0]


@_rule("any")
def _any(x: Bounds, given: Attributes) -> Interval:
    return Interval(min(one.low for one in x), max(one.high for one in x))


@_rule("sum")
def _total(x: Bounds, given: Attributes) -> Interval:
    """The sum of `least` to `most` elements of one tensor."""
    low, high = x[0]
    least, most = given["least"], given["most"]
    return Interval(low * (most if low < 0 else least), high * (most if high > 0 else least))

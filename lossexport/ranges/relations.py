"""How results compare with each other, where bounds alone are too wide.

An intersection is at most each of the two areas, so that its quotient with the union is at most 1
however small the boxes are. Two kinds of facts give this:

- `Facts.least` bounds a sum of coordinates from below. It replaces a minimum that is subtracted, or
  a maximum that is added, by one of the arguments, and cancels equal terms.
- `Facts.above` and `Facts.below` bound x in multiples of a y that is not negative. They follow the
  operators that gave x, and then those that gave y.

All facts are of the computed numbers. Rounding is monotonic, so a multiple that is a power of two
survives it; any other loses one part in 2^digits.
"""

import math
from collections.abc import Callable

from lossexport.ranges import zeros
from lossexport.ranges.expression import Expression, Form
from lossexport.ranges.interval import EVERYTHING, Interval

_DEPTH = 9
_STEPS = 5000
# Of one graph: what is not found by then is not known.
_BUDGET = 100_000
_SAME = ("Identity", "Cast")
_LINEAR = ("Add", "Sub", "Neg")


def _plus(form: Form, other: Form, times: float) -> Form:
    found = dict(form)
    for atom, factor in other.items():
        found[atom] = found.get(atom, 0.0) + times * factor
    return {atom: factor for atom, factor in found.items() if factor != 0.0}


def _are_squared(a: Expression, b: Expression, total: Expression) -> bool:
    """Whether a sum is that of the squares of two numbers, which is at least their product."""
    squared = [one.arguments[0] for one in total.arguments
               if one.operator == "Mul" and one.arguments[0] is one.arguments[1]]  # fmt: skip
    bare = [one.arguments[0] if one.operator in ("Abs", "Neg") else one for one in (a, b)]
    return len(squared) == 2 and bare in (squared, squared[::-1])


class Facts:
    """What is known of the expressions of one graph."""

    def __init__(self) -> None:
        self._errors: dict[Expression, float] = {}
        self._forms: dict[Expression, Form] = {}
        self._least: dict[frozenset[tuple[Expression, float]], tuple[int, float]] = {}
        self._known: dict[tuple[int, int, bool], float] = {}
        self._busy: set[tuple[int, int, bool]] = set()
        self._steps = 0
        self._budget = _BUDGET

    # Sums of coordinates.

    def form(self, x: Expression) -> Form:
        """The sum that `x` is before rounding; a result that is no sum is a term itself."""
        if x not in self._forms:
            form: Form = {x: 1.0}
            if x.form:
                form = x.form
            elif x.odd:
                form = {x: 1.0}
            elif x.operator in _SAME and x.arguments[0].kind.digits <= x.kind.digits:
                form = self.form(x.arguments[0])
            elif x.operator in _LINEAR:
                form = {}
                for place, one in enumerate(x.arguments):
                    sign = -1.0 if x.operator == "Neg" or (x.operator == "Sub" and place) else 1.0
                    form = _plus(form, self.form(one), sign)
            self._forms[x] = form
        return self._forms[x]

    def forget(self, x: Expression) -> None:
        """Take `x` for a term of sums from now on, because it may be infinite or NaN."""
        self._forms.pop(x, None)
        self._errors.pop(x, None)

    def exact(self, x: Expression) -> bool:
        """Whether the form of `x` involves no rounding."""
        if x.operator in _SAME and x.arguments[0].kind.digits <= x.kind.digits:
            return self.exact(x.arguments[0])
        return x.operator not in ("Add", "Sub") or bool(x.odd)

    def least(self, form: Form, depth: int = _DEPTH) -> float:
        """A lower bound of a sum."""
        key = frozenset(form.items())
        if key not in self._least or self._least[key][0] < depth:
            self._least[key] = depth, self._lowest(form, depth)
        return self._least[key][1]

    def _lowest(self, form: Form, depth: int) -> float:
        best = 0.0
        for atom, factor in form.items():
            bounds = atom.bounds
            best += factor * (bounds.low if factor > 0 else bounds.high)
        if math.isnan(best):
            best = -math.inf
        self._budget -= 1
        if depth == 0 or best >= 0.0 or self._budget < 0:
            return best
        for atom, factor in form.items():
            if atom.operator not in ("Min", "Max") or atom.odd:
                continue
            if not all(self.exact(one) and not one.odd for one in atom.arguments):
                continue
            rest = {other: f for other, f in form.items() if other is not atom}
            found = [
                self.least(_plus(rest, self.form(one), factor), depth - 1) for one in atom.arguments
            ]
            any_will_do = (atom.operator == "Min") == (factor < 0)
            if not any_will_do:
                best = max(best, min(found))
                break  # both cases have to be looked at in any order
            best = max(best, *found)
            if best < 0.0:  # a minimum is also at most the mean
                one, other = (self.form(x) for x in atom.arguments)
                mean = _plus(_plus(rest, one, factor / 2), other, factor / 2)
                best = max(best, self.least(mean, depth - 1))
            if best >= 0.0:
                break
        return best

    def _is_one_rounding(self, x: Expression) -> bool:
        return self.exact(x) or (
            x.operator in ("Add", "Sub") and all(self.exact(one) for one in x.arguments)
        )

    def _spread(self, x: Expression, unit: Callable[[Expression], float]) -> float:
        """The sum of the errors of the roundings in the form of `x`."""
        if x.operator in _SAME and x.arguments[0].kind.digits <= x.kind.digits:
            return self._spread(x.arguments[0], unit)
        if x.operator not in _LINEAR or x.odd or x.form:
            return 0.0
        own = 0.0 if x.operator == "Neg" else x.kind.unit * unit(x)
        return own + sum(self._spread(one, unit) for one in x.arguments)

    def _error(self, x: Expression) -> float:
        """The largest distance of a computed sum from the exact one."""
        if x not in self._errors:
            error = 0.0
            if x.operator in _SAME and x.arguments[0].kind.digits <= x.kind.digits:
                error = self._error(x.arguments[0])
            elif x.operator in _LINEAR and not x.odd and not x.form:
                own = 0.0 if x.operator == "Neg" else x.kind.unit * x.raw.size
                error = own + sum(map(self._error, x.arguments))
            self._errors[x] = error
        return self._errors[x]

    def bounds(self, x: Expression) -> Interval:
        """Bounds of a result before it is rounded, from its relation to others."""
        if x.operator == "Sub" and self._is_greatest(x.arguments[1], x.arguments[0]):
            return Interval(-math.inf, 0.0)
        if x.operator in ("Add", "Sub") and len(form := self.form(x)) <= 12:
            error = sum(map(self._error, x.arguments))
            low = self.least(form) - error
            high = -self.least({atom: -f for atom, f in form.items()}) + error
            if x.operator == "Sub" and not x.arguments[0].odd and not x.arguments[1].odd:
                more, less = x.arguments
                self._steps = 0
                if low < 0.0 <= less.bounds.low and self.below(more, less) >= 1.0:
                    low = 0.0
                if low < 0.0 <= more.bounds.low and self.above(less, more) <= 1.0:
                    low = 0.0
                if high > 0.0 and less.bounds.low >= 0.0 and self.above(more, less) <= 1.0:
                    high = 0.0
            return Interval(low, high)
        if x.operator == "Div":
            top, bottom = x.arguments
            if bottom.bounds.low >= 0.0 and not bottom.odd and not top.odd:
                self._steps = 0
                low = 0.0 if top.bounds.low >= 0.0 else self.below(top, bottom)
                self._steps = 0
                related = Interval(low, self.above(top, bottom))
                if related.size <= x.kind.high:
                    return related
                return related.within(zeros.quotient(top, bottom, self))
            return zeros.quotient(top, bottom, self)
        return EVERYTHING

    @staticmethod
    def _is_greatest(most: Expression, one: Expression) -> bool:
        if most.operator == "view" and most.given["how"][0] == "place":
            (most,) = most.arguments
            if most.operator != "most" or most.arguments[0].operator != "any":
                return False
            axes, _, rank = most.given["how"]
            return axes in ((-1,), (rank - 1,)) and one in most.arguments[0].arguments
        return most.operator == "most" and most.arguments[0] is one

    # Multiples.

    def above(self, x: Expression, y: Expression, depth: int = _DEPTH) -> float:
        """The least known k with x <= k y, for a y that is not negative."""
        return self._multiple(x, y, depth, True)

    def bounds_above(self, x: Expression, y: Expression) -> bool:
        """Whether x <= k y for a known k, for a y that is not negative."""
        self._steps = 0
        return math.isfinite(self.above(x, y))

    def share(self, x: Expression, y: Expression) -> float:
        """The least known k with -k y <= x <= k y, for a y that is not negative."""
        self._steps = 0
        return self._size(x, y, _DEPTH)

    def below(self, x: Expression, y: Expression, depth: int = _DEPTH) -> float:
        """The largest known k with x >= k y, for a y that is not negative."""
        return self._multiple(x, y, depth, False)

    def _size(self, x: Expression, y: Expression, depth: int) -> float:
        return max(self.above(x, y, depth), -self.below(x, y, depth))

    def _multiple(self, x: Expression, y: Expression, depth: int, upper: bool) -> float:
        key = (id(x), id(y), upper)
        worst = math.inf if upper else -math.inf
        if key in self._known:
            return self._known[key]
        self._steps += 1
        self._budget -= 1
        if self._budget < 0 or depth == 0 or key in self._busy or self._steps > _STEPS:
            return worst
        self._busy.add(key)
        choose = min if upper else max
        found = [self._by_bounds(x, y, upper), self._by_operator(x, y, depth - 1, upper)]
        if x.bounds.low >= 0.0 and not x.odd and not y.odd:
            other = self._by_operator(y, x, depth - 1, not upper)
            if upper and other > 0.0:
                found.append(self._lost(1.0 / other, x, True))
            if not upper and other > 0.0:
                found.append(self._lost(1.0 / other, x, False) if math.isfinite(other) else 0.0)
        found.append(self._by_term(x, y, depth - 1, upper))
        if (by_form := self._by_form(x, y, upper)) is not None:
            found.append(by_form)
        self._busy.discard(key)
        best = choose([worst, *(k for k in found if not math.isnan(k))])
        if math.isfinite(best):
            self._known[key] = best
        return best

    def _by_term(self, x: Expression, y: Expression, depth: int, upper: bool) -> float:
        """x against a term of y: a sum is at least each of its terms, if none is negative."""
        worst = math.inf if upper else -math.inf
        if x.odd or y.odd or depth <= 0 or x.kind is not y.kind:
            return worst
        if y.operator not in ("Add", "Max"):
            return worst
        if y.operator == "Add" and any(one.bounds.low < 0.0 for one in y.arguments):
            return worst
        terms = [one for one in y.arguments if one.bounds.low >= 0.0]
        found = [self._multiple(x, one, depth, upper) for one in terms]
        if upper:
            return max(min(found, default=worst), 0.0)
        return min(max(found, default=worst), 0.0)

    def _by_bounds(self, x: Expression, y: Expression, upper: bool) -> float:
        if x is y:
            return 1.0
        low, high = x.bounds
        if upper:
            if high <= 0.0:
                return high / y.bounds.high if 0.0 < y.bounds.high < math.inf else 0.0
            return self._lost(high / y.bounds.low, x, True) if y.bounds.low > 0.0 else math.inf
        if low >= 0.0:
            return 0.0
        return self._lost(low / y.bounds.low, x, False) if y.bounds.low > 0.0 else -math.inf

    @staticmethod
    def _lost(k: float, x: Expression, upper: bool) -> float:
        """`k` after one more rounding to the type of x."""
        if not math.isfinite(k) or k == 0.0 or abs(math.frexp(k)[0]) == 0.5:
            return k
        return k + abs(k) * 4 * x.kind.unit * (1 if upper else -1)

    def _by_operator(self, x: Expression, y: Expression, depth: int, upper: bool) -> float:
        worst = math.inf if upper else -math.inf
        if x is y:
            return 1.0
        # The grid of a wider type has numbers between those of a narrower one.
        if x.odd or y.odd or depth <= 0 or x.kind is not y.kind:
            return worst

        def same(one: Expression) -> float:
            return self._multiple(one, y, depth, upper)

        def opposite(one: Expression) -> float:
            return self._multiple(one, y, depth, not upper)

        arguments = x.arguments
        match x.operator:
            case "Identity" | "Cast":
                return self._lost(same(arguments[0]), x, upper)
            case "Neg":
                return -opposite(arguments[0])
            case "Add":
                return self._lost(same(arguments[0]) + same(arguments[1]), x, upper)
            case "Sub":
                return self._lost(same(arguments[0]) - opposite(arguments[1]), x, upper)
            case "Max":
                return max(map(same, arguments))
            case "Min":
                return min(map(same, arguments))
            case "Where":
                return (max if upper else min)(map(same, arguments[1:]))
            case "Abs":
                size = self._size(arguments[0], y, depth)
                return size if upper else 0.0
            case "sum" | "most" if not upper and arguments[0].bounds.low >= 0.0:
                return same(arguments[0])
            case "Mul":
                return self._product(x, y, depth, upper)
            case "Div":
                return self._over(x, y, depth, upper)
        return worst

    def _over(self, x: Expression, y: Expression, depth: int, upper: bool) -> float:
        top, bottom = x.arguments
        if bottom.bounds.low <= 0.0:
            return math.inf if upper else -math.inf
        k = self._multiple(top, y, depth, upper)
        if not math.isfinite(k):
            return k
        end = bottom.bounds.low if (k > 0) == upper else bottom.bounds.high
        return self._lost(k / end, x, upper)

    def _product(self, x: Expression, y: Expression, depth: int, upper: bool) -> float:
        a, b = x.arguments
        found = [math.inf if upper else -math.inf]
        positive = a.bounds.low >= 0.0 and b.bounds.low >= 0.0
        if y.operator == "Add" and _are_squared(a, b, y):
            return 1.0 if upper else -1.0
        if y.operator == "Mul" and all(one.bounds.low >= 0.0 for one in y.arguments):
            for c, d in (y.arguments, y.arguments[::-1]):
                if upper or not positive:
                    k = self._size(a, c, depth) * self._size(b, d, depth)
                    found.append(self._lost(k, x, True) if upper else -self._lost(k, x, True))
                else:
                    k = self.below(a, c, depth) * self.below(b, d, depth)
                    found.append(self._lost(k, x, False))
        for one, other in ((a, b), (b, a)):
            if upper or not positive:
                k = self._size(one, y, depth) * other.bounds.size
                if not math.isnan(k):
                    found.append(self._lost(k, x, True) if upper else -self._lost(k, x, True))
            else:
                k = self.below(one, y, depth)
                if math.isfinite(k):
                    found.append(self._lost(max(k, 0.0) * other.bounds.low, x, False))
        if a is b:
            found += [] if upper else [0.0]
        found = [k for k in found if not math.isnan(k)]
        return (min if upper else max)(found)

    def _by_form(self, x: Expression, y: Expression, upper: bool) -> float | None:
        """x against y as sums of coordinates, with the roundings of both in multiples of y."""
        if x.operator not in (*_LINEAR, "Max", "input", "view", "Cast"):
            return None
        if y.operator not in (*_LINEAR, "Cast") or x.odd or y.odd:
            return None
        mine, its = self.form(x), self.form(y)
        if len(mine) > 8 or len(its) > 8:
            return None

        def multiple(form: Form) -> float:
            """The least of a few k with form <= k * y in real numbers."""
            for k in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0):
                if self.least(_plus({atom: k * f for atom, f in its.items()}, form, -1.0)) >= 0.0:
                    return k
            return math.inf

        def unit(one: Expression) -> float:
            form = self.form(one)
            return 1.001 * max(multiple(form), multiple({a: -f for a, f in form.items()}))

        shrunk = 1.0 - self._spread(y, unit)
        k = multiple(mine) if upper else multiple({atom: -f for atom, f in mine.items()})
        if not math.isfinite(k) or not 0.0 < shrunk <= 1.0:
            return None
        if k == 0.0 and self.exact(x):
            return 0.0
        if k == 1.0 and self._is_one_rounding(x) and self._is_one_rounding(y) and x.kind is y.kind:
            return k if upper else -k  # rounding keeps the order of the exact differences
        k = (k + self._spread(x, unit)) / shrunk
        return k if upper else -k

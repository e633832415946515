"""Random inputs for a graph of which only the declared types and shapes are known."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lossexport.errors import LossexportError
from lossexport.runtime.session import Array, Session, TensorInfo, describe

RANGES = ((0.0, 1.0), (0.0, 255.0), (-2.5, 2.5))
"""Values of images: normalised, bytes, and with the mean subtracted and divided."""

_SIDES = (
    *(64, 96, 32, 128, 160, 224, 256, 320, 416, 512, 640, 8, 16, 4, 6, 2, 12, 24, 48, 1, 3, 5),
    *(7, 9, 10, 14, 15, 20, 28, 40, 56, 80, 112, 192, 384, 448, 518, 560, 800, 1024, 1280),
)
_COUNTS = tuple(dict.fromkeys((1, 2, 3, 4, 5, 6, 8, 10, 16, 100, 300, *_SIDES)))
_CHANNELS = tuple(dict.fromkeys((3, 1, 4, *_SIDES)))
_MAX_ELEMENTS = 2**24
_MAX_TRIES = 500
_PATIENCE = 60.0, 10.0  # seconds to look for sizes that fit, and for others once some do

_Key = str | tuple[str, int]
"""An open dimension: its name, or the input and the axis where it has none."""
_Sizes = dict[_Key, int]


@dataclass(frozen=True, slots=True)
class Feed:
    """Inputs of a session: a shape for each, and the range of the values."""

    shapes: Mapping[str, tuple[int, ...]]
    low: float
    high: float

    def arrays(self, session: Session) -> dict[str, Array]:
        """The same arrays each time; whole numbers where an input has no others."""
        rng = np.random.default_rng(0)
        return {
            info.name: _array(info.dtype, self.shapes[info.name], self.low, self.high, rng)
            for info in session.inputs
        }

    def __str__(self) -> str:
        shapes = ", ".join(f"{name}{describe(shape)}" for name, shape in self.shapes.items())
        return f"{shapes} from {self.low:g} to {self.high:g}"


def fitting(session: Session) -> list[Feed]:
    """Inputs that `session` runs on, in every range that it takes.

    An open size gets at least two values if two are found that fit, and otherwise one. Raises
    LossexportError, with the first refusal of the runtime, if none are found.
    """
    sizes = _OpenSizes(session.inputs)
    search = _Search(session, sizes)
    search.extend(sizes.candidates(), values=1)
    if not search.taken:
        inputs = ", ".join(f"{i.name}{describe(i.shape)} {i.dtype}" for i in session.inputs)
        raise LossexportError(
            f"{session.path}: does not run on any of the random inputs tried for {inputs}: "
            f"{search.refusal or 'all are too large'}"
        )
    search.extend(sizes.variations(search.taken[0]), values=2)
    return search.feeds


class _Search:
    """Sizes that were `taken` because a session runs on them, and its `feeds` of those sizes."""

    def __init__(self, session: Session, sizes: "_OpenSizes") -> None:
        self.taken: list[_Sizes] = []
        self.feeds: list[Feed] = []
        self.refusal = ""
        self._session, self._sizes = session, sizes
        self._tried: set[tuple[int, ...]] = set()

    def extend(self, candidates: Iterator[_Sizes], values: int) -> None:
        """Take candidates that run until every open size has so many values."""
        end = time.monotonic() + _PATIENCE[values - 1]
        for one in itertools.islice(candidates, _MAX_TRIES):
            had = {key: {other[key] for other in self.taken} for key in one}
            news = any(one[k] not in v and len(v) < values for k, v in had.items())
            point = tuple(one.values())
            if point in self._tried or (self.taken and not news):
                continue
            if time.monotonic() > end:
                return
            self._tried.add(point)
            shapes = self._sizes.shapes(one)
            if shapes is None or not (found := self._running(shapes)):
                continue
            self.taken.append(one)
            self.feeds += found
            if all(len(v | {one[k]}) >= values for k, v in had.items()):
                return

    def _running(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Feed]:
        """The ranges that the session takes with inputs of these shapes.

        The first range that ran with other shapes has to run with these, or they do not fit.
        """
        found: list[Feed] = []
        known = {(feed.low, feed.high) for feed in self.feeds}
        for low, high in RANGES:
            if known and (low, high) not in known:
                continue
            feed = Feed(shapes, low, high)
            try:
                self._session(**feed.arrays(self._session))
            except LossexportError as error:
                self.refusal = self.refusal or str(error).removeprefix(f"{self._session.path}: ")
                if known and not found:
                    break
            else:
                found.append(feed)
        return found


class _OpenSizes:
    """The open dimensions of inputs, and the sizes worth trying for each."""

    def __init__(self, inputs: Sequence[TensorInfo]) -> None:
        self._inputs = inputs
        self._choices: dict[_Key, tuple[int, ...]] = {}
        for info in inputs:
            for axis, size in enumerate(info.shape):
                if not isinstance(size, int):
                    self._choices.setdefault(_key(info, axis), _choices(info, axis))

    def candidates(self) -> Iterator[_Sizes]:
        """Equal sizes first (64 x 64), then all combinations."""
        for at in range(max(map(len, self._choices.values()), default=0)):
            yield {key: c[min(at, len(c) - 1)] for key, c in self._choices.items()}
        for places in _rising([len(c) for c in self._choices.values()]):
            pairs = zip(self._choices.items(), places, strict=True)
            yield {key: c[at] for (key, c), at in pairs}

    def variations(self, base: _Sizes) -> Iterator[_Sizes]:
        """Sizes that fit with one of them changed, then all combinations."""
        for key, sizes in self._choices.items():
            yield from ({**base, key: size} for size in sizes)
        yield from self.candidates()

    def shapes(self, sizes: _Sizes) -> dict[str, tuple[int, ...]] | None:
        """The inputs' shapes, None where open sizes make one too large to try."""
        shapes = {
            info.name: tuple(
                size if isinstance(size, int) else sizes[_key(info, axis)]
                for axis, size in enumerate(info.shape)
            )
            for info in self._inputs
        }
        largest = max((np.prod(shape, dtype=float) for shape in shapes.values()), default=0)
        return shapes if not sizes or largest <= _MAX_ELEMENTS else None


def _rising(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All places below `counts`, those of small sum first."""

    def of_sum(rest: Sequence[int], total: int) -> Iterator[tuple[int, ...]]:
        if not rest:
            yield from [()] if total == 0 else []
            return
        for place in range(min(total, rest[0] - 1) + 1):
            yield from ((place, *more) for more in of_sum(rest[1:], total - place))

    for total in range(sum(counts) - len(counts) + 1):
        yield from of_sum(counts, total)


def _key(info: TensorInfo, axis: int) -> _Key:
    size = info.shape[axis]
    return size if isinstance(size, str) and size != "?" else (info.name, axis)


def _choices(info: TensorInfo, axis: int) -> tuple[int, ...]:
    if axis == 0:
        return _COUNTS
    image = len(info.shape) == 4
    return _CHANNELS if image and axis == 1 and info.shape[3] not in (1, 3, 4) else _SIDES


def _array(
    dtype: str, shape: tuple[int, ...], low: float, high: float, rng: np.random.Generator
) -> Array:
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype == "bfloat16":
        import ml_dtypes

        return _uniform(shape, low, high, rng).astype(ml_dtypes.bfloat16)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return _uniform(shape, low, high, rng).astype(kind)
    limits = np.iinfo(kind)
    ends = (max(int(low), limits.min), min(int(high), limits.max))
    return rng.integers(*ends, shape, dtype=kind, endpoint=True)


def _uniform(
    shape: tuple[int, ...], low: float, high: float, rng: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return rng.random(shape, np.float32) * np.float32(high - low) + np.float32(low)

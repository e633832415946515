"""The catalogue: the built-in ops, and those of one's own once they are registered."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from types import MappingProxyType

from lossexport.catalog import sources
from lossexport.catalog.spec import Op
from lossexport.errors import LossexportError

_BUILT_IN = "built in"


class Catalogue(Mapping[str, Op]):
    """Op by name: the built-in ones first, then the others in the order in which they came.

    The variable and the installed packages are looked at once: when a name is asked for, or to be
    added, that is not built in, or when all ops are listed.
    """

    def __init__(self, ops: Iterable[Op]) -> None:
        self.builtin: Mapping[str, Op] = MappingProxyType({op.name: op for op in ops})
        self._own: dict[str, Op] = {}
        self._origins: dict[str, str] = {}
        self._loaded: set[str] = set()
        self._complete = False
        self._lock = RLock()

    def __getitem__(self, name: str) -> Op:
        if name in self.builtin:
            return self.builtin[name]
        if name not in self._own:
            self._look_around()
        return self._own[name]

    def __iter__(self) -> Iterator[str]:
        self._look_around()
        return iter((*self.builtin, *self._own))

    def __len__(self) -> int:
        self._look_around()
        return len(self.builtin) + len(self._own)

    def origin(self, name: str) -> str:
        """Where an op comes from: "built in", a file, a module, a package, a line of a program."""
        return self._origins.get(name, _BUILT_IN)

    def load(self, where: str) -> None:
        """Register the ops of FILE.py or of a module. Raises LossexportError where it has none."""
        with self._lock:
            self._look_around()
            if sources.key(where) not in self._loaded:
                self._add(sources.load(where), where)
                self._loaded.add(sources.key(where))

    def add(self, ops: Sequence[Op], origin: str) -> None:
        """Register all of the ops or none. Raises LossexportError where a name is taken."""
        with self._lock:
            self._look_around()
            self._add(ops, origin)

    @contextmanager
    def scoped(self) -> Iterator[None]:
        """Forget at the end which ops were registered inside."""
        state = dict(self._own), dict(self._origins), set(self._loaded), self._complete
        try:
            yield
        finally:
            self._own, self._origins, self._loaded, self._complete = state

    def _add(self, ops: Sequence[Op], origin: str) -> None:
        added: dict[str, Op] = {}
        for op in ops:
            known = {**self.builtin, **self._own, **added}
            if known.get(op.name) is op:
                continue
            for other in known.values():
                if op.name == other.name or op.class_name == other.class_name:
                    by = origin if other.name in added else self.origin(other.name)
                    what = "" if op.name == other.name else f" has class_name {op.class_name}:"
                    raise LossexportError(
                        f"{origin}: op {op.name!r}:{what} there is {other.name!r} already, {by}: "
                        "choose another name"
                    )
            added[op.name] = op
        self._own |= added
        self._origins |= dict.fromkeys(added, origin)

    def _look_around(self) -> None:
        with self._lock:
            if self._complete:
                return
            self._complete = True  # what is loaded may itself ask for ops
            try:
                for origin, load in sources.configured():
                    if sources.key(origin) not in self._loaded:
                        self._add(load(), origin)
                        self._loaded.add(sources.key(origin))
            except LossexportError:
                self._complete = False
                raise

"""The catalogue: the built-in ops and registered ops of one's own."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from types import MappingProxyType

from lossexport.catalog import sources
from lossexport.catalog.spec import Op
from lossexport.errors import LossexportError

_BUILT_IN = "built in"


class Catalogue(Mapping[str, Op]):
    """Ops by name: the built-in ones first, then the others in the order of registration.

    The environment variable and the installed packages are read only once: when a name that is not
    built in is looked up or added, or when all ops are listed.
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
        """The origin of an op: "built in", a file, a module, a package, or a line of a program."""
        return self._origins.get(name, _BUILT_IN)

    def option(self, name: str) -> str:
        """` --ops FILE.py` where a command needs it for this op, else nothing."""
        origin = self.origin(name)
        named = name not in self.builtin and sources.is_source(origin)
        return f" --ops {shlex.quote(origin)}" if named else ""

    def load(self, where: str) -> None:
        """Register the ops of FILE.py or a module. Raises LossexportError if it has none."""
        with self._lock:
            self._look_around()
            if sources.key(where) not in self._loaded:
                self._add(sources.load(where), where)
                self._loaded.add(sources.key(where))

    def add(self, ops: Sequence[Op], origin: str) -> None:
        """Register all of the ops or none. Raises LossexportError if a name is taken."""
        with self._lock:
            self._look_around()
            self._add(ops, origin)

    @contextmanager
    def scoped(self) -> Iterator[None]:
        """Remove the ops that are registered inside the block at its end."""
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
            self._complete = True  # set first, because the code that is loaded may look up ops
            try:
                for origin, load in sources.configured():
                    if sources.key(origin) not in self._loaded:
                        self._add(load(), origin)
                        self._loaded.add(sources.key(origin))
            except LossexportError:
                self._complete = False
                raise

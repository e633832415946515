"""Finds declarations by name, in this package and in installed packages."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from lossexport import arguments
from lossexport.errors import LossexportError, one_line

if TYPE_CHECKING:
    from importlib import metadata


class Named(Protocol):
    """An entry of a registry."""

    @property
    def name(self) -> str:
        """The name to find it by."""


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """Declarations of one type, each imported when its name is asked for.

    An installed package can add declarations with entry points in `group`, which is the name of the
    package that defines the type. They are read only for a name that is not built in.
    """

    def __init__(self, kind: type[T], word: str, group: str, builtin: Mapping[str, str]) -> None:
        """`builtin` maps names to "module:attribute"; `word` is what messages call an entry."""
        self._kind = kind
        self._word = word
        self._group = group
        self._builtin = dict(builtin)
        self._found: dict[str, T] = {}

    @property
    def builtin(self) -> tuple[str, ...]:
        """The names of this package."""
        return tuple(self._builtin)

    def names(self) -> tuple[str, ...]:
        """Every name, those of this package first; nothing is imported."""
        from importlib import metadata

        outside = sorted(metadata.entry_points(group=self._group).names)
        return tuple(dict.fromkeys([*self._builtin, *outside]))

    def find(self, name: object) -> T:
        """The declaration with this name.

        Raises LossexportError if there is none. Also raises, naming the package, if an entry point
        has a name that is taken or cannot be loaded.
        """
        if not isinstance(name, str) or name not in self._builtin:
            return self._outside(name)
        module, _, attribute = self._builtin[name].partition(":")
        found: T = getattr(import_module(module), attribute)
        return found

    def _outside(self, name: object) -> T:
        from importlib import metadata

        points: dict[str, metadata.EntryPoint] = {}
        for point in metadata.entry_points(group=self._group):
            if point.name in self._builtin:
                raise LossexportError(
                    f"{self._called(point)} takes the name of a {self._word} of lossexport"
                )
            if point.name in points:
                raise LossexportError(
                    f"{self._called(point)} takes the name of a {self._word} of "
                    f"{_package(points[point.name])}"
                )
            points[point.name] = point
        if not isinstance(name, str) or name not in points:
            arguments.choice(self._word, name, self.names())
        if name not in self._found:
            self._found[str(name)] = self._load(points[str(name)])
        return self._found[str(name)]

    def _load(self, point: "metadata.EntryPoint") -> T:
        try:
            found = point.load()
        except Exception as error:  # the code of another package may raise anything
            why = one_line(f"{type(error).__name__}: {error}")
            raise LossexportError(f"{self._called(point)} cannot be loaded: {why}") from error
        if not isinstance(found, self._kind):
            raise LossexportError(
                f"{self._called(point)} is a {type(found).__name__}: a "
                f"{self._group}.{self._kind.__name__} is expected"
            )
        if found.name != point.name:
            raise LossexportError(
                f"{self._called(point)} is the {self._word} {found.name!r}: both have to have one "
                "name"
            )
        return found

    def _called(self, point: "metadata.EntryPoint") -> str:
        where = f"entry point {point.name!r} of {self._group} ({point.value})"
        return f"{_package(point)}: {where}"


def _package(point: "metadata.EntryPoint") -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"

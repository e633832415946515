"""Decides which images and categories of two inputs are the same, by one rule for every verb.

Ids are used if the names agree with them. Otherwise names are used: the whole name or, if that is
unique, the last part of its path without regard to case. If neither decides, the input is refused
with both sides of the first contradiction. An input without names, such as a result list, is joined
by ids or, if those are unknown, by the names of the other input: the stems of its file names.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn
from unicodedata import normalize

import msgspec

from lossexport import arguments
from lossexport.boxes.boxset import Id, sort_ids
from lossexport.boxes.side import Entry, Table
from lossexport.errors import LossexportError
from lossexport.images import IMAGE_FILES
from lossexport.names import MATCH_BY, MatchBy

SHOWN = 3
"""Names that a message shows."""


def check_match_by(value: object) -> None:
    """Raise LossexportError if `value` is not a way to match."""
    if value is not None:
        arguments.choice("match_by", value, MATCH_BY)


Key = Callable[[str], Id]


class Kind(msgspec.Struct, frozen=True):
    """The words for what is joined."""

    one: str
    many: str
    by_name: str
    loosely: str
    """How names that are not equal are joined."""
    paths: bool
    """Names are paths of files."""


IMAGES = Kind("image", "images", "file name", " without regard to folder and case", paths=True)
CATEGORIES = Kind("category", "categories", "name", " without regard to case", paths=False)


@dataclass(frozen=True)
class Part:
    """A table of one input, the ids in it that have boxes, and the path of the input."""

    path: Path
    table: Table
    used: Collection[Id]

    @property
    def rows(self) -> Mapping[Id, Entry]:
        """The listed rows; none if the input has no table."""
        return self.table.rows or {}

    @cached_property
    def ids(self) -> list[Id]:
        """The listed ids, then those that only boxes have."""
        rows = self.rows
        return [*rows, *[value for value in self.used if value not in rows]]

    @property
    def named(self) -> bool:
        """Whether the input names any of them."""
        return any(row.name is not None for row in self.rows.values())


def match_ids(base: Part, other: Part, kind: Kind, by: MatchBy | None) -> tuple[dict[Id, Id], str]:
    """Map ids of `other` to those of `base`; ids that `base` does not have are left out.

    Also gives a note where the ids of the two inputs differ, or "". `by` overrides the rule. Raises
    LossexportError if the two contradict each other.
    """
    known = set(base.ids)
    same = {value: value for value in other.ids if value in known}
    if by == "id":
        return same, ""
    if not (base.named and other.named):
        return _without_names(base, other, kind, by, same)
    joined = _by_name(base, other, kind)
    if by is None:
        agree = {value for value in same if _agrees(base, other, value, kind, joined)}
        strange = [v for v in other.used if v not in agree and (v in joined or v in same)]
        if not strange:
            return {value: value for value in agree} | joined, ""
        wrong = [value for value in other.used if value not in joined and value in same]
        if wrong:
            _refuse(base, other, kind, [v for v in wrong if v not in agree] or wrong)
    if all(value == target for value, target in joined.items()):
        return joined, ""
    exact = all(other.table.name(v) == base.table.name(target) for v, target in joined.items())
    return joined, (
        f"Ids of {kind.many} differ between {base.path.name} and {other.path.name}: joined by "
        f"{kind.by_name}{'' if exact else kind.loosely}."
    )


def _agrees(base: Part, other: Part, value: Id, kind: Kind, joined: Mapping[Id, Id]) -> bool:
    """Whether the names of `value`, an id of both, support it or at least do not contradict it."""
    mine, theirs = other.table.name(value), base.table.name(value)
    if value in joined:
        return joined[value] == value
    if mine is None or theirs is None:
        return True
    return any(key(mine) == key(theirs) for key in _keys(base.table, other.table, kind))


def _by_name(base: Part, other: Part, kind: Kind) -> dict[Id, Id]:
    """Ids of `other` whose name finds exactly one row of `base`."""
    joined: dict[Id, Id] = {}
    for key in _keys(base.table, other.table, kind):
        theirs = _unique(base, key, kind)
        taken = set(joined.values())
        for name, value in _unique(other, key, kind).items():
            target = theirs.get(name)
            if value not in joined and target is not None and target not in taken:
                joined[value] = target
    return joined


def _unique(part: Part, key: Key, kind: Kind) -> dict[Id, Id]:
    """Ids by the key of their name, if only one row, or one category with boxes, has it."""
    found: dict[Id, list[Id]] = {}
    for value, row in part.rows.items():
        if row.name is not None:
            found.setdefault(key(row.name), []).append(value)
    chosen: dict[Id, Id] = {}
    for name, values in found.items():
        if len(values) > 1 and not kind.paths:  # but an image without boxes still counts
            values = [value for value in values if value in part.used]
        if len(values) == 1:
            chosen[name] = values[0]
    return chosen


def _keys(base: Table, other: Table, kind: Kind) -> list[Key]:
    """Ways to compare names, the strictest first."""
    if not kind.paths:
        return [str, _folded]
    if base.stems or other.stems:
        return [_without_suffix, stem]
    return [str, _last]


def _folded(name: str) -> str:
    """`name` without regard to case, outer spaces and the way in which accents are written."""
    return name.strip().casefold() if name.isascii() else normalize("NFKC", name).strip().casefold()


def _last(name: str) -> str:
    return _folded(name.replace("\\", "/").rstrip().rpartition("/")[2])


def _without_suffix(name: str) -> str:
    """`name` without the suffix of an image; a name such as a.b may have none."""
    name = name.replace("\\", "/")
    short, _, suffix = name.rpartition(".")
    return short if short and suffix.lower() in IMAGE_FILES else name


def stem(name: str) -> Id:
    """Last part of a path without its suffix and without regard to case; digits are a number."""
    return _number(_without_suffix(_last(name)))


def _number(text: str) -> Id:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text


def _without_names(
    base: Part, other: Part, kind: Kind, by: MatchBy | None, same: dict[Id, Id]
) -> tuple[dict[Id, Id], str]:
    """Join by ids or, if some of those are unknown, by the names that one of the inputs gives."""
    bare, listed = (other, base) if not other.named else (base, other)
    if by is None and kind.paths and _named_by_ids(listed.rows, bare.used):
        return same, ""  # what follows comes to the same
    names = _plain_names(listed, kind)
    plain = _last if kind.paths else _folded
    called = {v: names[key] for v in bare.used if (key := _number(plain(str(v)))) in names}
    if by == "name" and kind.paths and bare.used and not called:
        raise LossexportError(
            f"{bare.path}: has no {kind.by_name}s to match by, and its ids of {kind.many} are not "
            f"{kind.by_name}s of {listed.path}"
        )
    known = set(listed.ids)
    unknown = [value for value in bare.used if value not in known]
    all_called = bool(called) and len(called) == len(bare.used)
    # A number may be the stem of an unrelated file by chance. If some of the values are known
    # ids, all of them are ids.
    few = len(unknown) == len(bare.used) and any(isinstance(value, str) for value in called)
    distinct = len(set(called.values())) == len(called)
    what = "file names without suffix" if kind.paths else "names"
    if called and distinct and (by == "name" or (unknown and (all_called or few))):
        if all(value == target for value, target in called.items()):
            return same, ""
        mapping = called if bare is other else {target: v for v, target in called.items()}
        return mapping, f"{bare.path.name}: {kind.one} ids are {what}: joined by them."
    if all_called and any(value != target for value, target in called.items()):
        return same, (
            f"{bare.path.name}: {kind.one} ids are joined by id, but are {what} of other "
            f"{kind.many} in {listed.path.name} too: --match-by name (match_by) joins by those."
        )
    return same, ""


def _named_by_ids(rows: Mapping[Id, Entry], ids: Collection[Id]) -> bool:
    """Whether the row of each of `ids` is named by its number, with the suffix of an image."""
    found = [row.name or "" for row in map(rows.get, ids) if row is not None]
    if not found or len(found) < len(ids):
        return False
    # All at once, which takes a fraction of the time of one by one.
    suffix = found[0][found[0].rfind(".") :]
    text = "\n".join(found) + "\n"
    if suffix[1:].lower() not in IMAGE_FILES or not (
        text.count(suffix) == text.count(f"{suffix}\n") == len(found)
    ):
        return False
    stems = text.replace(suffix, "").split("\n")[:-1]
    digits = "".join(stems)
    plain = digits.isascii() and digits.isdigit() and len(min(stems, key=len)) > 0
    return plain and len(max(stems, key=len)) < 19 and list(map(int, stems)) == list(ids)


def _plain_names(part: Part, kind: Kind) -> dict[Id, Id]:
    """Ids by the names that an input without names may use for them, if these are unique."""
    found: dict[Id, set[Id]] = {}
    for value, row in part.rows.items():
        if row.name is not None:
            last = _last(row.name) if kind.paths else _folded(row.name)
            other = _number(_without_suffix(last)) if kind.paths else _number(last)
            for key in {last, other} if kind.paths else (other,):
                found.setdefault(key, set()).add(value)
    return {key: next(iter(values)) for key, values in found.items() if len(values) == 1}


def _refuse(base: Part, other: Part, kind: Kind, wrong: Sequence[Id]) -> NoReturn:
    """Raise LossexportError on ids to which the two inputs give different names."""
    value = sort_ids(wrong)[0][0]
    mine, theirs = other.table.name(value), base.table.name(value)
    rest = f" ({len(wrong)} such {kind.many})" if len(wrong) > 1 else ""
    raise LossexportError(
        f"{other.path}: {kind.one} {value!r} is {_quoted(mine)} here and {_quoted(theirs)} in "
        f"{base.path}{rest}, and {_not_found(base, other, mine, kind)}; "
        f"--match-by id (match_by) trusts the ids, --match-by name the names"
    )


def _quoted(name: str | None) -> str:
    return "without a name" if name is None else repr(name)


def _not_found(base: Part, other: Part, name: str | None, kind: Kind) -> str:
    """Why a name finds nothing in `base`, with names that are near."""
    from difflib import get_close_matches

    if name is None:
        return f"other ids of {kind.many} differ in their names"
    key = _keys(base.table, other.table, kind)[-1]
    for part in (base, other):
        named = [row.name for row in part.rows.values() if row.name is not None]
        if sum(key(known) == key(name) for known in named) > 1:
            return f"{name!r} is the name of several {kind.many} in {part.path}"
    names = list(dict.fromkeys(row.name for row in base.rows.values() if row.name is not None))
    near = list(dict.fromkeys(get_close_matches(name, names, SHOWN, 0.6) + names))[:SHOWN]
    more = ", ..." if len(names) > SHOWN else ""
    return f"{name!r} is not the name of {_article(kind.one)} there ({', '.join(near)}{more})"


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def distinct_id(value: Id, name: str | None, path: Path, taken: Collection[Id]) -> Id:
    """An id for a row that only one input has: its own or, if that is taken, its name."""
    for wanted in _candidates(value, name, path):
        if wanted not in taken:
            return wanted
    raise AssertionError("numbers never end")


def _candidates(value: Id, name: str | None, path: Path) -> Iterable[Id]:
    yield value
    if name is not None:
        yield name
    yield f"{value} ({path.name})"
    number = 1
    while True:
        number += 1
        yield f"{value} ({path.name}, {number})"

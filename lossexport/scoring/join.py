"""Which image and which category of one input is which of another: one rule for every verb.

Ids count where the names agree with them. Where they do not, names count: the whole name, else the
last part of its path without regard to case, where that is unique. What neither settles is refused,
with both sides of the first contradiction. An input without names, as a result list, is joined by
ids, or where those are unknown by the stems of the other input's file names.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from lossexport.errors import LossexportError
from lossexport.scoring.boxset import Id
from lossexport.scoring.pictures import IMAGE_FILES
from lossexport.scoring.side import Table

MatchBy = Literal["id", "name"]
MATCH_BY: tuple[MatchBy, ...] = ("id", "name")


def check_match_by(value: str | None) -> None:
    """Raise LossexportError where `value` is no way to match."""
    if value not in (None, *MATCH_BY):
        raise LossexportError(f"match_by {value!r} is not one of {', '.join(MATCH_BY)}")


Key = Callable[[str], Id]


@dataclass(frozen=True, slots=True)
class Kind:
    """The words for what is joined."""

    one: str
    many: str
    by_name: str
    paths: bool
    """Names are paths of files."""


IMAGES = Kind("image", "images", "file name", paths=True)
CATEGORIES = Kind("category", "categories", "name", paths=False)


@dataclass(frozen=True, slots=True)
class Part:
    """A table of one input, the ids in it that have boxes, and where it was read."""

    path: Path
    table: Table
    used: Collection[Id]


def match_ids(base: Part, other: Part, kind: Kind, by: MatchBy | None) -> tuple[dict[Id, Id], str]:
    """Map ids of `other` to those of `base`; ids that `base` does not have are left out.

    Also gives a note where the ids of the two inputs differ, or "". `by` overrules the rule. Raises
    LossexportError where the two contradict each other.
    """
    known = set(base.table.all_ids())
    same = {value: value for value in other.table.all_ids() if value in known}
    if by == "id":
        return same, ""
    if base.table.rows is None or other.table.rows is None:
        if by == "name" and kind.paths:
            path = base.path if base.table.rows is None else other.path
            raise LossexportError(f"{path}: has no names of {kind.many} to match by")
        return _without_names(base, other, kind, known, same)
    joined = _by_name(base, other, kind)
    if by is None:
        if all(_agrees(base, other, value, kind, joined) for value in other.used):
            return same | joined, ""
        _refuse_contradictions(base, other, kind, joined, same)
    if all(value == target for value, target in joined.items()):
        return joined, ""
    return joined, f"Ids of {kind.many} differ between the inputs: joined by {kind.by_name}."


def _agrees(base: Part, other: Part, value: Id, kind: Kind, joined: Mapping[Id, Id]) -> bool:
    """Whether the name of `value` speaks for its id, or at least not against it."""
    mine, theirs = other.table.name(value), base.table.name(value)
    if mine is None:
        return True
    if value in joined:
        return joined[value] == value
    return theirs is None or mine == theirs or value not in (base.table.rows or {})


def _by_name(base: Part, other: Part, kind: Kind) -> dict[Id, Id]:
    """Ids of `other` whose name finds exactly one row of `base`."""
    joined: dict[Id, Id] = {}
    for key in _keys(base.table, other.table, kind):
        theirs = _unique(base, key)
        mine = _unique(other, key)
        taken = set(joined.values())
        for name, value in mine.items():
            target = theirs.get(name)
            if value not in joined and target is not None and target not in taken:
                joined[value] = target
    return joined


def _unique(part: Part, key: Key) -> dict[Id, Id]:
    """Ids by the key of their name, where one row has it, or one row with boxes."""
    found: dict[Id, list[Id]] = {}
    for value, row in (part.table.rows or {}).items():
        if row.name is not None:
            found.setdefault(key(row.name), []).append(value)
    chosen: dict[Id, Id] = {}
    for name, values in found.items():
        if len(values) > 1:
            values = [value for value in values if value in part.used]
        if len(values) == 1:
            chosen[name] = values[0]
    return chosen


def _keys(base: Table, other: Table, kind: Kind) -> list[Key]:
    """Ways to compare names, the strictest first."""
    if not kind.paths:
        return [str, lambda name: name.strip().casefold()]
    if base.stems or other.stems:
        return [_without_suffix, stem]
    return [str, _last]


def _last(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2].casefold()


def _without_suffix(name: str) -> str:
    """`name` without the suffix of an image; a name such as a.b may have none."""
    name = name.replace("\\", "/")
    short, _, suffix = name.rpartition(".")
    return short if short and suffix.lower() in IMAGE_FILES else name


def stem(name: str) -> Id:
    """Last part of a path without its suffix and without regard to case; digits are a number."""
    short = _without_suffix(_last(name))
    return int(short) if short.isascii() and short.isdigit() and len(short) < 19 else short


def _without_names(
    base: Part, other: Part, kind: Kind, known: Collection[Id], same: dict[Id, Id]
) -> tuple[dict[Id, Id], str]:
    """Join by ids, or where those of an input are unknown, by the stems of file names."""
    unknown = [value for value in other.used if value not in known]
    if not unknown or not kind.paths:
        return same, ""
    if other.table.rows is None:
        stems = _stems(base.table)
        joined = {value: stems[key] for value in other.used if (key := stem(str(value))) in stems}
        mixed = other.path
    else:
        stems = _stems(other.table)
        joined = {stems[key]: v for v in base.table.all_ids() if (key := stem(str(v))) in stems}
        mixed = base.path
    by_id = [value for value in other.used if value in known]
    if not joined or by_id or len(set(joined.values())) < len(joined):
        return same, ""
    return joined, f"{mixed.name}: image ids are file names without suffix: joined by them."


def _stems(table: Table) -> dict[Id, Id]:
    """Ids by the stem of their file name, where it is unique."""
    named = [(stem(row.name), v) for v, row in (table.rows or {}).items() if row.name is not None]
    count = Counter(key for key, _ in named)
    return {key: value for key, value in named if count[key] == 1}


def _refuse_contradictions(
    base: Part, other: Part, kind: Kind, joined: Mapping[Id, Id], same: Mapping[Id, Id]
) -> None:
    """Raise LossexportError where an id means one thing by its name and another by itself."""
    wrong = [value for value in other.used if value not in joined and value in same]
    if not wrong:
        return
    value = min(wrong, key=str)
    mine, theirs = other.table.name(value), base.table.name(value)
    rest = f" and {len(wrong) - 1} more such" if len(wrong) > 1 else ""
    raise LossexportError(
        f"{other.path}: {kind.one} {value!r} is {mine!r} here and {theirs!r} in {base.path}{rest}; "
        f"{mine!r} is {_not_found(base, mine, kind)}; "
        f"--match-by id (match_by) trusts the ids, --match-by name the names"
    )


def _not_found(base: Part, name: str | None, kind: Kind) -> str:
    """Why a name finds nothing in `base`, with names that are near."""
    rows = (base.table.rows or {}).values()
    names = [row.name for row in rows if row.name is not None]
    keys = _keys(base.table, base.table, kind)
    if name is not None and sum(keys[-1](known) == keys[-1](name) for known in names) > 1:
        return f"the name of several {kind.many} there"
    near = get_close_matches(str(name), names, 3, 0.4) or names[:3]
    more = ", ..." if len(names) > len(near) else ""
    return f"no name of {_article(kind.one)} there ({', '.join(near)}{more})"


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def distinct_id(value: Id, name: str | None, path: Path, taken: Collection[Id]) -> Id:
    """An id for a row that only one input has: its own, or where that is taken its name."""
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

"""The frame of every page for people: security policy, outline, terms, columns and footer."""

import base64
import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from lossexport.reports import charts
from lossexport.reports.terms import TERMS

STYLE, SCRIPT = "style.css", "page.js"
"""The only style sheet and the only script of a page, both inside of it."""
NONE = "\N{EN DASH}"
"""Stands for a number that is undefined."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its title, the field of a row that it shows, and in which form.

    `key` is the name of a field, or a tuple of names for the forms "meter" (inner and outer bar,
    both from 0 to 1) and "range" (its two ends). The other forms are "text", "code", "wrap",
    "shown" (a number as text), "number", "signed", "percent", "count", "value" (of any type) and
    "status". `digits` are those
    after the point.
    """

    title: str
    key: str | tuple[str, ...]
    form: str = "text"
    digits: int = 3

    @property
    def numeric(self) -> bool:
        """Whether the column holds numbers, which stand to the right and sort by size."""
        return self.form not in ("text", "code", "wrap", "status")

    def value(self, row: Mapping[str, Any]) -> Any:
        """What `row` has in this column: a value, or a tuple of them."""
        if isinstance(self.key, str):
            return row[self.key]
        return tuple(row[name] for name in self.key)

    def text(self, row: Mapping[str, Any]) -> str:
        """The value of `row` as people read it."""
        value = self.value(row)
        if self.form in ("text", "code", "wrap", "shown", "status"):
            return str(value)
        if self.form == "range":
            low, high = value
            return f"{number(low, self.digits)} to {number(high, self.digits)}"
        if self.form == "value":
            return count(value) if isinstance(value, int) else number(value, self.digits)
        return _FORMS[self.form](value, self.digits)


def number(value: float | None, digits: int = 3) -> str:
    """Format a number for people; a dash if it is undefined."""
    return NONE if value is None or value == -1 else f"{value:z.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Format a difference, with its sign unless it rounds to 0."""
    if value is None:
        return NONE
    text = f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text if float(f"{value:.{digits}f}") else text[1:]


def percent(value: float | None, digits: int = 0) -> str:
    """Format a part of 1 in percent; what has no value is beyond all bounds."""
    return "beyond" if value is None else f"{100 * value:.{digits}f} %"


def count(value: int | None, digits: int = 0) -> str:
    """Format a whole number with separators of thousands."""
    return NONE if value is None else f"{value:,}"


def noun(value: int, one: str) -> str:
    """The plural of `one`, unless there is one of it."""
    return one if value == 1 else f"{one}s"


_FORMS = {"number": number, "signed": signed, "percent": percent, "count": count}


def meter(value: object) -> tuple[float, float]:
    """The widths of the inner and the outer bar in percent; what is undefined has none."""
    inner, outer = value if isinstance(value, tuple) else (value, None)
    widths = [
        100 * min(max(float(part), 0.0), 1.0) if isinstance(part, (int, float)) else 0.0
        for part in (inner, outer)
    ]
    return widths[0], widths[1]


class Outline:
    """The sections of a page and the terms that it uses, gathered while it is written."""

    def __init__(self) -> None:
        self.sections: dict[str, str] = {}
        """Anchor -> title."""
        self._used: set[str] = set()

    def section(self, title: str) -> str:
        """Add a section and return its anchor."""
        stem = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        anchor, again = stem, 1
        while anchor in self.sections:
            again += 1
            anchor = f"{stem}-{again}"
        self.sections[anchor] = title
        return anchor

    def term(self, name: str) -> str:
        """Note that the page uses a term and return the anchor of its definition.

        Raises KeyError if `TERMS` does not define it.
        """
        TERMS[name]
        self._used.add(name)
        return f"term-{re.sub(r'[^a-z0-9]+', '-', name.lower())}"

    @property
    def terms(self) -> list[tuple[str, str, str]]:
        """Anchor, name and definition of each term used, in the order of the alphabet."""
        used = sorted(self._used, key=str.lower)
        return [(self.term(name), name, TERMS[name]) for name in used]


def document(template: str, *, backends: Mapping[str, str] | None = None, **values: Any) -> str:
    """Fill a template that extends `base.html.j2`.

    `backends` are names and versions of the runtimes for the footer. The page has one style sheet
    and one script, both inside of it and named by their hashes in its security policy, which
    forbids every request. All of `values` are escaped, except for Markup.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("lossexport.reports", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = files("lossexport.reports") / "templates"
    parts = {name: "\n" + (folder / name).read_text("utf-8") for name in (STYLE, SCRIPT)}
    environment.filters |= {
        "number": number, "signed": signed, "count": count, "meter": meter, "noun": noun,
    }  # fmt: skip
    environment.globals |= {
        "column": Column,
        "key": lambda style: Markup(charts.key(style)),
        "outline": Outline(),
        "style": Markup(parts[STYLE]),
        "script": Markup(parts[SCRIPT]),
        "policy": policy(parts[STYLE], parts[SCRIPT]),
        "created": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "versions": _versions(backends or {}),
    }
    return environment.get_template(template).render(values)


def policy(style: str, script: str) -> str:
    """The security policy of a page whose only style sheet and script are these texts."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; "
        f"script-src 'sha256-{script_hash}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _versions(backends: Mapping[str, str]) -> dict[str, str]:
    """What made the page, and its version."""
    import numpy as np

    import lossexport

    return {
        "lossexport": lossexport.__version__,
        "numpy": np.__version__,
        "Python": platform.python_version(),
        **backends,
    }

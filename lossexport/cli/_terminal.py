"""Helpers of the verbs: tables, KEY=VALUE options."""

import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import click

from lossexport.arguments import did_you_mean
from lossexport.errors import LossexportError, printable

WIDTH = 200
"""Columns of a log, which has no edge to wrap at."""


class Choice(click.Choice[str]):
    """A choice of words; the error for another word suggests a similar one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Convert as click does. Raises BadParameter on another word."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            near = did_you_mean(value, list(self.choices))
            raise click.BadParameter(error.message.rstrip(".") + near, ctx, param) from None


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: int = 0) -> None:
    """Print a table; the last `right` columns are numbers and aligned to the right."""
    terminal = os.isatty(1)  # sys.stdout is held back, see cli.main
    cells = [[printable(cell) for cell in row] for row in rows]
    if terminal or not _plain(title, [columns, *cells]):
        _show_richly(title, columns, cells, right, terminal)
        return
    left = len(columns) - right
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]

    def line(edges: str, row: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return edges[0] + edges[1].join(f" {cell} " for cell in padded) + edges[2]

    def rule(marks: str) -> str:
        return marks[0] + marks[2].join(marks[1] * (width + 2) for width in widths) + marks[3]

    body = [line("│││", row) for row in cells]
    head = [rule("┏━┳┓"), line("┃┃┃", columns), rule("┡━╇┩")]
    lines = [title.ljust(len(head[0])), *head, *body, rule("└─┴┘")]
    click.echo("\n".join(lines))


def _plain(title: str, rows: Sequence[Sequence[str]]) -> bool:
    """Whether a table needs no wrapping, no markup and no thought about the width of letters."""
    texts = [title, *(cell for row in rows for cell in row)]
    if len(rows) < 2 or any(text != text.strip() or not text.isascii() for text in texts):
        return False
    if not all(map(str.isprintable, texts)):
        return False
    width = sum(max(map(len, column)) + 3 for column in zip(*rows, strict=True)) + 1
    utf8 = (sys.stdout.encoding or "").lower().startswith("utf")
    words = [title, *rows[0]]  # in which rich looks for markup
    simple = not any(mark in word for word in words for mark in "[]:")
    return utf8 and simple and 0 < len(title) <= width <= WIDTH


def _show_richly(
    title: str,
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    right: int,
    terminal: bool,
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        number = index >= len(columns) - right
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console(force_terminal=terminal)
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)


def assignments(items: Sequence[str], option: str) -> dict[str, str]:
    """Split NAME=VALUE. Raises LossexportError on an item without a name or given twice."""
    found: dict[str, str] = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not name or not value:
            raise LossexportError(f"{option} {item!r}: expected NAME=VALUE")
        if name in found:
            raise LossexportError(f"{option} {item!r}: {name} is given twice")
        found[name] = value
    return found


def attributes(items: Sequence[str]) -> dict[str, Any]:
    """Values of `--set NAME=VALUE`, read as JSON or, if they are not JSON, taken as words."""
    found: dict[str, Any] = assignments(items, "--set")
    for name, text in found.items():
        try:
            found[name] = json.loads(text)
        except ValueError:
            continue
        except RecursionError as error:
            raise LossexportError(f"--set {name}={text!r}: nested too deeply") from error
    return found


def size(text: str | None) -> tuple[float, float] | None:
    """Width and height of --image-size W,H."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?),(\d{1,6}(?:\.\d{1,6})?)", text, re.ASCII)
    if found is None:
        raise LossexportError(f"--image-size {text!r}: expected WIDTH,HEIGHT")
    return float(found[1]), float(found[2])


def number(value: float | None) -> str:
    """Four digits after the point, or a dash if undefined."""
    return "-" if value is None else f"{value:.4f}"

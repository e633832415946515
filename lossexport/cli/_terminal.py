"""Helpers of the verbs: tables, KEY=VALUE options."""

import json
import os
from collections.abc import Sequence
from typing import Any

import click

from lossexport.arguments import did_you_mean
from lossexport.errors import LossexportError, printable


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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        number = index >= len(columns) - right
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(force_terminal=os.isatty(1))  # sys.stdout is held back, see cli.main
    if not console.is_terminal:
        console.width = 200  # a log has no edge to wrap at
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

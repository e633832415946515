"""The option `--ops` of the verbs that take ops of one's own."""

import functools
from collections.abc import Callable
from typing import Any

import click

from lossexport.cli._types import FILE_OR_MODULE


def takes_ops(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option to `command`; the ops are in the catalogue while it runs."""

    @click.option(
        "--ops", "ops_files", multiple=True, type=FILE_OR_MODULE,
        help="Ops of your own: a file or module with OPS. May be repeated.",
    )  # fmt: skip
    @functools.wraps(command)
    def run(ops_files: tuple[str, ...], **given: Any) -> None:
        if not ops_files:
            return command(**given)
        from lossexport.catalog import CATALOG

        with CATALOG.scoped():
            for where in ops_files:
                CATALOG.load(where)
            return command(**given)

    return run

"""Types of the options that name a file, a folder, an op or a format: their metavar, and how a
shell completes them. Paths are not checked here, because the code that opens them reports errors
better."""

from contextlib import suppress
from typing import Any

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

from lossexport.cli._terminal import Choice
from lossexport.errors import LossexportError


class _Place(StringParamType):
    """A path; its kind for the shell is `file`, which takes folders too, or `dir`."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self._kind = name, kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type=self._kind)]


class _OpName(StringParamType):
    name = "op"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from lossexport.catalog import CATALOG

        with CATALOG.scoped():
            for where in ctx.params.get("ops_files") or ():
                with suppress(LossexportError):  # reported when the command runs
                    CATALOG.load(where)
            return [
                CompletionItem(op.name, help=op.summary)
                for op in CATALOG.values()
                if op.name.startswith(incomplete)
            ]


class _FormatName(StringParamType):
    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from lossexport.formats import FORMATS

        # Entry points are not read for a name that is built in.
        known = FORMATS.builtin if value in FORMATS.builtin else FORMATS.names()
        return Choice(known).convert(value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from lossexport.formats import FORMATS

        return [CompletionItem(name) for name in FORMATS.names() if name.startswith(incomplete)]


FILE = _Place("file", "file")
DIR = _Place("dir", "dir")
FILE_OR_DIR = _Place("file|dir", "file")
FILE_OR_NAME = _Place("file|name", "file")
FILE_OR_MODULE = _Place("file|module", "file")
OP = _OpName()
FORMAT = _FormatName()

"""Types of the options that name a file, a folder, an op or a format: their metavar, and how a
shell completes them. A path is passed on as it is: whoever opens it knows best what is wrong."""

from contextlib import suppress
from typing import Any

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

from lossexport.cli._terminal import Choice
from lossexport.errors import LossexportError
from lossexport.names import OPSETS


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
        from lossexport.catalog import BUILTIN, CATALOG

        ops = tuple(BUILTIN.values())
        # What cannot be loaded is said when the command runs.
        with CATALOG.scoped(), suppress(LossexportError):
            for where in ctx.params.get("ops_files") or ():
                CATALOG.load(where)
            ops = tuple(CATALOG.values())
        return [
            CompletionItem(op.name, help=op.summary) for op in ops if op.name.startswith(incomplete)
        ]


class _FormatName(StringParamType):
    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from lossexport.formats import FORMATS

        # For a name of this package nothing else that is installed is looked at.
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
OPSET = click.IntRange(OPSETS[0], OPSETS[-1])
FORMAT = _FormatName()

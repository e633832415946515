"""`lossexport diff`."""

from pathlib import Path

import click

from lossexport.cli._reports import json_file, write_json
from lossexport.cli._terminal import show
from lossexport.cli._types import FILE_OR_DIR
from lossexport.errors import CheckFailedError


@click.command("diff", short_help="Show what changed between two exports, from their manifests.")
@click.argument("before", type=FILE_OR_DIR)
@click.argument("after", type=FILE_OR_DIR)
@json_file
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there are differences.")
def command(before: str, after: str, json_file: str | None, exit_code: bool) -> None:
    """Show what changed from the export BEFORE to AFTER: ops, bytes, tolerances, parity.

    Both are manifest.json files or the folders that hold them. The artifacts are not read.
    """
    from lossexport.difference import data, difference, in_counts, in_words

    changes = difference(Path(before), Path(after))
    if json_file:
        write_json(json_file, data(changes))
    if changes:
        rows = [(c.file or "all", c.what, in_words(c.before), in_words(c.after)) for c in changes]
        show("Differences", ("file", "what", "before", "after"), rows)
    click.echo(in_counts(changes))
    if changes and exit_code:
        raise CheckFailedError(in_counts(changes))

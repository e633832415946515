"""`lossexport doctor`."""

from dataclasses import asdict

import click

from lossexport import __version__
from lossexport.cli._reports import json_file, write_json
from lossexport.cli._terminal import show
from lossexport.errors import printable


@click.command("doctor")
@json_file
def command(json_file: str | None) -> None:
    """Show what is installed, and the commands that fix the rest.

    The commands install from the place that lossexport itself was installed from.
    """
    from lossexport.doctor import report

    checks = report()
    if json_file:
        components = [asdict(check) for check in checks]
        record = {"schema_version": 1, "lossexport": __version__, "components": components}
        write_json(json_file, record)
    rows = [(c.component, c.status, c.version or "", c.detail or "") for c in checks]
    show("This machine", ("component", "status", "version", "detail"), rows)
    # Not in the table, which would break the commands so that they could not be copied.
    remedies: dict[str, list[str]] = {}
    for check in checks:
        if check.fix:
            remedies.setdefault(check.fix, []).append(check.component)
    for fix, mended in remedies.items():
        click.echo(printable(f"to mend {', '.join(mended)}:\n  {fix}"))

"""`lossexport doctor`."""

import click

from lossexport.cli._terminal import show
from lossexport.errors import printable


@click.command("doctor")
def command() -> None:
    """Show what is installed, and the commands that fix the rest.

    The commands install from the place that lossexport itself was installed from.
    """
    from lossexport.doctor import report

    checks = report()
    rows = [(c.component, c.status, c.version or "", c.detail or "") for c in checks]
    show("This machine", ("component", "status", "version", "detail"), rows)
    # Not in the table, which would break the commands so that they could not be copied.
    remedies: dict[str, list[str]] = {}
    for check in checks:
        if check.fix:
            remedies.setdefault(check.fix, []).append(check.component)
    for fix, components in remedies.items():
        click.echo(printable(f"to mend {', '.join(components)}:\n  {fix}"))

"""`lossexport doctor`."""

import click

from lossexport.cli._terminal import show


@click.command("doctor")
def command() -> None:
    """What is installed, what can run here, what is missing and the command that mends it."""
    from lossexport.doctor import report

    rows = [(c.component, c.status, c.version or "", c.detail or "", c.fix or "") for c in report()]
    show("This machine", ("component", "status", "version", "detail", "mend with"), rows)

"""The command line. One file a verb; a verb's module is imported when it is called."""

import sys
from importlib import import_module

import click

from lossexport import __version__
from lossexport.errors import CheckFailedError, LossexportError

_VERBS = ("list", "export", "verify", "score", "bench", "doctor")


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command: click.Command = import_module(f"lossexport.cli.{cmd_name}").command
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lossexport")
def cli() -> None:
    """Detection losses and box metrics as ONNX and TensorRT artifacts that are proven equal."""


def main() -> None:
    """Entry point: 0 done, 1 a check failed, 2 bad usage or bad input."""
    try:
        cli.main(standalone_mode=False)
    except LossexportError as error:
        _stop(str(error), 2)
    except CheckFailedError as error:
        _stop(str(error), 1)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _stop("interrupted", 130)
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        sys.exit(0)


def _stop(message: str, code: int) -> None:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(code)

"""The command line. One file a verb; a verb's module is imported when it is called."""

import re
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module

import click

from lossexport import __version__
from lossexport.errors import CheckFailedError, LossexportError

# Options that take several values after one name (`--set a=1 b=2`), and what such a value is like.
_SEVERAL = {
    **dict.fromkeys(
        ("--set", "--shape", "--fail-below", "--fail-above", "--map"),
        re.compile(r"[A-Za-z]\w*=.*", re.DOTALL),
    ),
    "--compute-capability": re.compile(r"\d+(\.\d+)?"),
}
# The extra that brings a package which some verbs need.
_EXTRAS = dict.fromkeys(("torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes"), "toolchain")
# Verb to module; a module `list` would take the place of the builtin in this package.
_VERBS = {"list": "catalogue"} | {
    verb: verb for verb in ("export", "verify", "score", "compare", "attach", "bench", "doctor")
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command: click.Command = import_module(f"lossexport.cli.{_VERBS[cmd_name]}").command
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lossexport")
def cli() -> None:
    """Detection losses and box metrics as ONNX and TensorRT artifacts that are proven equal."""


def main() -> None:
    """Entry point: 0 done, 1 a check failed, 2 bad usage or bad input."""
    try:
        cli.main(list(_repeated(sys.argv[1:])), standalone_mode=False)
    except LossexportError as error:
        _stop(str(error), 2)
    except CheckFailedError as error:
        _stop(str(error), 1)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except ModuleNotFoundError as error:
        package = str(error.name).split(".")[0]
        extra = _EXTRAS.get(package)
        if extra is None:
            raise
        _stop(f"{package} is not installed: pip install 'lossexport[{extra}]'", 2)
    except (click.Abort, KeyboardInterrupt):
        _stop("interrupted", 130)
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        sys.exit(0)


def _repeated(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments with every further value of such an option under the option's name."""
    option, first = None, False
    for argument in arguments:
        if argument in _SEVERAL:
            option, first = argument, True
        elif first:
            first = False
        elif option and _SEVERAL[option].fullmatch(argument):
            yield option
        else:
            option = None
        yield argument


def _stop(message: str, code: int) -> None:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(code)

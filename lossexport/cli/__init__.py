"""The command line. Each verb has a module, which is imported when the verb is called."""

import gc
import io
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TextIO

import click

from lossexport import __version__, files, progress
from lossexport.errors import CheckFailedError, LossexportError, error_line, printable
from lossexport.origin import install_command

# Options that take several values after one name (`--set a=1 b=2`), and a pattern for the values.
_SEVERAL = {
    **dict.fromkeys(
        ("--set", "--shape", "--fail-below", "--fail-above", "--max-drop", "--map"),
        re.compile(r"[A-Za-z][\w.]*=.*", re.DOTALL),
    ),
    "--compute-capability": re.compile(r"\d+(\.\d+)?"),
}
# Package that some verbs need -> the extra that installs it.
_EXTRAS = dict.fromkeys(("torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes"), "toolchain")
# Raised by click, from 8.2 on, if no argument is given.
_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())
# Verb to module; a module `list` would take the place of the builtin in this package.
_VERBS = {"list": "catalogue"} | {
    verb: verb
    for verb in (
        *("export", "verify", "diff", "score", "compare"),
        *("calibrate", "watch"),
        *("attach", "bench", "config", "doctor"),
    )
}


COLLECTED_AT_ONCE = 100_000
"""New objects after which Python looks for unused ones."""
COMPLETION = "_LOSSEXPORT_COMPLETE"
"""Variable in which a shell asks for completions, or for its script (`bash_source`)."""


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
    """Export detection losses and box metrics to ONNX and TensorRT, and score detections."""


def main() -> None:
    """Entry point: 0 done, 1 a check failed, 2 bad usage, bad input or output that was not taken.

    What a verb prints is held back until its files are written and its exit code is known, so that
    a reader who goes away (`| head`) changes neither. A device that is full turns a 0 into a 2.
    """
    # Imports make many objects that stay; looking for unused ones among them takes a third of their
    # time.
    gc.set_threshold(COLLECTED_AT_ONCE)
    if os.environ.get(COMPLETION):  # called by a shell for completion; ends the process
        cli.main([], prog_name="lossexport", complete_var=COMPLETION)
    # The default handlers would end the process without removing unfinished files.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` ignores SIGHUP
            signal.signal(number, progress.end)
    encoding = (sys.stdout and sys.stdout.encoding) or "utf-8"
    live = sys.stdout
    with redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding, "backslashreplace")) as held:
        code, error = _run(live)
    held.seek(0)
    refused = emit(sys.stdout, held.read())
    if refused:
        code, error = code or 2, error or error_line(f"standard output: {refused}")
    emit(sys.stderr, printable(error))
    gc.freeze()  # at the end Python would look through all that is left, several times
    if code:
        sys.exit(code)


def _run(live: TextIO | None) -> tuple[int, str]:
    """Exit code of the verb that the command line calls, and what to print for it on stderr.

    `live` is the standard output, for a verb that answers as its input comes.
    """
    try:
        arguments = list(_repeated(sys.argv[1:]))
        as_module = Path(sys.argv[0]).name == "__main__.py"
        name = "python -m lossexport" if as_module else "lossexport"
        cli.main(arguments, prog_name=name, standalone_mode=False, obj=live)
    except LossexportError as error:
        return 2, error_line(str(error))
    except CheckFailedError as error:
        return 1, error_line(str(error))
    except click.ClickException as error:
        message = error.format_message()
        if isinstance(error, _NO_ARGUMENTS):  # its message is the help
            return 2, f"{message}\n"
        context = getattr(error, "ctx", None)
        hint = f" ({context.command_path} --help)" if context else ""
        return 2, error_line(f"{message}{hint}")
    except ModuleNotFoundError as error:
        package = str(error.name).split(".")[0]
        extra = _EXTRAS.get(package)
        if extra is None:
            raise
        return 2, error_line(f"{package} is not installed: {install_command(extra)}")
    except OSError as error:  # an unexpected refusal of the operating system
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return 2, error_line(f"{name}{files.reason(error)}")
    except (click.Abort, KeyboardInterrupt):
        return 130, error_line("interrupted")
    return 0, ""


def emit(stream: TextIO | None, text: str) -> str:
    """Write `text`. Returns the reason if the device refuses it, and "" if nobody reads it.

    In both cases the stream then leads nowhere, so that closing it at the end cannot fail.
    """
    if stream is None:  # closed by the calling process
        return ""
    reason = ""
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            reason = files.reason(error)
    return reason


def _repeated(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments, with the name of an option of _SEVERAL before each of its further values."""
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

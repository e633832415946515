"""`lossexport config`."""

import shlex
from collections.abc import Callable

import click

from lossexport.runtime import linking


def _libs() -> str:
    library = linking.library()
    return shlex.join((str(library), f"-Wl,-rpath,{library.parent}"))


_ANSWERS: dict[str, tuple[str, Callable[[], object]]] = {
    "--cflags": ("Options of the compiler.", lambda: shlex.join((f"-I{linking.include_dir()}",))),
    "--libs": ("Options of the linker; the program finds the library at run time.", _libs),
    "--include-dir": ("The folder of lossexport.h.", linking.include_dir),
    "--library": ("The shared library.", linking.library),
    "--onnxruntime-library": ("The library that onnxruntime registers.", linking.library),
    "--cmake-dir": ("The folder for lossexport_DIR.", linking.cmake_dir),
    "--pkg-config-dir": ("The folder for PKG_CONFIG_PATH.", linking.pkg_config_dir),
}


def _ask(context: click.Context, option: click.Parameter, given: bool) -> None:
    """Note what is asked for: options are taken in the order of the command line."""
    if given:
        context.meta.setdefault(__name__, []).append(option.opts[0])


@click.command("config")
@click.pass_context
def command(context: click.Context) -> None:
    """Print the options that a C or C++ program is built with.

    There is a line for each option, in their order. Paths with spaces are quoted for a shell in
    --cflags and --libs.
    """
    asked = context.meta.get(__name__)
    if not asked:
        raise click.UsageError(f"give at least one of {', '.join(_ANSWERS)}", context)
    click.echo("\n".join(str(_ANSWERS[name][1]()) for name in asked))


for _name, (_help, _) in _ANSWERS.items():
    click.option(_name, is_flag=True, expose_value=False, callback=_ask, help=_help)(command)

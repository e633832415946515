"""The first things that a user tries: --help, completion, `python -m lossexport`."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from lossexport.catalog import CATALOG
from lossexport.cli import COMPLETION, cli

ROOT = Path(__file__).resolve().parents[2]
CONTEXT = click.Context(cli)
VERBS = cli.list_commands(CONTEXT)


def ask(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from lossexport.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )


def complete(words: str) -> list[list[str]]:
    """Kind and text of the completions of the last word of `words`."""
    *before, last = words.split(" ")[1:]
    shell = ShellComplete(cli, {}, "lossexport", COMPLETION)
    return [[item.type, item.value] for item in shell.get_completions(before, last)]


def test_help_cuts_no_verb() -> None:
    text = CliRunner().invoke(cli, ["--help"], terminal_width=80).output
    lines = text.splitlines()
    assert "..." not in text.replace("[ARGS]...", "")
    assert max(map(len, lines)) <= 80
    listed = lines[lines.index("Commands:") + 1 :]
    assert [line.split()[0] for line in listed] == VERBS
    for line in listed:
        assert line.endswith(".")


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_says_what_it_takes(verb: str) -> None:
    command = cli.get_command(CONTEXT, verb)
    assert command is not None
    for parameter in command.params:
        metavar = parameter.make_metavar(click.Context(command))
        assert "TEXT" not in metavar or parameter.metavar == "TEXT", parameter.name
        if parameter.name in ("out", "images", "ref", "pred", "names", "json_file", "html_file"):
            assert set(metavar.split("|")) <= {"FILE", "DIR", "NAME"}, parameter.name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_its_script(shell: str) -> None:
    done = ask(_LOSSEXPORT_COMPLETE=f"{shell}_source")
    assert done.returncode == 0
    assert f"_LOSSEXPORT_COMPLETE={shell}_complete" in done.stdout


def test_completion_answers_the_shell() -> None:
    words = {"COMP_WORDS": "lossexport ex", "COMP_CWORD": "1"}
    done = ask(_LOSSEXPORT_COMPLETE="bash_complete", **words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,export\n", "")


def test_completion_of_verbs_ops_and_files() -> None:
    assert complete("lossexport ex") == [["plain", "export"]]
    assert ["plain", "--gradient"] in complete("lossexport export --g")
    focal = [["plain", name] for name in CATALOG if name.startswith("so")]
    assert len(focal) > 1
    assert complete("lossexport export box_iou so") == focal
    assert complete("lossexport attach d.onnx --op so") == focal
    assert complete("lossexport score --pred de") == [["file", "de"]]
    assert complete("lossexport score --images im") == [["dir", "im"]]


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    def module(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lossexport", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    assert module("--version").stdout.startswith("lossexport, version ")
    assert module("list", "--help").stdout.startswith("Usage: python -m lossexport list ")
    wrong = module("exprot")
    hint = "(python -m lossexport --help)"
    assert (wrong.returncode, wrong.stderr) == (2, f"error: No such command 'exprot'. {hint}\n")

"""The pages are as the catalogue generates them, their links resolve, their commands parse."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from lossexport.catalog import CATALOG
from lossexport.cli import cli

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def commands(page: Path) -> list[list[str]]:
    """Every `lossexport` command in the shell blocks of a page, split as a shell would."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").replace("&&", "\n").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line[:1] == ["lossexport"]]


def headings(page: Path) -> set[str]:
    """The anchors that a page has, as forges make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_generated_files_are_up_to_date():
    done = subprocess.run(
        (sys.executable, DOCS / "generate.py", "--check"), capture_output=True, text=True
    )
    assert done.returncode == 0, f"run `make docs`:\n{done.stdout}{done.stderr[-2000:]}"


def test_every_op_has_a_page_and_every_loss_a_plot():
    for op in CATALOG.values():
        page = (DOCS / "ops" / f"{op.name}.md").read_text("utf-8")
        assert op.formula in page
        assert all(reference.link in page for reference in op.references)
        if op.kind == "loss":
            assert f"plots/{op.name}.svg" in page, f"give {op.name} a line in docs/sweeps.py"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in headings(found), target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_parse(page):
    for words in commands(page):
        context = cli.make_context("lossexport", list(words))
        name, command, rest = cli.resolve_command(context, list(words))
        assert isinstance(command, click.Command), words
        command.make_context(name, rest, parent=context)


def test_python_of_the_deployment_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in blocks(DOCS / "deploy.md", "python"):
        exec(block, {})
    assert "[1.]" in capsys.readouterr().out

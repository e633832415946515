"""One declaration for each format: the command line and the pages follow from it."""

from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from lossexport.cli import cli
from lossexport.errors import LossexportError
from lossexport.formats import FORMATS, Format, read_side
from lossexport.scoring import score

PAGE = Path(__file__).resolve().parents[2] / "docs/scoring.md"
DECLARED = [FORMATS.find(name) for name in FORMATS.builtin]


def test_a_format_is_found_by_its_own_name() -> None:
    assert [form.name for form in DECLARED] == list(FORMATS.builtin)
    assert len(set(FORMATS.builtin)) == len(DECLARED) >= 4


def test_the_help_lists_every_format() -> None:
    text = CliRunner().invoke(cli, ["score", "--help"], terminal_width=200).output
    lines = text.partition("Formats:\n")[2].splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        f"{form.name} {form.title}: a {form.given}." for form in DECLARED
    ]


def test_the_page_lists_every_format() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")]
    start = rows.index("| `--format` | | is a |") + 2
    assert rows[start : start + len(DECLARED)] == [
        f"| `{form.name}` | {form.title} | {form.given} |" for form in DECLARED
    ]
    # The other tables say what each of them holds and can express.
    held = rows.index("| | predictions | references |") + 2
    assert [row.split("`")[1] for row in rows[held : held + len(DECLARED)]] == list(FORMATS.builtin)
    assert f"| | {' | '.join(f'`{form.name}`' for form in DECLARED)} |" in rows


@pytest.mark.parametrize("option", ["--format", "--pred-format", "--ref-format"])
def test_the_command_line_asks_whether_a_near_name_was_meant(option: str) -> None:
    result = CliRunner().invoke(cli, ["score", "--pred", "a", "--ref", "b", option, "yollo"])
    names = ", ".join(map(repr, FORMATS.names()))
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        2,
        f"Error: Invalid value for '{option}': 'yollo' is not one of {names}; did you mean yolo?",
    )


@pytest.mark.parametrize("option", ["format", "pred_format", "ref_format"])
def test_python_asks_whether_a_near_name_was_meant(option: str, tmp_path: Path) -> None:
    with pytest.raises(LossexportError) as caught:
        score(tmp_path, tmp_path, **cast(Any, {option: "MOTT"}))
    assert str(caught.value) == (
        f"format 'MOTT' is not one of {', '.join(FORMATS.names())}; did you mean mot?"
    )


@pytest.mark.parametrize("form", DECLARED, ids=FORMATS.builtin)
def test_a_folder_for_a_file_and_a_file_for_a_folder(form: Format, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, kind in ((tmp_path, "folder"), (tmp_path / "file", "file")):
        if kind not in form.given:
            with pytest.raises(LossexportError) as caught:
                read_side(path, form.name, True)
            others = " or ".join(other.name for other in DECLARED if kind in other.given)
            assert str(caught.value) == (
                f"{path}: is a {kind}, and {form.name} reads a {form.given}; --format {others} "
                f"reads a {kind}"
            )

"""What users write types under `mypy --strict`: the pages' code, typical code, and mistakes."""

import re
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SETTINGS = """\
[mypy]
strict = true
# torch has no types for Tensor.backward.
untyped_calls_exclude = torch
# These ship no types.
[mypy-onnxruntime.*,polygraphy.*,pycocotools.*,tensorrt.*]
ignore_missing_imports = true
"""
Errors = dict[str, list[tuple[int, str]]]


def code(page: Path) -> str:
    """The Python blocks of a page on their own lines."""
    lines, inside = [], False
    for line in page.read_text("utf-8").splitlines():
        inside = inside and line != "```"
        lines.append(line if inside else "")
        inside = inside or line == "```python"
    return "\n".join(lines) + "\n"


def name(page: Path) -> str:
    return re.sub(r"\W", "_", str(page.relative_to(ROOT)))


SNIPPETS = {name(page): code(page) for page in PAGES}
SNIPPETS = {name: text for name, text in SNIPPETS.items() if text.strip()}
MISTAKES = (Path(__file__).parent / "mistakes.py").read_text("utf-8")
MARK = re.compile(r" +# type: ignore\[([\w-]+)\]$")


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Errors:
    """Line and code of every error, by file, from one run outside of the checkout.

    The package is found as it is by users, where it is installed, and only with `py.typed`.
    """
    folder = tmp_path_factory.mktemp("typing")
    unmarked = "\n".join(MARK.sub("", line) for line in MISTAKES.splitlines())
    user_code = (Path(__file__).parent / "user_code.py").read_text("utf-8")
    files = SNIPPETS | {"user_code": user_code, "mistakes": unmarked + "\n"}
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, "utf-8")
    (folder / "mypy.ini").write_text(SETTINGS)
    cache = pytestconfig.cache
    assert cache is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ("--config-file=mypy.ini", f"--cache-dir={cache.mkdir('mypy')}")
        output = ("--no-pretty", "--no-error-summary", "--no-color-output")
        told, failed, _ = api.run([*options, *output, *(f"{name}.py" for name in files)])
    assert not failed
    found: Errors = {name: [] for name in files}
    for line in told.splitlines():
        if match := re.fullmatch(r"(\w+)\.py:(\d+): error: .*  \[([\w-]+)\]", line):
            found[match[1]].append((int(match[2]), match[3]))
        else:
            assert ": note: " in line
    return found


pytestmark = pytest.mark.xdist_group("mypy")


def test_pages_are_found() -> None:
    assert len(SNIPPETS) > 30
    assert {"README_md", "docs_pytorch_md", "docs_ops_ciou_loss_md"} <= set(SNIPPETS)
    assert "CIoULoss(reduction=" in SNIPPETS["README_md"]


@pytest.mark.parametrize("name", SNIPPETS)
def test_code_of_pages(name: str, errors: Errors) -> None:
    assert errors[name] == []


def test_user_code(errors: Errors) -> None:
    assert errors["user_code"] == []


def test_mistakes(errors: Errors) -> None:
    marks = [(n, MARK.search(line)) for n, line in enumerate(MISTAKES.splitlines(), 1)]
    wanted = [(number, mark[1]) for number, mark in marks if mark]
    assert len(wanted) > 20
    assert errors["mistakes"] == wanted

"""The pages are as generated, their links resolve, their commands parse, their examples run."""

import dataclasses
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from lossexport.catalog import CATALOG, DOMAINS, Op
from lossexport.cli import cli, main
from lossexport.detectors.detector import describe
from lossexport.runtime import load
from tests.distributed.sets import make
from tests.packages import install

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FOLDERS = (DOCS, ROOT / "benchmarks", ROOT / "examples")
PAGES = sorted([*ROOT.glob("*.md"), *(page for f in FOLDERS for page in f.rglob("*.md"))])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def commands(page: Path) -> list[list[str]]:
    """Every `lossexport` command of the shell blocks and CI steps of a page, in words."""
    shell = blocks(page, "sh") + re.findall(r"^ *- run: (.*)$", page.read_text("utf-8"), re.M)
    lines = "\n".join(shell).replace("\\\n", " ").replace("&&", "\n").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line[:1] == ["lossexport"]]


def headings(page: Path) -> set[str]:
    """The anchors that a page has, as forges make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_generated_files_are_up_to_date() -> None:
    done = subprocess.run(
        (sys.executable, DOCS / "generate.py", "--check"), capture_output=True, text=True
    )
    assert done.returncode == 0, f"run `make docs`:\n{done.stdout}{done.stderr[-2000:]}"


def test_every_op_has_a_page_and_every_loss_a_plot() -> None:
    for op in CATALOG.values():
        page = (DOCS / "ops" / f"{op.name}.md").read_text("utf-8")
        assert op.formula in page
        assert all(reference.link in page for reference in op.references)
        if op.kind == "loss":
            assert f"plots/{op.name}.svg" in page, f"give {op.name} a line in docs/sweeps.py"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in headings(found), target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_parse(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if page.parent.name == "own_format":
        install(monkeypatch, tmp_path, "csv_boxes", "", "lossexport.formats: csv = csv_boxes:CSV")
    for words in commands(page):
        context = cli.make_context("lossexport", list(words))
        name, command, rest = cli.resolve_command(context, list(words))
        assert isinstance(command, click.Command), words
        command.make_context(name, rest, parent=context)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry_points: str) -> Callable[..., None]:
    """Runs the Python and shell blocks of a text in their order, in the folder of the test.

    Of a shell block the lines that start with `lossexport`, `python` or `pytest`; `extra` arguments
    go to the end of the commands that have the key in them. One namespace serves all Python blocks,
    whose tests are called.
    """
    for folder in ("benchmarks", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)

    def run(text: str, extra: dict[str, tuple[str, ...]] | None = None) -> None:
        names: dict[str, Any] = {}
        for language, block in re.findall(r"^```(python|sh)\n(.*?)^```$", text, re.M | re.S):
            if language == "python":
                exec(block, names)
                for name in re.findall(r"^def (test_\w+)", block, re.M):
                    names[name]()
                continue
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                for key, more in (extra or {}).items():
                    words += more if key in words else ()
                if words[:1] == ["lossexport"]:
                    monkeypatch.setattr(sys, "argv", words)
                    main()
                elif words[:1] in (["python"], ["pytest"]):
                    words = words[1:] if words[0] == "python" else ["-m", *words]
                    done = subprocess.run(
                        (sys.executable, *words),
                        env={**os.environ, "PYTHONPATH": entry_points},
                        capture_output=True,
                        text=True,
                    )
                    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"

    return run


def between(page: Path, start: str, end: str) -> str:
    """The text of a page from one heading or sentence to another, the second left out."""
    text = page.read_text("utf-8")
    assert start in text, start
    assert end in text, end
    return text[text.index(start) : text.index(end)]


def stand_in(path: Path, side: int, **outputs: tuple[int, ...]) -> None:
    """A detector of images [1,3,side,side]: random outputs that the mean of the image scales."""
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0)]
    weights, infos = [], []
    for name, shape in outputs.items():
        values = rng.random(shape).astype(np.float32)
        if shape[1] == 84:  # boxes of a raw head, in pixels
            values[:, :4] *= 2 * side
        weights.append(numpy_helper.from_array(values, f"{name}_weights"))
        nodes.append(helper.make_node("Mul", ["mean", f"{name}_weights"], [name]))
        infos.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    image = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, side, side))
    graph = helper.make_graph(nodes, "detector", [image], infos, weights)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def test_deployment_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(DOCS / "deploy.md", "python"):
        exec(block, {})
    assert "[1.]" in capsys.readouterr().out


def test_pytorch_page_runs(play: Callable[..., None]) -> None:
    play((DOCS / "pytorch.md").read_text("utf-8"))


def test_pytorch_page_names_every_op() -> None:
    page = between(DOCS / "pytorch.md", "## Shapes", "```python")
    table = [line for line in page.splitlines() if line.startswith("|")]
    for op in CATALOG.values():
        name = "pairwise_*" if op.name.startswith("pairwise_") else op.name
        rows = [row for row in table if f"`{name}`" in row]
        assert len(rows) == 1, op.name
        assert ("any shape" in rows[0]) == op.any_shape, op.name
        assert ("as declared" in rows[0]) == (not op.aligned), op.name


def test_migration_page_runs(play: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocotools")
    pytest.importorskip("polygraphy")
    play((DOCS / "migrating.md").read_text("utf-8"))
    assert "largest difference: " in capsys.readouterr().out


def test_pycocotools_page_runs(
    play: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycocotools")
    play((DOCS / "pycocotools.md").read_text("utf-8"))
    assert "iouType is 'segm': lossexport.pycocotools is for boxes" in capsys.readouterr().out


def test_attach_page_runs(play: Callable[..., None], tmp_path: Path) -> None:
    stand_in(tmp_path / "detector.onnx", 64, output=(1, 200, 5))
    stand_in(tmp_path / "yolox_nano.onnx", 416, output=(1, 3549, 85))
    stand_in(tmp_path / "yolov8n.onnx", 640, output0=(2, 84, 8400))
    strides = {8: 1600, 16: 400, 32: 100}
    heads = {f"dis_pred_stride_{s}": (1, n, 32) for s, n in strides.items()}
    heads |= {f"cls_pred_stride_{s}": (1, n, 80) for s, n in strides.items()}
    stand_in(tmp_path / "nanodet_m_320.onnx", 320, **heads)
    (tmp_path / "chain.toml").write_text(blocks(DOCS / "attach.md", "toml")[0])
    play((DOCS / "attach.md").read_text("utf-8"))

    image = np.full((1, 3, 64, 64), 0.5, np.float32)
    found = load(tmp_path / "loss.onnx")(images=image, target=np.ones((200, 4), np.float32))
    assert np.isfinite(found["loss"])
    assert found["grad_pred"].shape == (200, 4)
    assert load(tmp_path / "out.onnx")(images=image, threshold=np.float32(0))["count"] > 0
    image = np.full((1, 3, 640, 640), 0.9, np.float32)
    found = load(tmp_path / "nms.onnx")(images=image)
    np.testing.assert_array_equal(found["classes"] < 0, found["indices"] < 0)
    image = np.full((1, 3, 416, 416), 0.5, np.float32)
    found = load(tmp_path / "yolox.onnx")(images=image)
    assert found["boxes"].shape == (3549, 4)
    assert found["kept_score"].shape == (100, 100)
    assert found["count"] > 0
    found = load(tmp_path / "yolov8n.onnx")(images=np.full((1, 3, 640, 640), 0.9, np.float32))
    assert found["detections"].shape == (2, 300, 6)
    assert found["count"].min() > 0
    image = np.full((1, 3, 320, 320), 0.5, np.float32)
    assert load(tmp_path / "nanodet.onnx")(images=image)["count"] > 0


def test_testing_page_runs(play: Callable[..., None], tmp_path: Path) -> None:
    play("```sh\npython -m lossexport.sample --out .\n```\n")
    for name in ("parent.json", "child.json"):
        shutil.copy(tmp_path / "dets.json", tmp_path / name)
    play((DOCS / "testing.md").read_text("utf-8"))


def test_evaluator_page_runs(play: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    play((DOCS / "evaluator.md").read_text("utf-8"))
    assert capsys.readouterr().out.splitlines()[0].startswith("0.8999999999999999 0.921")


def test_monitor_page_runs(play: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    play((DOCS / "monitor.md").read_text("utf-8"))
    out = capsys.readouterr().out
    assert out.count("window ") == 2
    assert out.count("estimate of precision 0.") == 7


def test_cluster_page_runs(play: Callable[..., None], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    make(tmp_path, 1, 300)
    (block,) = blocks(DOCS / "cluster.md", "python")
    play(f"```python\n{block}```\n")


def test_scoring_page_runs(play: Callable[..., None], tmp_path: Path) -> None:
    page, data = DOCS / "scoring.md", "```sh\npython -m lossexport.sample --out .\n```\n"
    play(data + between(page, "# Scoring", "## Quality without references"))
    assert (tmp_path / "score" / "report.html").is_file()


def test_diagnosis_page_runs(play: Callable[..., None], tmp_path: Path) -> None:
    play("```sh\npython -m lossexport.sample --images 60 --predictions 2000 --out .\n```\n")
    references = json.loads((tmp_path / "gt.json").read_text())
    references["categories"][0]["name"] = "person"
    (tmp_path / "gt.json").write_text(json.dumps(references))
    ids = [row["id"] for row in references["images"]]
    rows = [f"{value},{'night' if value % 2 else 'day'}" for value in ids]
    (tmp_path / "images.csv").write_text("\n".join(["image_id,time", *rows]))
    play((DOCS / "diagnosis.md").read_text("utf-8"))
    assert (tmp_path / "score" / "errors.parquet").is_file()


def test_comparison_page_runs(play: Callable[..., None], tmp_path: Path) -> None:
    page, data = DOCS / "compare.md", "```sh\npython -m lossexport.sample --out .\n```\n"
    # Fewer steps than a reader takes: that it runs, not how well it trains.
    few = {"examples/small_detector.py": ("--steps", "20")}
    play(data)
    for name in ("parent.json", "child.json"):
        shutil.copy(tmp_path / "dets.json", tmp_path / name)
    play(between(page, "# Comparing", "## What counts"), few)
    assert (tmp_path / "compare" / "report.html").is_file()
    assert (tmp_path / "small" / "compare" / "report.html").is_file()
    play(between(page, "## Gates", "## Pictures"))

    whole, output, _ = blocks(page, "toml")
    (tmp_path / "whole.toml").write_text(whole)
    assert describe(tmp_path / "whole.toml")[0].input.width == 416
    merged = re.sub(r"\[output\]\n.*?\n\n", output + "\n", whole, flags=re.S)
    (tmp_path / "merged.toml").write_text(merged)
    assert describe(tmp_path / "merged.toml")[0].output.indices == "indices"


def rows(page: Path, head: str) -> list[list[str]]:
    """The rows of the table whose first line begins with `head`."""
    table = page.read_text("utf-8").partition(head)[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def test_page_of_own_ops_runs(
    play: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = DOCS / "own_ops.md"
    source = blocks(page, "python")[0]
    (tmp_path / "mpdiou.py").write_text(source)
    with CATALOG.scoped():
        play(page.read_text("utf-8"))
    out = capsys.readouterr().out
    assert "# mpdiou_loss\n\n1 - MPDIoU: IoU less the squared distances of the corners.\n" in out
    assert "[0.60870" in out  # 1 - 9 / 23, and hardly a shift
    assert "tensor([1.]) tensor([1.])" in out

    (tmp_path / "mpdiou.py").write_text(source.replace('"boxes"', '"boxs"', 1))
    with pytest.raises(SystemExit, match=r"^2$"):
        play("```sh\nlossexport list mpdiou_loss --ops mpdiou.py\n```\n")
    assert capsys.readouterr().err.split() == blocks(page, "text")[0].split()


WRITTEN = [page for page in PAGES if not {"ops", "results"} & {*page.parts}]


@pytest.mark.parametrize("page", WRITTEN, ids=[str(page.relative_to(ROOT)) for page in WRITTEN])
def test_lines_of_pages_are_short(page: Path) -> None:
    """A row of a table cannot be wrapped."""
    lines = [line for line in page.read_text("utf-8").splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > 100] == []


def test_page_of_own_ops_names_every_field_and_domain() -> None:
    page = DOCS / "own_ops.md"
    fields = [row[0].strip("`") for row in rows(page, "| field of `Op` |")]
    assert fields == [field.name for field in dataclasses.fields(Op)]
    found = {name.strip("`"): rest for name, *rest in rows(page, "| domain |")}
    assert sorted(found) == sorted(DOMAINS)
    for name, domain in DOMAINS.items():
        bounds = "none"
        if domain.high != math.inf:
            bounds = f"{domain.low:g} to {domain.high}" + (", whole" if domain.whole else "")
        elif domain.low != -math.inf:
            bounds = f"from 2^{math.log2(domain.low):g}"
        assert found[name] == [domain.text, domain.dtype, bounds]


def test_example_of_own_ops_runs(play: Callable[..., None], tmp_path: Path) -> None:
    page = ROOT / "examples" / "own_op" / "README.md"
    right, wrong, last = "# Ops of one's own", "## A wrong factor", "## Behind a detector"
    shutil.copy(page.with_name("mpdiou.py"), tmp_path)
    with CATALOG.scoped():
        play(between(page, right, wrong))
    factor = between(page, wrong, last)
    subprocess.run(re.findall(r"^sed .*$", factor, re.M)[0], shell=True, check=True)
    with CATALOG.scoped(), pytest.raises(SystemExit, match=r"^1$"):
        play(factor)
    with CATALOG.scoped():
        play(between(page, last, "## As a package"))
    boxes = np.zeros((1, 200, 5), np.float32)
    boxes[0, :, :4] = np.load(tmp_path / "anchors.npy")
    score = load(tmp_path / "scored.onnx")(images=boxes)["score"]
    np.testing.assert_allclose(score, np.ones(200), rtol=1e-6)


def test_the_worked_op_applies_to_the_sources(tmp_path: Path) -> None:
    """To those files of a copy that it names, as `git apply` has it."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    (diff,) = blocks(ROOT / "CONTRIBUTING.md", "diff")
    for name in re.findall(r"^--- a/(.*)$", diff, re.M):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "op.diff").write_text(diff)
    done = subprocess.run((git, "apply", "op.diff"), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in tmp_path.rglob("*.py"):
        compile(path.read_text("utf-8"), path, "exec")
    assert "charbonnier_loss" in (tmp_path / "tests/families/test_charbonnier.py").read_text()

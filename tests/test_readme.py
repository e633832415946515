"""What the README tells a newcomer to type works as it stands there."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.M | re.S)


def test_quick_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shell block, then the Python blocks, in one folder, as a reader would run them."""
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    scripts = [block for block in blocks("sh") if "lossexport " in block]
    assert len(scripts) == 1
    done = subprocess.run(
        ("bash", "-euo", "pipefail", "-c", scripts[0]),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failed, " in done.stdout
    for name in ("ciou_loss.onnx", "ciou_loss.grad.engine", "manifest.json", "parity.html"):
        assert (tmp_path / "out" / name).is_file(), name
    assert (tmp_path / "score" / "report.html").is_file()

    for block in blocks("python"):
        exec(block, {})
    printed = capsys.readouterr().out
    eager, file = re.findall(r"\[\[(.*?)\]\]", printed)
    np.testing.assert_allclose(
        np.array(re.split(r"[,\s]+", eager.strip()), np.float32),
        np.array(re.split(r"[,\s]+", file.strip()), np.float32),
        atol=1e-4,
    )


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.M))
def test_make_targets_exist(target: str) -> None:
    done = subprocess.run(("make", "-n", target), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = set(re.findall(r"'\.\[(\w+)\]'", TEXT))
    assert named
    assert named <= set(project["optional-dependencies"])

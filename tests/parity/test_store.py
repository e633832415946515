"""`verify` leaves the manifest as it is; `--store` changes the results in it and nothing else."""

import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

import lossexport
from lossexport.cli import cli
from lossexport.errors import LossexportError
from lossexport.manifest import BackendParity, load_manifest, save_manifest, store_parity
from lossexport.parity import cases

pytestmark = pytest.mark.xdist_group("verify")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "out"
    lossexport.export("box_iou", out, formats=["onnx", "engine"])
    return out


@pytest.fixture(autouse=True)
def _small_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "cases", partial(cases.cases, elements=2**10))


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "out"))


def verify(*arguments: str | Path) -> None:
    done = CliRunner().invoke(cli, ["verify", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0


def test_a_job_that_verifies_committed_files_has_a_clean_diff(folder: Path) -> None:
    def git(*arguments: str) -> int:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ("git", *identity, *arguments)
        return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode

    for arguments in (("init",), ("add", "."), ("commit", "-m", "export")):
        assert git(*arguments) == 0
    verify(folder)
    verify(folder, "--no-store")
    assert git("diff", "--exit-code") == 0
    verify(folder, "--store")
    assert git("diff", "--exit-code") == 1


def test_storing_twice_gives_the_same_bytes_and_touches_the_results_alone(folder: Path) -> None:
    path = folder / "manifest.json"
    before = path.read_text()
    verify(folder, "--store")
    once = path.read_text()
    verify(folder, "--store")
    assert path.read_text() == once
    for text in (before, once):
        assert re.search(r'"ulp": \d+\.\d', text)
    old, new = (
        re.sub(r'"parity": (\[.*?\n {6}\]|null)', "", text, flags=re.DOTALL)
        for text in (before, once)
    )
    assert old == new
    assert '"ort-cuda"' in once


def test_foreign_forms_of_numbers_and_orders_of_keys_are_kept(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for entry in manifest["artifacts"]:
        entry["tolerance"] = {
            name: {"why": one["why"], "ulp": int(one["ulp"]), "abs": one["abs"]}
            for name, one in reversed(entry["tolerance"].items())
        }
    manifest = dict(reversed(manifest.items()))
    before = json.dumps(manifest, indent=2) + "\n"  # 6e-08 where msgspec writes 6e-8
    path.write_text(before)
    assert re.search(r'"abs": \d[.\d]*e-\d\d', before)
    assert re.search(r'"ulp": \d+,', before)
    verify(folder, "--store")

    def rest(text: str) -> str:
        return re.sub(r'"parity": (\[.*?\n {6}\]|null)', "", text, flags=re.DOTALL)

    assert rest(path.read_text()) == rest(before)
    assert list(json.loads(path.read_text())) == list(manifest)


def test_what_is_written_once_is_written_again_alike(folder: Path) -> None:
    before = (folder / "manifest.json").read_bytes()
    manifest = load_manifest(folder)
    assert manifest is not None
    save_manifest(folder, manifest)
    assert (folder / "manifest.json").read_bytes() == before
    store_parity(folder, {entry.file: entry.parity or [] for entry in manifest.artifacts})
    assert (folder / "manifest.json").read_bytes() == before
    store_parity(folder, {"no such file": [BackendParity("rtx", "1", "not run here")]})
    assert (folder / "manifest.json").read_bytes() == before


def test_what_cannot_be_stored_is_said(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "box_iou.onnx"
    shutil.copy(folder / alone.name, alone)
    assert lossexport.verify(alone).notes == ()
    report = lossexport.verify(alone, store=True)
    assert report.notes == (f"{tmp_path}: no manifest.json lists box_iou.onnx: not stored",)
    with pytest.raises(LossexportError, match="the result of one case is not stored"):
        lossexport.verify(alone, store=True, replay="adversarial:N=33:1")

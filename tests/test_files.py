"""Reading what is a regular file, finding what is shipped."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lossexport.detectors.detector import describe
from lossexport.errors import LossexportError
from lossexport.exporter import recipe
from lossexport.files import check_folder, file_or_shipped, read_bytes
from lossexport.manifest import load_manifest
from lossexport.runtime import load
from lossexport.wiring import detector


@pytest.mark.parametrize(
    "read",
    [recipe.load, describe, load, detector.load, load_manifest],
)
def test_a_pipe_is_refused_and_not_waited_for(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / ("manifest.json" if read is load_manifest else "pipe.onnx")
    os.mkfifo(path)
    with pytest.raises(LossexportError, match=f"^{path}: is not a regular file$"):
        read(tmp_path if read is load_manifest else path)


def test_what_is_no_file_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(LossexportError, match=f"^{tmp_path}: is not a regular file$"):
        read_bytes(tmp_path, 9)
    path = tmp_path / "ten"
    path.write_bytes(bytes(10))
    assert read_bytes(path, 10) == bytes(10)
    with pytest.raises(LossexportError, match=f"^{path}: 10 bytes, more than the limit of 9$"):
        read_bytes(path, 9)


def test_a_shipped_name_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name, other = Path("yolox_nano"), Path("yolox_nano.xml")
    assert file_or_shipped(other, "models/detectors") == other
    name.mkdir()
    assert file_or_shipped(name, "models/detectors").name == "yolox_nano.toml"
    name.rmdir()
    name.touch()
    assert file_or_shipped(name, "models/detectors") == name


def test_a_folder_may_be_made_in_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert check_folder(tmp_path / "a" / "b") == tmp_path
    with pytest.raises(LossexportError, match=f"^{tmp_path}/file: is not a folder$"):
        check_folder(tmp_path / "file" / "b")

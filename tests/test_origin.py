"""Remedies install from where the installation came from."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lossexport import doctor, origin
from lossexport.errors import LossexportError
from lossexport.exporter import engine
from lossexport.images import ImageFolder
from lossexport.runtime import NAMES, Availability, ort, trt

METADATA = """Metadata-Version: 2.4
Name: lossexport
Version: 0.1.0
Requires-Dist: numpy>=1.26
Requires-Dist: onnxruntime>=1.25; extra == 'cpu'
Requires-Dist: onnx>=1.20; extra == "toolchain"
Requires-Dist: torch<2.16,>=2.11 ; extra == "toolchain"
"""
PLACE = "/opt/my wheels/lossexport-0.1.0-py3-none-any.whl"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Make `origin` see an installation with this text as its direct_url.json."""

    def make(record: object) -> None:
        site = tmp_path / "site-packages"
        info = site / "lossexport-0.1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text(METADATA)
        if record is not None:
            text = record if isinstance(record, str) else json.dumps(record)
            (info / "direct_url.json").write_text(text)
        monkeypatch.setattr(origin, "_ROOT", site)
        monkeypatch.syspath_prepend(str(site))

    return make


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, "pip install 'lossexport[cpu]'"),
        (
            {"url": "https://host/lossexport-0.1.0-py3-none-any.whl", "archive_info": {}},
            "pip install 'lossexport[cpu] @ https://host/lossexport-0.1.0-py3-none-any.whl'",
        ),
        (
            {
                "url": "https://host/team/tools.git",
                "vcs_info": {"vcs": "git", "commit_id": "0a1b2c"},
                "subdirectory": "lossexport",
            },
            "pip install 'lossexport[cpu] @ "
            "git+https://host/team/tools.git@0a1b2c#subdirectory=lossexport'",
        ),
        (
            {"url": "file:///srv/tools.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b2c"}},
            "pip install 'lossexport[cpu] @ git+file:///srv/tools.git@0a1b2c'",
        ),
        ({"url": "file:///nowhere/x.whl", "archive_info": {}}, "pip install 'onnxruntime>=1.25'"),
        ("not JSON", "pip install 'lossexport[cpu]'"),
        ("[" * 100_000, "pip install 'lossexport[cpu]'"),
        ({"dir_info": {}}, "pip install 'lossexport[cpu]'"),
    ],
)
def test_the_place_is_named(
    installed: Callable[[object], None], record: object, expected: str
) -> None:
    installed(record)
    assert origin.install_command("cpu") == expected


@pytest.mark.parametrize("name", ["checkout", "my checkout", "it's $HOME; `rm`", "größe"])
@pytest.mark.parametrize("editable", [True, False, None])
def test_a_local_path_survives_the_shell(
    installed: Callable[[object], None], tmp_path: Path, name: str, editable: bool | None
) -> None:
    place = tmp_path / name
    place.mkdir()
    kind = {"archive_info": {}} if editable is None else {"dir_info": {"editable": editable}}
    installed({"url": place.as_uri(), **kind})
    wanted = ["pip", "install", *(["-e"] if editable else []), f"{place}[toolchain]"]
    assert shlex.split(origin.install_command("toolchain")) == wanted
    assert shlex.split(origin.install_command()) == [*wanted[:-1], str(place)]


def test_where_the_path_is_gone_the_packages_are_named(installed: Callable[[object], None]) -> None:
    installed({"url": "file:///tmp/gone", "dir_info": {}})
    expected = ["pip", "install", "onnx>=1.20", "torch<2.16,>=2.11"]
    assert shlex.split(origin.install_command("toolchain")) == expected
    assert origin.install_command() == "pip install 'numpy>=1.26'"


def test_a_checkout_is_itself_the_place(
    installed: Callable[[object], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed({"url": "file:///elsewhere", "dir_info": {}})
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "lossexport"\n')
    monkeypatch.setattr(origin, "_ROOT", tmp_path)
    assert origin.install_command("cpu") == f"pip install -e '{tmp_path}[cpu]'"
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "lossexport-tools"\n')
    assert origin.install_command("cpu") == "pip install 'onnxruntime>=1.25'"


@pytest.fixture
def from_a_wheel(installed: Callable[[object], None], tmp_path: Path) -> str:
    """The start of every remedy of an installation from a wheel whose path has a space."""
    place = tmp_path / "my wheels" / "lossexport-0.1.0-py3-none-any.whl"
    place.parent.mkdir()
    place.touch()
    installed({"url": place.as_uri(), "archive_info": {}})
    return f"pip install '{place}["


def absent(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_every_remedy_names_it(
    from_a_wheel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    absent(monkeypatch, "onnxruntime", "tensorrt", "tensorrt_rtx", "PIL", "PIL.Image")
    monkeypatch.setattr(trt, "has_module", lambda name: False)
    assert ort.availability().fix == f"{from_a_wheel}cpu]'"
    for backend in ("rtx", "tensorrt"):
        assert trt.availability(backend).fix == f"{from_a_wheel}{backend}]'"
        with pytest.raises(LossexportError, match=r" is not installed: ") as caught:
            engine.module(backend)
        assert str(caught.value).endswith(f": {from_a_wheel}{backend}]'")
    with pytest.raises(LossexportError, match="images need Pillow") as caught:
        ImageFolder(tmp_path)
    assert str(caught.value).endswith(f": {from_a_wheel}images]'")


def test_doctor_names_it_for_every_package(
    from_a_wheel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "installed_version", lambda *names: None)
    nothing = {name: Availability(name, False, reason="no") for name in NAMES}
    monkeypatch.setattr(doctor, "available", lambda: nothing)
    fixes = {check.component: check.fix or "" for check in doctor.report()}
    base = from_a_wheel.removesuffix("[") + "'"
    assert fixes["numpy"] == base
    assert fixes["pyarrow"] == f"{from_a_wheel}parquet]'"
    for name in ("torch", "onnx", "onnxscript", "polygraphy"):
        assert fixes[name] == f"{from_a_wheel}toolchain]'"
    assert fixes["onnxruntime CUDA provider"].endswith(f"&& {from_a_wheel}gpu]'")
    monkeypatch.setattr(doctor, "installed_version", lambda *names: "1")
    both = {check.component: check.fix or "" for check in doctor.report()}["onnxruntime"]
    assert f"&& {from_a_wheel}cpu]'" in both


@pytest.mark.parametrize("package", ["torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes"])
def test_the_command_line_names_it(package: str, tmp_path: Path) -> None:
    place = tmp_path / "x.whl"
    script = (
        "import json, sys; from pathlib import Path; from lossexport import cli, origin;"
        "origin._ROOT = Path('/'); origin._direct_url = lambda: json.loads(sys.argv.pop(1));"
        f"cli.cli.main = lambda *a, **k: exec('import {package}');"
        f"sys.modules['{package}'] = None; cli.main()"
    )
    place.touch()
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps({"url": place.as_uri()})],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    expected = f"error: {package} is not installed: pip install '{place}[toolchain]'\n"
    assert (done.returncode, done.stderr) == (2, expected)


def test_no_other_module_spells_the_command_out() -> None:
    package = Path(origin.__file__).parent
    found = [
        path.name
        for path in package.rglob("*.py")
        if re.search(r"pip install\b[^'\n]*'?\"?lossexport", path.read_text())
    ]
    assert found == []

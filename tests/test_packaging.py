"""The sdist, the wheel built from it, and the wheel at work where there is no checkout."""

import itertools
import json
import re
import shutil
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lossexport
from lossexport.exporter import export
from lossexport.manifest import load_manifest
from lossexport.runtime import native
from lossexport.scoring import score
from tests.packages import QUICK_CXX, run

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPILER = any(map(shutil.which, ("g++", "c++", "clang++")))


def requirements(extra: str) -> list[Requirement]:
    """What an extra installs, extras of our own resolved, the base left out."""
    found = []
    for text in PROJECT["optional-dependencies"][extra]:
        requirement = Requirement(text)
        if requirement.name == PROJECT["name"]:
            found += [r for name in sorted(requirement.extras) for r in requirements(name)]
        else:
            found.append(requirement)
    return found


@pytest.mark.xdist_group("wheel")
def test_sdist_holds_what_is_needed_to_build_and_test(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = {name.partition("/")[0] for name in names}
    assert folders >= {"lossexport", "models", "plugins", "tests", "docs", "benchmarks"}
    assert names >= {f"plugins/host/{p.name}" for p in (ROOT / "plugins" / "host").glob("*.*")}
    assert not [name for name in names if name.startswith("lossexport/native/")]
    assert names >= {"Makefile", "LICENSE", "README.md", "constraints.txt", ".ci/run"}
    tests = {str(p.relative_to(ROOT)) for p in (ROOT / "tests").rglob("*.py")}
    assert names >= tests
    assert not [name for name in names if "__pycache__" in name or name.startswith(".venv")]


@pytest.mark.xdist_group("wheel")
def test_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (name for name in names if name.endswith("/entry_points.txt"))
        assert (
            "[pytest11]\nlossexport = lossexport.pytest_plugin\n"
            in archive.read(entry_points).decode()
        )
    outside = {n for n in names if not n.startswith("lossexport/") and ".dist-info/" not in n}
    assert not outside
    wanted = {"lossexport/py.typed", "lossexport/graphs/manifest.json"}
    for pattern in ("*.py", "*.pyi", "*.j2", "graphs/*.onnx"):
        wanted |= {f"lossexport/{p.relative_to(ROOT / 'lossexport')}"
                   for p in (ROOT / "lossexport").rglob(pattern)}  # fmt: skip
    for folder in ("models", "plugins"):
        files = (p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc")
        wanted |= {f"lossexport/{p.relative_to(ROOT)}" for p in files}
    assert "lossexport/models/box-quality.toml" in wanted
    assert not wanted - names


@pytest.mark.xdist_group("wheel")
def test_wheel_holds_the_kernels_for_every_python(wheel: Path) -> None:
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    kind = f"py3-none-{platform}" if COMPILER else "py3-none-any"
    assert wheel.name == f"lossexport-{lossexport.__version__}-{kind}.whl"
    with zipfile.ZipFile(wheel) as archive:
        found = {n for n in archive.namelist() if n.startswith("lossexport/native/")}
    files = {
        native.path().name,
        "include/lossexport.h",
        "cmake/lossexportConfig.cmake",
        "cmake/lossexportConfigVersion.cmake",
        "pkgconfig/lossexport.pc",
    }
    assert found == ({f"lossexport/native/{name}" for name in files} if COMPILER else set())


@pytest.mark.slow
def test_without_a_compiler_the_rest_installs_and_doctor_says_what_to_do(tmp_path: Path) -> None:
    build = f"{sys.executable} -m build --wheel --no-isolation --outdir {tmp_path} . 2>&1"
    said = run("sh", "-c", build, CXX="no-such-compiler")
    reason = "native kernels were not built: CXX=no-such-compiler: not found; lossexport doctor"
    assert reason in " ".join(said.split())
    (path,) = tmp_path.glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)

    code = "from lossexport.doctor import report; from dataclasses import asdict; import json;"
    code += "print(json.dumps([asdict(c) for c in report() if c.component == 'native kernels']))"
    here = {"PYTHONPATH": str(tmp_path)}
    (check,) = json.loads(run(sys.executable, "-c", code, cwd=tmp_path, **here))
    script = tmp_path / "lossexport" / "plugins" / "host" / "build.py"
    assert (check["status"], check["fix"].rpartition("&& ")[2]) == ("missing", f"python {script}")
    assert check["detail"] == f"no library of native kernels at {tmp_path / 'lossexport'}/" + (
        f"native/{native.path().name}"
    )
    if COMPILER:
        run(sys.executable, script, CXX=QUICK_CXX)
        (check,) = json.loads(run(sys.executable, "-c", code, cwd=tmp_path, **here))
        assert (check["status"], check["fix"]) == ("ok", None)


def test_every_installed_package_is_pinned_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {}
    for line in lines:
        if not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9a-z.]*)", line)
            assert match, line
            pins[canonicalize_name(match[1])] = match[2]
    base = [Requirement(text) for text in PROJECT["dependencies"]]
    for requirement in base + requirements("dev"):
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{requirement} is not in constraints.txt"
        assert requirement.specifier.contains(pins[name]), f"{requirement} excludes {pins[name]}"


def test_citation_is_of_this_version() -> None:
    lines = (ROOT / "CITATION.cff").read_text("utf-8").splitlines()
    assert f"version: {lossexport.__version__}" in lines
    assert f"license: {PROJECT['license']}" in lines
    assert f"repository-code: {PROJECT['urls']['Source']}" in lines


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_no_extra_has_both_builds_of_onnxruntime(extra: str) -> None:
    names = {requirement.name for requirement in requirements(extra)}
    assert not {"onnxruntime", "onnxruntime-gpu"} <= names


def test_shipped_artifacts_are_what_the_recipe_exports(tmp_path: Path) -> None:
    shipped = ROOT / "lossexport" / "graphs"
    export(None, tmp_path, recipe_file=ROOT / "models" / "box-quality.toml", formats=["onnx"])
    old, new = load_manifest(shipped), load_manifest(tmp_path)
    assert old is not None
    assert new is not None
    if old.generator != new.generator:
        pytest.skip(f"shipped graphs are of {old.generator}, installed is {new.generator}")
    for entry in new.artifacts:
        path = shipped / entry.file
        assert path.read_bytes() == (tmp_path / entry.file).read_bytes(), "run `make graphs`"
    assert [entry.file for entry in old.artifacts] == [entry.file for entry in new.artifacts]


def test_the_base_install_is_light() -> None:
    base = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert not base & {"torch", "onnx", "onnxruntime", "scipy", "pandas"}


@pytest.mark.xdist_group("wheel")
def test_wheel_scores_outside_the_checkout_without_torch(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", venv)
    python, program = venv / "bin" / "python", venv / "bin" / "lossexport"
    constraints = ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "--quiet", "-c", constraints, f"{wheel}[cpu]")

    where = run(python, "-c", "import lossexport; print(lossexport.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(venv)
    missing = "import importlib.util as u; print(*map(u.find_spec, ('torch', 'onnx')))"
    assert run(python, "-c", missing, cwd=tmp_path).split() == ["None", "None"]

    counts = ("--images", "20", "--references", "100", "--predictions", "400")
    run(python, "-m", "lossexport.sample", *counts, "--out", "data", cwd=tmp_path)
    files = ("--pred", "data/dets.json", "--ref", "data/gt.json")
    run(program, "score", *files, "--out", "score", cwd=tmp_path)

    summary = json.loads((tmp_path / "score" / "summary.json").read_text())
    assert summary["counts"]["predictions"] == 400
    assert summary["counts"]["matched"] > 50
    here = score(tmp_path / "data" / "dets.json", tmp_path / "data" / "gt.json")
    assert summary["AP"] == here["AP"]
    assert summary["backend"] == ("native" if COMPILER else "ort")
    assert summary["ciou"]["mean"] == pytest.approx(here["ciou"]["mean"], abs=1e-6)
    assert {p.name for p in (tmp_path / "score").iterdir()} == {
        "summary.json",
        "report.html",
    }
    (note,) = (note for note in summary["notes"] if "boxes.parquet" in note)
    assert "pyarrow is not installed: pip install" in note
    assert note.endswith("[parquet]'")
    ops = json.loads(run(program, "list", "--json", cwd=tmp_path))
    assert "ciou_loss" in {op["name"] for op in ops}
    assert "onnxruntime" in run(program, "doctor", cwd=tmp_path)


def test_extras_that_bring_both_runtimes_are_declared_to_uv() -> None:
    """`onnxruntime` and `onnxruntime-gpu` install the same files."""
    runtimes = {
        extra: {r.name for r in requirements(extra)} & {"onnxruntime", "onnxruntime-gpu"}
        for extra in PROJECT["optional-dependencies"]
    }
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    declared = {frozenset(one["extra"] for one in pair) for pair in tool["uv"]["conflicts"]}
    assert declared == {
        frozenset(pair)
        for pair in itertools.combinations(runtimes, 2)
        if len(set.union(*(runtimes[extra] for extra in pair))) == 2
    }

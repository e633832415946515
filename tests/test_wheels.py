"""The wheels of `make wheels`: their tags, their bits on both processors, and an install."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import lossexport
from tests.packages import ENVIRONMENT, ROOT, run

MACHINES = ("x86_64", "aarch64")
TOOLS = ("auditwheel", "qemu-aarch64", *(f"{machine}-linux-gnu-g++" for machine in MACHINES))
MISSING = [tool for tool in TOOLS if not shutil.which(tool)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("wheels"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheels` makes, in the environment of the tests."""
    out = tmp_path_factory.mktemp("dist")
    ready = Path(sys.prefix, ".ready")
    run("make", "-o", ready, "wheels", f"VENV={sys.prefix}", f"DIST={out}")
    return out


def wheel(made: Path, machine: str) -> Path:
    tag = f"manylinux2014_{machine}.manylinux_2_17_{machine}"
    return made / f"lossexport-{lossexport.__version__}-py3-none-{tag}.whl"


def test_there_is_a_wheel_for_each_processor_and_the_sdist(made: Path) -> None:
    sdist = made / f"lossexport-{lossexport.__version__}.tar.gz"
    assert set(made.iterdir()) == {sdist, *(wheel(made, machine) for machine in MACHINES)}


def test_the_bits_are_the_same_on_both(made: Path, tmp_path: Path) -> None:
    said = {}
    for machine in MACHINES:
        folder = tmp_path / machine
        with zipfile.ZipFile(wheel(made, machine)) as archive:
            archive.extractall(folder)
        native, program = folder / "lossexport/native", folder / "bits"
        run(
            *(f"{machine}-linux-gnu-gcc", "-std=c99", "-O1", ROOT / "tests/native/bits.c"),
            *(f"-I{native / 'include'}", native / "liblossexport.so", f"-Wl,-rpath,{native}"),
            *("-o", program),
        )
        emulator = (
            ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu") if machine != MACHINES[0] else ()
        )
        level, *said[machine] = run(*emulator, program).splitlines()
        assert level.startswith(machine.replace("x86_64", "x86-64"))
        assert level.endswith(": 3486 of 4000 kept")
    assert said["x86_64"] == said["aarch64"]
    assert [line.split()[0] for line in said["x86_64"]] == ["nms", "pairwise_ciou"]


def test_it_installs_without_a_compiler_and_has_the_kernels(made: Path, tmp_path: Path) -> None:
    nothing, site = tmp_path / "empty", tmp_path / "site"
    nothing.mkdir()
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps")
    here = wheel(made, os.uname().machine)
    run(*pip, "--target", site, here, cwd=tmp_path, PATH=str(nothing))
    doctor = (sys.executable, "-m", "lossexport", "doctor")
    said = run(*doctor, cwd=tmp_path, PATH=str(nothing), PYTHONPATH=str(site), COLUMNS="200")
    (line,) = [line for line in said.splitlines() if "native kernels" in line]
    assert " ok " in line


def test_no_wheel_without_the_compiler_that_it_is_asked_of(tmp_path: Path) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT),
        env=ENVIRONMENT | {"LOSSEXPORT_PORTABLE": "1", "CXX": "no-such-compiler"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    reason = "native kernels were not built: CXX=no-such-compiler: not found"
    assert reason in " ".join((done.stdout + done.stderr).split())
    assert not list(tmp_path.iterdir())

"""The programs in C and C++: built against an installed wheel, by the commands of their page."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from lossexport.exporter import export
from lossexport.runtime.native import ABI
from tests.conftest import ROOT, slow
from tests.packages import ENVIRONMENT, run

EXAMPLE = ROOT / "examples/c"
PAGE = (EXAMPLE / "README.md").read_text("utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
(PRINTED,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.M | re.S)
pytestmark = [
    pytest.mark.xdist_group("wheel"),
    pytest.mark.skipif(not shutil.which("cc") or not shutil.which("g++"), reason="no compiler"),
]


@pytest.fixture(scope="session")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps")
    run(*pip, "--target", target, wheel)
    return target


@pytest.fixture
def spaced(site: Path, tmp_path: Path) -> Path:
    """The same in a folder with a space in its name, on which a shell or CMake may trip."""
    return Path(shutil.copytree(site, tmp_path / "a site"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example to work in."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "c"))


def shell(text: str, site: Path, cwd: Path, **more: str) -> str:
    path = os.pathsep.join((str(site / "bin"), ENVIRONMENT["PATH"]))
    return run("bash", "-euc", text, cwd=cwd, PATH=path, PYTHONPATH=str(site), **more)


def refused(*command: str | Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        command, env=ENVIRONMENT | environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("block", [SHELL[0], *map(slow, SHELL[1:])])
def test_the_commands_of_the_page_print_what_it_says(block: str, site: Path, folder: Path) -> None:
    for tool in ("cmake", "pkg-config"):
        if tool in block and not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    assert shell(block, site, folder).endswith(PRINTED)


@pytest.mark.skipif(not shutil.which("cmake"), reason="cmake is not installed")
def test_cmake_finds_it_in_a_folder_with_a_space(spaced: Path, folder: Path) -> None:
    assert shell(SHELL[1], spaced, folder).endswith(PRINTED)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cmake"), reason="cmake is not installed")
def test_cmake_takes_the_versions_that_are_compatible(site: Path, folder: Path) -> None:
    versions = ("0", "0.1", "0.1.0", "0.1.0 EXACT", "0.0", "0.1.1", "0.2", "1", "0.10")
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.15)\nproject(versions C)\n"
        + "".join(
            f"set(lossexport_DIR ${{place}})\nfind_package(lossexport {version} QUIET)\n"
            f'message("{version}=${{lossexport_FOUND}}")\n'
            for version in versions
        )
    )
    said = shell('cmake -Dplace="$(lossexport config --cmake-dir)" . 2>&1', site, folder)
    found = [version for version in versions if f"{version}=1" in said.splitlines()]
    assert found == ["0", "0.1", "0.1.0", "0.1.0 EXACT"]


def test_a_program_does_not_start_with_the_library_of_another_abi(site: Path, folder: Path) -> None:
    shell(SHELL[0], site, folder)
    (folder / "other.c").write_text("".join(
        f"void lossexport_{name}(void) {{}}\n" for name in ("abi", "message", "run")
    ))  # fmt: skip
    (folder / "symbols").write_text(f"LOSSEXPORT_{ABI + 1} {{ global: *; }};")
    link = "-Wl,--version-script=symbols -o other/liblossexport.so"
    shell(f"mkdir other; cc -shared -fPIC other.c {link}", site, folder)
    code, said = refused(folder / "nms", LD_LIBRARY_PATH=str(folder / "other"))
    assert code == 1
    assert f"{folder}/other/liblossexport.so: version `LOSSEXPORT_{ABI}' not found" in said


def test_a_program_that_has_another_header_says_so(site: Path, folder: Path) -> None:
    header = (site / "lossexport/native/include/lossexport.h").read_text()
    other = header.replace(f"LOSSEXPORT_ABI {ABI}", f"LOSSEXPORT_ABI {ABI + 1}")
    assert other != header
    (folder / "lossexport.h").write_text(other)
    shell("cc -I. nms.c $(lossexport config --libs) -o nms", site, folder)
    assert refused(folder / "nms") == (1, f"ABI {ABI}, compiled for {ABI + 1}\n")


def test_a_library_that_is_not_there_is_an_error_in_one_line(spaced: Path) -> None:
    empty = spaced.rename(spaced.with_name("empty"))
    package = empty / "lossexport"
    shutil.rmtree(package / "native")
    code, said = refused(empty / "bin/lossexport", "config", "--libs", PYTHONPATH=str(empty))
    mend = f"python {package / 'plugins/host/build.py'}"
    missing = package / "native/liblossexport.so"
    assert (code, said) == (2, f"error: no native kernels: {missing}: does not exist; {mend}\n")


def test_lines_come_in_the_order_of_the_options_without_torch(spaced: Path) -> None:
    native = spaced / "lossexport/native"
    for name in ("torch", "onnxruntime"):
        (spaced / f"{name}.py").write_text("raise SystemExit('is imported')")
    options = "--library --include-dir --onnxruntime-library --cmake-dir --pkg-config-dir"
    said = shell(f"lossexport config {options} --cflags", spaced, spaced)
    assert said.splitlines() == [
        str(native / "liblossexport.so"),
        str(native / "include"),
        str(native / "liblossexport.so"),
        str(native / "cmake"),
        str(native / "pkgconfig"),
        f"'-I{native / 'include'}'",
    ]


def compiles(program: str, header: str, folder: Path, *options: str) -> None:
    """Compile one of the C++ programs; skips where its headers are not installed."""
    look = ("g++", "-E", "-x", "c++", "-include", header, *options, os.devnull)
    if refused(*look)[0]:
        pytest.skip(f"{header} is not installed")
    warn = ("-std=c++17", "-Wall", "-Wextra", "-Werror")
    run("g++", *warn, *options, "-c", EXAMPLE / program, "-o", folder / f"{program}.o")


def test_a_session_of_onnxruntime_runs_the_kernels(site: Path, folder: Path) -> None:
    place = "-I/usr/include/onnxruntime"
    compiles("session.cpp", "onnxruntime_cxx_api.h", folder, place)
    # The Python package has the library by its full version alone.
    (library,) = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.1.*")
    (folder / "libonnxruntime.so.1").symlink_to(library)
    objects = (folder / "session.cpp.o", folder / "libonnxruntime.so.1")
    run("g++", *objects, f"-Wl,-rpath,{folder}", "-o", folder / "session")
    export("nms", folder / "out", attributes={"max_output": 3, "iou_threshold": 0.6})
    kernels = shell("lossexport config --onnxruntime-library", site, folder).strip()
    assert run(folder / "session", kernels, folder / "out/nms.onnx") == "kept 2: 0 3\n"


def test_the_program_for_an_engine_compiles(tmp_path: Path) -> None:
    places = ("-I/usr/local/cuda/include", "-I/usr/include/x86_64-linux-gnu")
    compiles("engine.cpp", "NvInfer.h", tmp_path, *places)

"""Build the CPU kernels into one shared library: `python build.py`.

Needs a C++20 compiler ($CXX, g++, c++ or clang++) and nothing else. The loops are compiled once for
each level of the processor, and the library picks one when it is loaded. The header and the files
by which CMake and pkg-config find the library are put beside it.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")

# Every operation rounds as it is written, so that every level, compiler and device agree.
FLAGS = (
    *("-std=c++20", "-fPIC", "-fvisibility=hidden", "-pthread", "-fopenmp-simd"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
OPTIMISE = ("-O3",)
# Lines for the reports, and no more: what debuggers want takes longer to write than the code.
SANITIZE = (
    *("-Og", "-g1", "-fsanitize=address,undefined,float-cast-overflow"),
    "-fno-sanitize-recover=all",
)
LEVELS = {"base": ()}
X86_LEVELS = {
    "v4": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
    "v3": ("-march=x86-64-v3",),
    "base": (),
}
OPS = HERE / "ops.cpp"
HEADER = HERE / "lossexport.h"
# Where the files go that programs are built with, below the folder of the library.
PLACES = {
    HEADER: "include",
    HERE / "package" / "lossexportConfig.cmake": "cmake",
    HERE / "package" / "lossexportConfigVersion.cmake": "cmake",
    HERE / "package" / "lossexport.pc": "pkgconfig",
}


class BuildError(Exception):
    """The reason why there is no library: one line, with the remedy if there is one."""


def package() -> Path:
    """The folder of the Python package, in a checkout as in an installation."""
    base = HERE.parents[1]
    return base / "lossexport" if (base / "lossexport").is_dir() else base


def compiler() -> list[str]:
    """The command of a C++ compiler. Raises BuildError where there is none."""
    given = os.environ.get("CXX")
    for command in [shlex.split(given)] if given else [["g++"], ["c++"], ["clang++"]]:
        if command and shutil.which(command[0]):
            return command
    raise BuildError(
        f"CXX={given}: not found"
        if given
        else "no C++ compiler; install g++ or clang++, for example: apt-get install g++"
    )


def machine() -> str:
    """What the compiler compiles for, such as "x86_64-linux-gnu"."""
    return _run([*compiler(), "-dumpmachine"])


def install(folder: Path, portable: bool = False) -> Path:
    """Build the library into `folder`, with the files that programs are built with."""
    library = folder / f"liblossexport{SUFFIX}"
    build(library, portable=portable)
    version = _number(package() / "__init__.py", r'__version__ = "(.+)"')
    for source, place in PLACES.items():
        text = source.read_text("utf-8")
        text = text.replace("@VERSION@", version).replace("@LIBRARY@", library.name)
        (folder / place).mkdir(exist_ok=True)
        (folder / place / source.name).write_text(text, "utf-8")
    return library


def build(out: Path, sanitize: bool = False, portable: bool = False) -> None:
    """Compile and link, the units in parallel; `out` appears whole or not at all.

    `portable`: for Linux with a glibc of 2.17 or later, whatever the glibc here.
    """
    cxx, target = compiler(), machine()
    flags = [*FLAGS, *(SANITIZE if sanitize else OPTIMISE), *(["-DLX_PORTABLE"] * portable)]
    levels = X86_LEVELS if target.startswith(("x86_64", "amd64")) else LEVELS
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=out.parent) as folder:
        units = {
            level: [str(OPS), f"-DLX_LEVEL={level}", *extra] for level, extra in levels.items()
        } | {path.stem: [str(path)] for path in HERE.glob("*.cpp") if path != OPS}
        objects = {name: str(Path(folder, f"{name}.o")) for name in units}
        commands = [[*cxx, *flags, "-c", *unit, "-o", objects[n]] for n, unit in units.items()]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_run, commands))
        library = str(Path(folder, out.name))
        link = _linking(target, Path(folder), sanitize, portable)
        _run([*cxx, *flags, "-shared", *objects.values(), *link, "-o", library])
        Path(library).replace(out)


def _linking(target: str, folder: Path, sanitize: bool, portable: bool) -> list[str]:
    """Options of the linker; `folder` is for a file of its own."""
    if "linux" not in target:
        return []
    # The ABI is the version of the symbols: a program that was linked with another one does not
    # start. A number in the name of the file would need a link, which wheels cannot hold.
    abi, script = _number(HEADER, r"#define LOSSEXPORT_ABI (\d+)"), folder / "symbols"
    script.write_text(
        f"LOSSEXPORT_{abi} {{ global: lossexport_*; RegisterCustomOps*; local: *; }};\n", "utf-8"
    )
    options = [f"-Wl,--version-script={script}", "-Wl,-soname,liblossexport.so"]
    if sanitize:
        return options
    # The compiler's own runtime inside: no more than the system's libc is needed.
    options += ["-static-libstdc++", "-Wl,--gc-sections"]
    if not portable:
        return [*options, "-static-libgcc"]
    # Threads had a library of their own before 2.34. A static libgcc would need 2.35.
    return [*options, "-Wl,--no-as-needed", "-l:libpthread.so.0", "-Wl,--as-needed"]


def _number(file: Path, pattern: str) -> str:
    found = re.search(pattern, file.read_text("utf-8"))
    if found is None:
        raise BuildError(f"{file}: no line like {pattern}")
    return found[1]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).splitlines() or [f"exit code {done.returncode}"]
        raise BuildError(next((line for line in lines if "error" in line), lines[-1]))
    return done.stdout.strip()


def main() -> int:
    """The command line; 1 and one line on stderr where there is no library."""
    parser = argparse.ArgumentParser(description="Build the CPU kernels into a shared library.")
    parser.add_argument("--out", type=Path, help="the library alone; default: all, in the package")
    parser.add_argument("--sanitize", action="store_true", help="with ASan and UBSan, for tests")
    options = parser.parse_args()
    if options.sanitize and not options.out:
        parser.error("--sanitize needs --out")
    out = options.out
    try:
        if out:
            build(out.absolute(), options.sanitize)
        else:
            out = install(package() / "native")
    except (BuildError, OSError) as error:
        print(f"native kernels were not built: {error}", file=sys.stderr)
        return 1
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Build the CPU kernels into one shared library: `python build.py [--out FILE] [--sanitize]`.

Needs a C++20 compiler ($CXX, g++, c++ or clang++) and nothing else. The loops are compiled once for
each level of the processor, and the library picks one when it is loaded.
"""

import argparse
import os
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
SANITIZE = (
    *("-O1", "-g", "-fsanitize=address,undefined,float-cast-overflow"),
    "-fno-sanitize-recover=all",
)
LEVELS = {"base": ()}
X86_LEVELS = {
    "v4": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
    "v3": ("-march=x86-64-v3",),
    "base": (),
}
OPS = HERE / "ops.cpp"


class BuildError(Exception):
    """The reason why there is no library: one line, with the remedy if there is one."""


def default_out() -> Path:
    """Where the package looks: beside its modules, in a checkout as in an installation."""
    base = HERE.parents[1]
    package = base / "lossexport" if (base / "lossexport").is_dir() else base
    return package / "native" / f"liblossexport{SUFFIX}"


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


def build(out: Path, sanitize: bool = False) -> None:
    """Compile and link, the units in parallel; `out` appears whole or not at all."""
    cxx = compiler()
    flags = [*FLAGS, *(SANITIZE if sanitize else OPTIMISE)]
    machine = _run([*cxx, "-dumpmachine"])
    levels = X86_LEVELS if machine.startswith(("x86_64", "amd64")) else LEVELS
    # The compiler's runtime is linked in and hidden, so only the system's libc is needed.
    static = ["-static-libgcc", "-static-libstdc++", "-Wl,--exclude-libs,ALL"]
    if sanitize or "darwin" in machine:
        static = []
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
        _run([*cxx, *flags, "-shared", *objects.values(), *static, "-o", library])
        Path(library).replace(out)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).splitlines() or [f"exit code {done.returncode}"]
        raise BuildError(next((line for line in lines if "error" in line), lines[-1]))
    return done.stdout.strip()


def main() -> int:
    """The command line; 1 and one line on stderr where there is no library."""
    parser = argparse.ArgumentParser(description="Build the CPU kernels into a shared library.")
    parser.add_argument("--out", type=Path, default=default_out(), help="default: in the package")
    parser.add_argument("--sanitize", action="store_true", help="with ASan and UBSan, for tests")
    options = parser.parse_args()
    try:
        build(options.out.absolute(), options.sanitize)
    except (BuildError, OSError) as error:
        print(f"native kernels were not built: {error}", file=sys.stderr)
        return 1
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

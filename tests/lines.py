"""Counts which lines of the package the tests run: `PYTEST_PLUGINS=tests.lines pytest`.

SlipCover has the code of a module say once which line it runs and then takes that out again, so
that a run takes hardly longer than without. Each worker counts for itself and hands over what it
has seen; the run fails where less than LEAST percent of the lines were seen.
"""

import json
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import pytest
from slipcover import Slipcover, merge_coverage, print_coverage
from slipcover.importer import SlipcoverLoader

LEAST = 95.0
PACKAGE = Path(__file__).parents[1] / "lossexport"
KEY = "lines"

if "PYTEST_XDIST_WORKER" in os.environ:  # the pytest that a test starts counts nothing
    os.environ.pop("PYTEST_PLUGINS", None)

_counter = Slipcover(
    source=[str(PACKAGE)], exclude_also=["if TYPE_CHECKING:", "@abstractmethod", r"\.\.\.$"]
)


class _Finder(MetaPathFinder):
    """Finds the modules of the package, before pytest's own finder takes them for a plugin's."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] != PACKAGE.name:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.loader and spec.origin and spec.origin.endswith(".py"):
            spec.loader = SlipcoverLoader(_counter, spec.loader, spec.origin)
        return spec


# Before any module of the package is imported, which is when its code is changed.
sys.meta_path.insert(0, _Finder())
_found: list[dict[str, Any]] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that are marked as `uncounted`; `make slow` runs them."""
    left_out = [item for item in items if item.get_closest_marker("uncounted")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("uncounted")]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what a worker has seen; keep what this process has."""
    handed_over: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if handed_over is None:
        _found.append(_counter.get_coverage())
    else:
        _counter.source = None  # files that were not imported are added once, by the other process
        handed_over[KEY] = json.dumps(_counter.get_coverage())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker has seen; one that crashed has nothing to give."""
    if KEY in (given := getattr(node, "workeroutput", {})):
        _found.append(json.loads(given[KEY]))


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: Any) -> Any:
    """Print the files with lines that were not run, and the total."""
    yield
    total, *others = _found
    for other in others:
        total = merge_coverage(total, other)
    terminalreporter.section("lines of the package that the tests run")
    print_coverage(total, outfile=sys.stdout, skip_covered=True, missing_width=60)
    share = total["summary"]["percent_covered"]
    terminalreporter.write_line(f"{share:.1f} % of the lines; at least {LEAST} % are expected")
    if share < LEAST:
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED

"""The tests that the pytest plugin plans, collects and runs if --lossexport is given."""

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lossexport.errors import LossexportError, printable
from lossexport.names import KERNEL_BACKENDS
from lossexport.origin import install_command
from lossexport.parity import artifact
from lossexport.parity.artifact import Target
from lossexport.runtime.backends import has_module

if TYPE_CHECKING:
    from lossexport.parity.verify import Check


@dataclass(frozen=True, slots=True)
class Planned:
    """A test of a file on a backend; `file` is spelled as a user would write it."""

    file: Path
    target: Target
    required: bool

    @property
    def name(self) -> str:
        """`ciou_loss.onnx[ort-cpu]`."""
        return f"{self.file.name}[{self.target.label}]"


class Artifacts:
    """The plugin of a run with --lossexport: it adds a collector for each path to the session."""

    def __init__(
        self,
        config: pytest.Config,
        paths: Sequence[str],
        backends: Sequence[str],
        required: Sequence[str],
    ) -> None:
        """Plan the tests. Raises UsageError on a path or a backend that cannot be used."""
        if not has_module("torch"):
            command = install_command("toolchain")
            raise pytest.UsageError(f"--lossexport: torch is not installed: {command}")
        self._root = config.invocation_params.dir
        try:
            only, needed = _names(backends), _names(required)
            self._plans = {
                self._absolute(path): list(_plan(Path(path), only, needed)) for path in paths
            }
        except LossexportError as error:
            raise pytest.UsageError(f"--lossexport: {printable(str(error))}") from None
        labels = {item.target.label for plan in self._plans.values() for item in plan}
        for name in (*only, *needed):
            if not any(artifact.required(label, [name]) for label in labels):
                raise pytest.UsageError(f"--lossexport: {', '.join(paths)}: no file is for {name}")
        self._select(config.args)

    def _absolute(self, path: str) -> Path:
        return Path(os.path.abspath(self._root / path))  # noqa: PTH100  links stay as they are

    def _select(self, arguments: list[str]) -> None:
        """If the arguments contain ids of our tests, keep only those tests.

        The ids are removed from the arguments, because pytest itself accepts no id in a folder.
        """
        chosen: dict[Path, list[Planned]] = {}
        for argument in [*arguments]:
            base, _, name = argument.partition("::")
            if not name or (path := self._absolute(base)) not in self._plans:
                continue
            found = [item for item in self._plans[path] if item.name == name]
            if not found:
                raise pytest.UsageError(f"not found: {argument}")
            arguments.remove(argument)
            chosen.setdefault(path, []).extend(found)
        self._plans = chosen or self._plans

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the collectors."""
        report = yield
        if isinstance(collector, pytest.Session) and report.passed:
            root = collector.config.rootpath
            for path, plan in self._plans.items():
                # Set here because pytest's own ids fail for paths outside of its root, and for
                # brackets with --lf.
                nodeid = Path(os.path.relpath(path, root)).as_posix()
                report.result.append(
                    Export.from_parent(collector, path=path, nodeid=nodeid, plan=plan)
                )
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Report a skipped test under the path of its file instead of the line in this module."""
        report = yield
        if isinstance(item, ArtifactTest) and isinstance(report.longrepr, tuple):
            where: Any = (str(item.path), None, report.longrepr[2])
            report.longrepr = where
        return report


class Export(pytest.File):
    """A file, or an export folder, with the tests that are planned for it."""

    def __init__(self, *, plan: Iterable[Planned], **rest: Any) -> None:
        super().__init__(**rest)
        self._plan = plan

    def collect(self) -> Iterator["ArtifactTest"]:
        """A test for each file and backend."""
        for planned in self._plan:
            nodeid = f"{self.nodeid}::{planned.name}"
            yield ArtifactTest.from_parent(self, name=planned.name, nodeid=nodeid, planned=planned)


class ArtifactTest(pytest.Item):
    """The test of a file on a backend, which is skipped if the file cannot run here."""

    def __init__(self, *, planned: Planned, **rest: Any) -> None:
        super().__init__(**rest)
        self._planned = planned
        self.add_marker("lossexport")

    def runtest(self) -> None:
        """Run all cases."""
        with chdir(self.config.invocation_params.dir):  # an earlier test may have changed folder
            failed = self._run()
        if failed:
            pytest.fail(printable(failed), pytrace=False)

    def _run(self) -> str:
        """A message about the failures; empty if there are none."""
        from lossexport.parity.report import absence, failure, replay_command

        path, target = self._planned.file, self._planned.target
        try:
            result = _check(path).file(path, target)
        except LossexportError as error:
            return str(error)
        if result.status == "not run here":
            if not self._planned.required:
                pytest.skip(absence(path, result))
            return f"{path}: {target.label} is required: {absence(path, result)}"
        if result.status == "failed":
            return failure(path, result, partial(replay_command, path, _check(path).variant))
        return ""

    def reportinfo(self) -> tuple[Path, None, str]:
        """The test's file and its heading, which pytest shows unchanged, unlike the id."""
        return self.path, None, f"{self._planned.file.name} on {self._planned.target.label}"


@lru_cache(maxsize=1)  # the tests of a file follow each other and share the expected values
def _check(path: Path) -> "Check":
    from lossexport.parity.cases import Selection
    from lossexport.parity.verify import Check

    variant, _ = artifact.identify(path)
    return Check(variant, Selection()(variant))


def _names(options: Sequence[str]) -> list[str]:
    """The backends of an option, which may be repeated and may list several with commas."""
    return artifact.check_names("backends", [name for text in options for name in text.split(",")])


def _plan(path: Path, only: Sequence[str], needed: Sequence[str]) -> Iterator[Planned]:
    """The tests of a file or a folder. Reads the manifest, or a file without one; runs nothing."""
    names = only or (None if set(needed).isdisjoint(KERNEL_BACKENDS) else artifact.TARGETS)
    for file, entry in artifact.files(path):
        if entry is None:
            variant, entry = artifact.identify(file)
            op, gradient = variant.op.name, variant.gradient
        else:
            op, gradient = entry.op, entry.kind == "gradient"
        builder = None if entry is None else entry.builder
        for target in artifact.targets(op, gradient, builder, names):
            yield Planned(file, target, artifact.required(target.label, needed))

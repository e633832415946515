"""Results appear in one step, whatever the moment at which a run is killed."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lossexport import stage
from lossexport.errors import LossexportError
from lossexport.exporter import run
from lossexport.files import appear_together, atomic_path, exclusive, write_bytes
from lossexport.manifest import load_manifest
from lossexport.stage import undisturbed

KILLS = Path(__file__).with_name("kills.py")
SCENARIOS = ("folder", "without-links", "in-place", "failing", "fresh", "file")


def kills(*arguments: str) -> int:
    """How many kills left the whole of one version."""
    command = [sys.executable, str(KILLS), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("scenario", ["folder", "fresh", "file"])
def test_a_run_that_is_killed_leaves_all_old_or_all_new_files(scenario: str) -> None:
    assert kills(scenario, "third") > 50


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_that_is_killed_at_any_line(scenario: str) -> None:
    assert kills(scenario, "lines") > 150


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["fresh", "file"])
def test_a_run_that_is_killed_at_any_line_of_any_module(scenario: str) -> None:
    assert kills(scenario, "everywhere") > 50


@pytest.mark.slow
def test_two_thousand_random_kills() -> None:
    assert kills("folder", "random", "2000") == 2000


def fill(out: Path, text: str, *names: str) -> None:
    with appear_together(out) as new:
        for name in names:
            (new / name).write_text(text)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_behind_a_link_and_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "real", "old", "a", "b")
    (tmp_path / "link").symlink_to("real")
    fill(tmp_path / "link", "new", "a")
    assert (tmp_path / "real" / "a").read_text() == "new"
    assert (tmp_path / "link").is_symlink()
    monkeypatch.chdir(tmp_path / "real")
    before = Path().stat().st_ino
    fill(Path(), "newest", "a")
    assert Path().stat().st_ino == before  # a shell that is in it stays in it
    assert Path("a").read_text() == "newest"
    assert listing(Path()) == ["a", "b"]
    assert listing(tmp_path) == ["link", "real"]


@pytest.mark.parametrize("why", ["mount", "parent"])
def test_a_folder_that_cannot_be_exchanged(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a \\ folder"
    fill(out, "old", "a", "b")
    before = out.stat().st_ino
    if why == "mount":
        points = {str(out)}
        monkeypatch.setattr("lossexport.stage._mounts", lambda: points)
    else:
        access = os.access
        monkeypatch.setattr(os, "access", lambda p, how: p != out.parent and access(p, how))
    with appear_together(out) as new:
        assert new.parent.parent == out
        (new / "a").write_text("new")
    assert out.stat().st_ino == before
    assert listing(out) == ["a", "b"]
    assert listing(tmp_path) == [out.name]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    with pytest.raises(UnicodeEncodeError):
        fill(out, "\udc80", "a")
    assert not listing(tmp_path)
    fill(out, "old", "a")
    (out / "b").mkdir()
    with pytest.raises(LossexportError, match=r"b/b: is a folder$"):
        fill(out, "new", "a", "b")
    assert (out / "a").read_text() == "old"
    assert listing(out.parent) == ["b"]


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_file_is_not_replaced(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    make(path)
    with pytest.raises(LossexportError, match=r"x\.json: is not a regular file$"):
        write_bytes(path, b"{}")
    assert listing(tmp_path) == ["x.json"]


def test_what_a_killed_writer_of_one_file_left_goes_with_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(out, "old", "a", "b")
    left = out / ".a.lossexport.tmp"
    left.mkdir()
    (left / "new").touch()
    fill(out, "new", "a")
    assert listing(out) == ["a", "b"]


def test_a_link_is_followed_and_a_mode_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.touch(0o600)
    (tmp_path / "link").symlink_to(path)
    write_bytes(tmp_path / "link", b"{}")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"{}", 0o600)


def test_writers_of_a_folder_wait_and_those_of_its_neighbours_do_not(tmp_path: Path) -> None:
    order: list[str] = []

    def write(name: str) -> None:
        fill(tmp_path / name, name, name)
        order.append(name)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("same", "other")]
    with appear_together(tmp_path / "same") as new:
        for thread in threads:
            thread.start()
        threads[1].join(30)
        time.sleep(0.1)
        assert order == ["other"]
        (new / "first").touch()
    threads[0].join(30)
    assert order == ["other", "same"]
    assert listing(tmp_path / "same") == ["first", "same"]
    assert listing(tmp_path) == ["other", "same"]


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def count() -> None:
        for _ in range(5):
            with appear_together(out) as new:
                number = int((out / "n").read_text()) if (out / "n").exists() else 0
                (new / "n").write_text(str(number + 1))

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (out / "n").read_text() == "30"
    assert listing(tmp_path) == ["out"]


def test_who_waits_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lossexport.stage._PATIENCE", 0)
    out = tmp_path / "out"
    out.mkdir()
    with exclusive(out):
        thread = threading.Thread(target=fill, args=(out, "new", "a"))
        thread.start()
        time.sleep(0.2)
    thread.join()
    assert capsys.readouterr().err == f"waiting: another run writes to {out}\n"


def test_two_exports_to_a_folder_both_stand_in_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = load_manifest(Path(str(resources.files("lossexport"))) / "graphs")
    assert shipped is not None
    entries = {entry.op: entry for entry in shipped.artifacts}
    monkeypatch.setattr(run, "_make", lambda job, *_: [entries[job.variant.op.name]])
    out = tmp_path / "out"
    ops = ("box_iou", "box_giou", "box_ciou")
    threads = [threading.Thread(target=run.export, args=(op, out)) for op in ops]
    with appear_together(out):
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    manifest = load_manifest(out)
    assert manifest is not None
    assert [entry.op for entry in manifest.artifacts] == sorted(ops)


@pytest.mark.parametrize(
    ("journal", "message"),
    [
        ('{"names": ["../x"], "inode": null}', "is no journal of an earlier run"),
        ("[]", "is no journal of an earlier run"),
        ("\udc80", "is no journal of an earlier run"),
    ],
)
def test_a_journal_of_a_strangers_is_refused(journal: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / ".out.lossexport.tmp"
    (folder / "new").mkdir(parents=True)
    (folder / "journal").write_text(journal, errors="surrogateescape")
    with pytest.raises(LossexportError, match=message):
        fill(tmp_path / "out", "new", "a")
    assert (folder / "new").is_dir()
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to("elsewhere")
    with pytest.raises(LossexportError, match="in the way"):
        fill(tmp_path / "out", "new", "a")


def test_signals_wait_for_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("signal"))
    try:
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)
            seen.append("step")
        assert seen == ["step", "signal"]
    finally:
        signal.signal(signal.SIGTERM, before)


class Stopped(BaseException):
    """What the handler of a signal raises, at whatever line the program has reached."""


def stopped_at(line: int, run: Callable[[], None]) -> bool:
    """Whether a signal arrived: at this line of those that `run` takes through the stage."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != stage.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGTERM)
        return trace

    def handler(*_: Any) -> None:
        raise Stopped

    before, tracing = signal.signal(signal.SIGTERM, handler), sys.gettrace()
    sys.settrace(trace)
    try:
        run()
        return False
    except Stopped:
        return True
    finally:
        sys.settrace(tracing)
        signal.signal(signal.SIGTERM, before)


@pytest.mark.uncounted
@pytest.mark.parametrize("existing", [False, True])
def test_a_signal_at_any_line_leaves_nothing_behind(existing: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def run() -> None:
        with stage.opened(out) as made:
            made.new.mkdir()
            (made.new / "new.txt").write_text("new")
            made.put_folder()

    line, stopped = 0, True
    while stopped:
        line += 1
        shutil.rmtree(out, ignore_errors=True)
        if existing:
            out.mkdir()
            (out / "old.txt").write_text("old")
        stopped = stopped_at(line, run)
        assert [path.name for path in tmp_path.iterdir() if path != out] == [], line
        if existing:
            assert (out / "old.txt").read_text() == "old"
    assert (out / "new.txt").read_text() == "new"
    assert line > 100


@pytest.mark.parametrize("sent", [signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing_behind(sent: signal.Signals, tmp_path: Path) -> None:
    # Whoever runs the tests may ignore some of them, as `nohup` and background jobs do.
    default = "default_int_handler" if sent == signal.SIGINT else "SIG_DFL"
    script = (
        f"import signal; signal.signal({int(sent)}, signal.{default})\n"
        "import time; from pathlib import Path; from lossexport import cli, files\n"
        "def run(out):\n"
        "    with files.appear_together(Path('new/out')), files.atomic_path(Path('f')) as f:\n"
        "        f.touch(); print('open', flush=True, file=__import__('sys').stderr)\n"
        "        time.sleep(60)\n"
        "cli._run = run; cli.main()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "open\n"
        process.send_signal(sent)
        process.wait(60)
    assert process.returncode in (128 + sent, -sent)
    assert not listing(tmp_path)


def test_a_run_under_nohup_goes_on(tmp_path: Path) -> None:
    script = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from lossexport import cli\n"
        "cli._run = lambda out: (os.kill(os.getpid(), signal.SIGHUP), (0, ''))[1]; cli.main()"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_file_in_the_making_is_where_it_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250)
    with atomic_path(path) as temporary:
        temporary.touch()
        assert len(listing(tmp_path)) == 1
    assert listing(tmp_path) == [path.name]

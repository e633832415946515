"""Ops from files, modules, the variable, installed packages and calls; each fault is one line."""

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

import lossexport
from lossexport import catalog, nn, ops
from lossexport.catalog import BUILTIN, CATALOG, Op, Tensor
from lossexport.errors import LossexportError

PLAIN = '''
import torch
from lossexport.catalog import Attribute, Op, Tensor


def shifted_loss(pred, target, scale=2.0):
    """Distance of boxes."""
    return (pred - target).abs().sum(-1) * scale


OPS = (
    Op(
        name="shifted_loss",
        function=shifted_loss,
        inputs=(Tensor("pred", ("N", 4), "boxes"), Tensor("target", ("N", 4), "boxes")),
        outputs=(Tensor("loss", ("N",)),),
        attributes=(Attribute("scale", 2.0),),
        gradient=("pred",),
    ),
)
'''


def plain(name: str = "shifted_loss", **fields: Any) -> Op:
    inputs = (Tensor("x", ("N",)),)
    return Op(name, lambda x: x, inputs, (Tensor("loss", ("N",)),), **fields)


@pytest.fixture(autouse=True)
def scope(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("LOSSEXPORT_OPS", raising=False)
    monkeypatch.setattr(CATALOG, "_complete", False)
    with CATALOG.scoped():
        yield


def written(path: Path, text: str = PLAIN) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_registered_op_is_like_any_other() -> None:
    op = plain()
    assert "shifted_loss" not in CATALOG
    lossexport.register(op)
    assert CATALOG["shifted_loss"] is op
    assert catalog.find("shifted_loss") is op
    assert list(CATALOG) == [*BUILTIN, "shifted_loss"]
    assert len(CATALOG) == len(BUILTIN) + 1
    assert "shifted_loss" in dir(ops)
    assert "ShiftedLoss" in dir(nn)
    x = torch.ones(3)
    assert ops.shifted_loss(x).tolist() == [1, 1, 1]
    assert nn.ShiftedLoss is nn.ShiftedLoss
    assert nn.ShiftedLoss()(x).tolist() == [1, 1, 1]
    assert CATALOG.origin("shifted_loss").startswith(f"{__file__}:")
    assert CATALOG.origin("ciou_loss") == "built in"


def test_threads_see_it() -> None:
    lossexport.register(plain())
    seen: list[Op] = []
    thread = threading.Thread(target=lambda: seen.append(catalog.find("shifted_loss")))
    thread.start()
    thread.join()
    assert seen == [CATALOG["shifted_loss"]]


def test_the_built_in_mapping_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        CATALOG["shifted_loss"] = plain()  # type: ignore[index]
    with pytest.raises(TypeError):
        BUILTIN["shifted_loss"] = plain()  # type: ignore[index]


def test_a_scope_forgets() -> None:
    with CATALOG.scoped():
        lossexport.register(plain())
    with pytest.raises(LossexportError, match=r"^unknown op 'shifted_loss'; did you mean "):
        catalog.find("shifted_loss")
    with pytest.raises(
        AttributeError, match=r"^module 'lossexport\.ops' has no attribute 'shifted_l"
    ):
        _ = ops.shifted_loss
    with pytest.raises(
        AttributeError, match=r"^module 'lossexport\.nn' has no attribute 'ShiftedLo"
    ):
        _ = nn.ShiftedLoss


def test_a_name_that_exists_is_refused_saying_by_whom(tmp_path: Path) -> None:
    with pytest.raises(LossexportError, match=rf"^{__file__}:\d+: op 'ciou_loss': there is "
                       "'ciou_loss' already, built in: choose another name$"):  # fmt: skip
        lossexport.register(plain("ciou_loss"))
    path = written(tmp_path / "mine.py")
    CATALOG.load(str(path))
    with pytest.raises(LossexportError, match=rf"there is 'shifted_loss' already, {path}: choose"):
        lossexport.register(plain())
    with pytest.raises(LossexportError, match=r"op 'a_loss': has class_name CIoULoss: there is "
                       "'ciou_loss' already, built in"):  # fmt: skip
        lossexport.register(plain("a_loss", class_name="CIoULoss"))
    lossexport.register(op := plain("b_loss"))
    lossexport.register(op)  # the very same is no other


def test_of_several_ops_all_are_registered_or_none(tmp_path: Path) -> None:
    twice = PLAIN + "OPS = (*OPS, *OPS, Op('shifted_loss', lambda x: x, *OPS[0].inputs[:0] or ("
    twice += "(Tensor('x', ('N',)),), (Tensor('y', ('N',)),))))\n"
    path = written(tmp_path / "mine.py", twice)
    with pytest.raises(LossexportError, match=rf"^{path}: op 'shifted_loss': there is 'shifted_lo"):
        CATALOG.load(str(path))
    assert "shifted_loss" not in CATALOG


@pytest.mark.parametrize("value", ["ciou_loss", None, len])
def test_only_an_op_is_registered(value: Any) -> None:
    with pytest.raises(LossexportError, match=r"^op is .*: a lossexport\.catalog\.Op is expected$"):
        lossexport.register(value)


def test_a_file_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "my ops.py")
    CATALOG.load(str(path))
    first = CATALOG["shifted_loss"]
    monkeypatch.chdir(tmp_path)
    CATALOG.load("my ops.py")
    assert CATALOG["shifted_loss"] is first
    assert sys.modules[first.function.__module__].__file__ == str(path)
    assert first.summary == "Distance of boxes."


def test_a_file_reaches_what_lies_beside_it(tmp_path: Path) -> None:
    written(tmp_path / "beside_shifted.py", "SCALE = 3.0\n")
    text = PLAIN.replace("import torch", "from beside_shifted import SCALE").replace("2.0", "SCALE")
    before = list(sys.path)
    CATALOG.load(str(written(tmp_path / "mine.py", text)))
    assert CATALOG["shifted_loss"].attributes[0].default == 3.0
    assert sys.path == before


def test_a_module_is_loaded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "my_shifts" / "__init__.py", "")
    written(tmp_path / "my_shifts" / "losses.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    CATALOG.load("my_shifts.losses")
    assert CATALOG.origin("shifted_loss") == "my_shifts.losses"
    assert CATALOG["shifted_loss"].function.__module__ == "my_shifts.losses"


def test_the_variable_is_looked_at_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = written(tmp_path / "a.py", "print('loaded')\n" + PLAIN)
    second = written(tmp_path / "b.py", PLAIN.replace("shifted", "turned"))
    monkeypatch.setenv("LOSSEXPORT_OPS", f"{first}:{second}:")
    assert "ciou_loss" in CATALOG
    loaded = [name for name in sys.modules if name.startswith("lossexport_ops_a_")]
    assert not loaded
    assert ops.turned_loss.__name__ == "turned_loss"
    assert list(CATALOG)[-2:] == ["shifted_loss", "turned_loss"]
    assert CATALOG.origin("shifted_loss") == str(first)
    first.unlink()  # once read, it is not read again
    assert "unheard_of" not in CATALOG


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSEXPORT_OPS", "nowhere.py")
    assert catalog.find("ciou_loss") is BUILTIN["ciou_loss"]
    for _ in range(2):
        with pytest.raises(
            LossexportError, match=r"^LOSSEXPORT_OPS: nowhere\.py: cannot be read: No such file"
        ):
            catalog.find("shifted_loss")


def entry(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """An installed package with an entry point."""
    point = metadata.EntryPoint("shifts", value, "lossexport.ops")
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: [point] if group == "lossexport.ops" else []
    )


@pytest.mark.parametrize("value", ["point_shifts", "point_shifts:OPS"])
def test_an_installed_package_brings_its_ops(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "point_shifts.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry(monkeypatch, value)
    assert ops.shifted_loss.__name__ == "shifted_loss"
    origin = CATALOG.origin("shifted_loss")
    assert origin == f"a package (entry point shifts = {value})"
    with pytest.raises(LossexportError, match=r"already, a package \(entry point shifts = point"):
        lossexport.register(plain())


def test_a_package_is_asked_before_a_name_is_given_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "early_shifts.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry(monkeypatch, "early_shifts")
    path = written(tmp_path / "mine.py")
    with pytest.raises(LossexportError, match=rf"^{path}: op 'shifted_loss': there is 'shifted_l"):
        CATALOG.load(str(path))


def test_a_file_may_be_named_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "mine.py")
    monkeypatch.setenv("LOSSEXPORT_OPS", str(path))
    CATALOG.load(str(path))
    assert list(CATALOG)[-1] == "shifted_loss"


def test_a_package_that_cannot_be_loaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = written(tmp_path / "broken_shifts.py", "\n1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry(monkeypatch, "broken_shifts")
    where = r"a package \(entry point shifts = broken_shifts\)"
    with pytest.raises(LossexportError, match=rf"^{where}: {broken}:2: ZeroDivisionError: divis"):
        list(CATALOG)
    assert catalog.find("ciou_loss")
    entry(monkeypatch, "unheard_of_shifts")
    with pytest.raises(LossexportError, match=r"unheard_of_shifts\): there is no module 'unheard"):
        list(CATALOG)


FILES: list[tuple[str, str]] = [
    ("x = 1\n", ": has no OPS: give it OPS = (Op(...), ...), a sequence of lossexport.catalog.Op"),
    ("OPS = 3\n", ": OPS is 3: a sequence of lossexport.catalog.Op is expected"),
    ("OPS = 'ops'\n", ": OPS is 'ops': a sequence of lossexport.catalog.Op is expected"),
    ("OPS = ()\n", ": OPS is empty: a sequence of lossexport.catalog.Op is expected"),
    ("OPS = ('a',)\n", ": OPS[0] is 'a': an Op is expected"),
    (PLAIN + "OPS = OPS[0]\n", ": OPS is <op shifted_loss>: a sequence of lossexport.catalog.Op is"
                               " expected: put it into ( ,)"),
    ("x = 1\nx = (\n", ":2: SyntaxError: '(' was never closed"),
    ("x = '\0'\n", ": "),
    ("\n\nimport nothing_of_that_name\n", ":3: ModuleNotFoundError: No module named 'nothing_of_"),
    ("def f():\n    raise ValueError('a\\nb')\nf()\n", ":2: ValueError: a b"),
    ("import sys\nsys.exit(3)\n", ":2: SystemExit: 3"),
    ("def f():\n    f()\nf()\n", ":2: RecursionError: maximum recursion depth exceeded"),
    (PLAIN.replace('"boxes"', '"boxs"', 1), ":12: op 'shifted_loss': inputs[0] 'pred': domain is "
                                            "'boxs': one of boxes, rotated, labels"),
    (PLAIN.replace("shifted_loss,\n", "None,\n"), ":12: op 'shifted_loss': function is None: a"),
    (PLAIN.replace('name="shifted_loss",', ""), ":12: TypeError: Op.__init__() missing 1 required "
                                                "positional argument: 'name'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), FILES)
def test_a_wrong_file_is_one_line_with_its_own_line(
    text: str, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "mine.py", text)
    modules = set(sys.modules)
    with pytest.raises(LossexportError) as caught:
        CATALOG.load(str(path))
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)
    loads = ": OPS" in message or ": has no OPS" in message
    left = [name for name in set(sys.modules) - modules if name.startswith("lossexport_ops_")]
    assert len(left) == loads


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("nowhere.py", r"^nowhere\.py: cannot be read: No such file"),
        ("ops/", r"^ops/: suffix '', expected \.py$"),
        ("./ops.txt", r"^\./ops\.txt: suffix '\.txt', expected \.py$"),
        ("..", r"^'\.\.': neither FILE\.py nor the name of a module$"),
        ("my-ops", r"^'my-ops': neither FILE\.py nor the name of a module$"),
        ("no_module_of_it", r"^no_module_of_it: there is no module 'no_module_of_it'$"),
        ("here", r"^here: there is no module 'here'; did you mean here\.py\?$"),
        ("json", r"^json: has no OPS: give it OPS = "),
        ("json.nothing", r"^json\.nothing: ModuleNotFoundError: No module named 'json\.nothing'"),
    ],
)
def test_a_source_that_is_none(
    where: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "here.py")
    with pytest.raises(LossexportError, match=message):
        CATALOG.load(where)


def test_importing_the_package_imports_neither_torch_nor_ops(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.py", "raise SystemExit(7)\n")
    script = textwrap.dedent("""
        import sys
        import lossexport, lossexport.catalog, lossexport.runtime
        assert "torch" not in sys.modules
        import lossexport.ops, lossexport.ops.binding, lossexport.ops.native, lossexport.nn
        assert "ciou_loss" in lossexport.catalog.CATALOG
        assert lossexport.ops.ciou_loss and lossexport.nn.CIoULoss
        assert not hasattr(lossexport.ops, "__wrapped__")
    """)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "", "PYTHONPATH": str(Path(lossexport.__file__).parents[1]),
             "LOSSEXPORT_OPS": str(path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")

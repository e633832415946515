"""Every message comes out, whatever the value that it shows: one line, exit code 2, no traceback.

`LOSSEXPORT_FUZZ=20 pytest tests/cli/test_messages.py` draws 20 times as many values.
"""

import io
import json
import os
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from lossexport.catalog import find
from lossexport.catalog.variant import Range, Variant
from lossexport.cli import main
from lossexport.detectors.detector import describe
from lossexport.errors import LossexportError, error_line, printable
from lossexport.exporter import recipe
from lossexport.files import shipped, shipped_files
from lossexport.manifest import load_manifest
from lossexport.runtime.identity import identify
from lossexport.wiring import recipe as chains
from lossexport.wiring.chain import check
from lossexport.wiring.graph import WiringError
from tests.wiring.test_expression import evaluate
from tests.wiring.toy import toy

MORE = int(os.environ.get("LOSSEXPORT_FUZZ", "1"))
HUGE = ("9" * 400, "-" + "9" * 400, "9" * 5000, "1e999", "-1e999", "0x" + "f" * 4000, "nan", "inf")
ODD = (
    *HUGE,
    *("\x1b[2J", "a\rb", "a\nb", "\u202eabc", "\u2028", "[/red]", "[bold]", "{0}", "%s", "\\"),
    *("[" * 2000, '{"a":' * 2000, '"\\ud800"', '{"a": 1}', "[1, null]", "1e400", "[1e999, NaN]"),
    *("a" * 100_000, "a/" * 3000, "..", "é" * 300, "\udcff", "a\udc80b", "", " ", "=", "a=", "=a"),
)
texts = st.sampled_from(ODD) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    | st.sampled_from("\udc80\udcff\x1b\x07\u202e"),
    max_size=40,
)


def fuzz(examples: int) -> settings:
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=examples * MORE, deadline=None, suppress_health_check=checks)


def call(*arguments: str) -> tuple[int, str]:
    """Exit code and what goes to stderr, of a terminal that knows no more than ASCII."""
    error = io.TextIOWrapper(io.BytesIO(), "ascii", "backslashreplace", write_through=True)
    code = 0
    with (
        mock.patch.object(sys, "argv", ["lossexport", *arguments]),
        redirect_stdout(io.TextIOWrapper(io.BytesIO(), "ascii")),
        redirect_stderr(error),
    ):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, error.buffer.getvalue().decode()


def is_one_line(text: str) -> bool:
    line = text.removesuffix("\n")
    return text.startswith("error: ") and line.isprintable() and line.isascii() and len(text) < 3000


# X is the hostile value; OUT, DETECTOR, ONE are paths.
OPTIONS = [
    "X",
    "list X",
    "list --ops X",
    "export giou_loss --out OUT --ops X",
    "doctor X",
    "bench --sizes X",
    "export X --out OUT",
    "export box_iou X --out OUT",
    "export X --all --out OUT",
    "export giou_loss --out OUT --set reduction=X",
    "export giou_loss --out OUT --set X=1",
    "export giou_loss --out OUT --set X",
    "export giou_loss --out OUT --shape N=X",
    "export giou_loss --out OUT --shape X=1",
    "export giou_loss --out OUT --shape X",
    "export giou_loss --out OUT --precision X",
    "export giou_loss --out OUT --format X",
    "export giou_loss --out OUT --backend X",
    "export --out OUT --recipe X",
    "export giou_loss --out ONE/X --set eps=no",
    "verify X",
    "verify OUT/X.onnx",
    "verify BOX_IOU --backend X",
    "verify BOX_IOU --replay X",
    "score --pred X --ref ONE",
    "score --pred ONE --ref X",
    "score --pred ONE --ref ONE --iou-threshold X",
    "score --pred ONE --ref ONE --fail-below AP=X",
    "score --pred ONE --ref ONE --fail-above X=1",
    "score --pred ONE --ref ONE --fail-below X",
    "score --pred ONE --ref ONE --format X",
    "score --pred ONE --ref ONE --images X",
    "score --pred ONE --ref ONE --out ONE/X",
    "compare X ONE",
    "compare ONE X",
    "compare ONE ONE --score-threshold X",
    "compare ONE ONE --names X",
    "compare DETECTOR DETECTOR --images OUT --detector X",
    "attach X --op box_iou --map pred=output target=output --out OUT/o.onnx",
    "attach DETECTOR --recipe X --out OUT/o.onnx",
    "attach DETECTOR --output X=nope[0,X] --out OUT/o.onnx",
    "attach DETECTOR --op box_iou --map pred=output --input target=X --out OUT/o.onnx",
    "attach DETECTOR --op X --map pred=output target=output --out OUT/o.onnx",
    "attach DETECTOR --op box_iou --map pred=output target=X --out OUT/o.onnx",
    "attach DETECTOR --op box_iou --map pred=output X=output --out OUT/o.onnx",
    "attach DETECTOR --op box_iou --map X --out OUT/o.onnx",
    "attach DETECTOR --op box_iou --map pred=output target=ONE --out OUT/o.onnx --image-size X",
    "attach DETECTOR --op box_iou --map pred=output target=ONE --out OUT/o.onnx --box-format X",
    "attach DETECTOR --op box_iou --map pred=output target=ONE --out OUT/o.onnx --prefix X",
    "attach DETECTOR --op box_iou --map pred=output target=ONE --out OUT/o.onnx --set eps=X",
    "attach DETECTOR --op box_iou --map pred=output target=ONE --out ONE/X",
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("messages")
    one = folder / "one"
    one.write_text("1")
    return {
        "OUT": str(folder / "out"),
        "ONE": str(one),
        "DETECTOR": str(toy(folder)),
        "BOX_IOU": str(shipped("graphs") / "box_iou.onnx"),
    }


@pytest.mark.parametrize("line", OPTIONS)
@fuzz(12)
@given(value=texts)
@example(value="9" * 400)
@example(value="9" * 5000)
@example(value="a" * 100_000)
@example(value="\udcff")
def test_an_option_of_any_value(line: str, value: str, places: dict[str, str]) -> None:
    # What is valid: options, and sizes.
    assume(not value.startswith("-") and (value.isdigit() <= (len(value) > 20)))
    arguments = []
    for word in line.split():
        for name, path in places.items():
            word = word.replace(name, path)
        arguments.append(word.replace("X", value))
    code, error = call(*arguments)
    assert code == 2, (code, error)
    assert is_one_line(error), error
    assert not Path(places["OUT"]).exists()


toml = st.sampled_from(
    [
        *HUGE,
        *("'a'", '"\\u0000\\u001b"', '"\\ud800"', "1979-05-27T07:32:00Z", "00:00:00", "true", ""),
        *("[" * 500, "[]", "{}", "{a = 1}", "[[1], ['a']]", "0b1", "-0x1", "'''a\nb'''", "1.5"),
        *(f"'{'a' * 5000}'", f"[{'1, ' * 3000}]", "[0x" + "f" * 5000 + "]", "\udcff", "'\0'"),
    ]
) | st.text(max_size=20)


def refused(work: Any) -> None:
    """Either it works, or the one line says why not."""
    message = "fine"
    try:
        work()
    except (LossexportError, WiringError) as error:
        message = str(error)
    assert message
    assert printable(error_line(message)).removesuffix("\n").isprintable()


FIELDS = ("ops", "attributes.eps", "attributes.reduction", "shapes.N", "formats", "precisions")


@fuzz(80)
@given(field=st.sampled_from([*FIELDS, "gradient", "name"]), value=toml)
@example(field="shapes.N", value="0x" + "f" * 5000)
@example(field="attributes.eps", value="0x" + "f" * 5000)
@example(field="attributes.reduction", value="[0x" + "f" * 5000 + "]")
def test_a_recipe_of_any_value(field: str, value: str, tmp_path: Path) -> None:
    entries = {"ops": "['giou_loss']"} | ({} if field == "name" else {field: value})
    lines = [f"{name} = {text}" for name, text in entries.items()]
    name = value if field == "name" else "'x'"
    path = tmp_path / "recipe.toml"
    text = "\n".join([f"name = {name}", "[[group]]", *lines])
    path.write_text(text, "utf-8", "surrogateescape")

    def work() -> None:
        for op, own in recipe.load(path).settings():
            ranges = {name: Range.parse(name, size) for name, size in own.shapes.items()}
            Variant.make(find(op), own.attributes, ranges=ranges)

    refused(work)


CHAIN = ("op", "inputs", "attributes.iou_threshold", "box_format", "image_size", "gradient")


@fuzz(80)
@given(field=st.sampled_from([*CHAIN, "prefix", "more"]), value=toml)
def test_a_recipe_of_attach_of_any_value(field: str, value: str, tmp_path: Path) -> None:
    step = {"op": "'nms'", "inputs": "{ boxes = 'a', scores = 'b' }"} | {field: value}
    lines = [f"{name} = {text}" for name, text in step.items()]
    path = tmp_path / "recipe.toml"
    for text in (
        "\n".join(["[[steps]]", *lines]),
        f"inputs = {{ new = {value} }}\noutputs = {{ new = {value} }}\ntensors = {value}",
    ):
        path.write_text(text, "utf-8", "surrogateescape")
        refused(lambda: check(chains.load(path)))


@fuzz(80)
@given(data=st.data(), name=st.sampled_from(sorted(shipped_files("models/detectors"))), value=toml)
def test_a_description_of_any_value(
    data: st.DataObject, name: str, value: str, tmp_path: Path
) -> None:
    lines = shipped_files("models/detectors")[name].read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if " = " in line]
    number = data.draw(st.sampled_from(keys))
    lines[number] = f"{lines[number].split(' = ')[0]} = {value}"
    path = tmp_path / "detector.toml"
    path.write_text("\n".join(lines), "utf-8", "surrogateescape")
    refused(lambda: describe(path))


json_values = st.sampled_from(
    [
        *("9" * 400, "9" * 5000, "1e999", "NaN", "-1", "null", "true", '"a\\u0000"', '"\\ud800"'),
        *(
            "[" * 2000,
            "{}",
            "[]",
            '["a"]',
            '"' + "a" * 5000 + '"',
            "18446744073709551616",
            '"\x1b"',
        ),
        *('"../x"', '"\udcff"', "", "{", '{"a": 1, "a": 2}', "1.5", "-9223372036854775809"),
    ]
) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=4,
).map(json.dumps)


@fuzz(100)
@given(data=st.data(), value=json_values)
def test_a_manifest_of_any_value(data: st.DataObject, value: str, tmp_path: Path) -> None:
    manifest = json.loads((shipped("graphs") / "manifest.json").read_text())
    manifest["artifacts"] = manifest["artifacts"][:2]
    where: Any = manifest
    while True:
        keys = list(where) if isinstance(where, dict) else range(len(where))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(where[key], dict | list) or not where[key] or data.draw(st.booleans()):
            break
        where = where[key]
    where[key] = "HOLE"
    text = json.dumps(manifest).replace('"HOLE"', value)
    (tmp_path / "manifest.json").write_text(text, "utf-8", "surrogateescape")
    refused(lambda: load_manifest(tmp_path))


@fuzz(80)
@given(key=st.sampled_from(["op", "kind", "precision", "attributes"]), value=json_values | texts)
@example(key="attributes", value='{"eps": ' + "9" * 5000 + "}")
@example(key="attributes", value='{"eps": ' + "9" * 4000 + "}")
def test_metadata_of_any_value(key: str, value: str) -> None:
    metadata = {"op": "giou_loss", "kind": "value", "precision": "fp32", "attributes": "{}"}
    stored = {f"lossexport.{name}": text for name, text in (metadata | {key: value}).items()}
    model: Any = SimpleNamespace(metadata=stored, sizes={})
    refused(lambda: identify(model, "x.onnx"))


parts = st.sampled_from(
    [
        *HUGE,
        *("out", "rows", "'input.1'", "half", "f'{1}'", "f\"{'\\n'}\"", "f'{out!r}'", "b'a'", "1j"),
        *("'\\d'", "'@\\0'", "'@/dev/null'", "'@.'", "...", "None", "()", "out.a", "lambda: 1"),
        *(
            "(yield)",
            "*out",
            "out[::0]",
            "x:=1",
            "'\\ud800'",
            "not out",
            "-'a'",
            "~1",
            "1_0",
            "1if",
        ),
        *("9" * 18, "-" + "9" * 18, "4611686018427387903", "1e38", "1e39", "-1e400", "await x"),
    ]
)
expressions = st.recursive(
    parts | texts,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/@%"), inner).map(" ".join),
        st.tuples(inner, inner).map(lambda p: f"{p[0]}[{p[1]}]"),
        st.tuples(
            st.sampled_from(("max", "argmax", "t", "reshape", "per_class", "take", "nope"))
        ).flatmap(lambda f: st.lists(inner, max_size=3).map(lambda a: f"{f[0]}({', '.join(a)})")),
    ),
    max_leaves=5,
)


@fuzz(150)
@given(text=expressions)
@example(text="9" * 400)
@example(text="0x" + "f" * 900)
@example(text="f\"{'\\n'}\"")
def test_an_expression_of_any_kind(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(lambda: evaluate(text))

"""manifest.json: strict in, stable out."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lossexport.errors import LossexportError
from lossexport.manifest import (
    MAX_MANIFEST_BYTES,
    Artifact,
    BackendParity,
    RangeRecord,
    TensorRecord,
    ToleranceRecord,
    WorstRecord,
    find,
    load_manifest,
    merge,
    save_manifest,
)

BOXES = TensorRecord(name="pred", dtype="float32", shape=["N", 4], domain="xyxy boxes")
PARITY = BackendParity(
    backend="ort-cpu",
    backend_version="1.32.0",
    status="passed",
    cases=12,
    outputs={"score": {"max_abs": 3e-7, "max_ulp": 5, "max_rel": float("inf")}},
    worst=WorstRecord(seed=3, case="touching", output="score", index=[7]),
)


def artifact(file: str = "box_ciou.onnx", **changes: Any) -> Artifact:
    fields: dict[str, Any] = {
        "file": file,
        "sha256": "a" * 64,
        "size_bytes": 10,
        "op": "box_ciou",
        "kind": "value",
        "precision": "fp32",
        "attributes": {"eps": 1e-7, "weights": [1, 1.5], "reduction": "none"},
        "inputs": [BOXES],
        "outputs": [],
        "tolerance": {"score": ToleranceRecord(ulp=8, abs=1e-6, why="measured")},
        "opset": 20,
        "profile": {"N": RangeRecord(min=1, opt=256, max=65536)},
    }
    return Artifact(**fields | changes)


def refusal(folder: Path, text: str | bytes) -> str:
    path = folder / "manifest.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LossexportError) as caught:
        load_manifest(folder)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def written(folder: Path, **changes: Any) -> Any:
    """The JSON of a manifest with one artifact, of which fields are then changed."""
    save_manifest(folder, merge(None, [artifact()], {"lossexport": "0.1.0"}))
    document = json.loads((folder / "manifest.json").read_text())
    document["artifacts"][0] |= changes
    return document


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    manifest = merge(None, [artifact(parity=[PARITY])], {"lossexport": "0.1.0", "torch": "2.13.0"})
    save_manifest(tmp_path, manifest)
    found = load_manifest(tmp_path)
    assert found is not None
    outputs = {"score": {"max_abs": 3e-7, "max_ulp": 5, "max_rel": None}}  # JSON has no infinity
    parity = msgspec.structs.replace(PARITY, outputs=outputs)
    assert found.artifacts == [artifact(parity=[parity])]
    assert found.generator == manifest.generator
    assert found.schema_version == 1


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert load_manifest(tmp_path) is None


def test_equal_manifests_are_equal_bytes(tmp_path: Path) -> None:
    one, other = artifact("a.onnx"), artifact("b.onnx", attributes={"b": 1, "a": 2})
    path = tmp_path / "manifest.json"
    save_manifest(tmp_path, merge(None, [one, other], {"torch": "2", "lossexport": "1"}))
    first = path.read_bytes()
    swapped = artifact("b.onnx", attributes={"a": 2, "b": 1})
    save_manifest(tmp_path, merge(None, [swapped, one], {"lossexport": "1", "torch": "2"}))
    assert path.read_bytes() == first
    assert first.endswith(b"}\n")
    assert list(json.loads(first)) == ["artifacts", "generator", "schema_version"]


def test_merge_replaces_by_file_and_keeps_the_rest() -> None:
    old = merge(None, [artifact("b.onnx"), artifact("a.onnx")], {"torch": "2.12", "onnx": "1"})
    new = merge(old, [artifact("b.onnx", size_bytes=99)], {"torch": "2.13"})
    assert [(a.file, a.size_bytes) for a in new.artifacts] == [("a.onnx", 10), ("b.onnx", 99)]
    assert new.generator == {"torch": "2.13", "onnx": "1"}
    assert find(new, "b.onnx") is new.artifacts[1]
    assert find(new, "c.onnx") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"size_bytes": "x"},
            'Expected `int`, got `str` - at `$.artifacts[0].size_bytes`, which is "x"',
        ),
        ({"size_bytes": -1}, "Expected `int` >= 0 - at `$.artifacts[0].size_bytes`, which is -1"),
        (
            {"kind": "loss"},
            "Invalid enum value 'loss' - at `$.artifacts[0].kind`, which is \"loss\"",
        ),
        ({"extra": 1}, "Object contains unknown field `extra` - at `$.artifacts[0]`"),
        ({"file": "../a.onnx"}, "$.artifacts[0].file: '../a.onnx' is not a bare file name"),
        ({"file": "/a.onnx"}, "$.artifacts[0].file: '/a.onnx' is not a bare file name"),
        ({"file": "a\\b.onnx"}, r"$.artifacts[0].file: 'a\\b.onnx' is not a bare file name"),
        ({"file": "C:a.onnx"}, "$.artifacts[0].file: 'C:a.onnx' is not a bare file name"),
        ({"file": ".."}, "$.artifacts[0].file: '..' is not a bare file name"),
        (
            {"builder": "../x"},
            "Invalid enum value '../x' - at `$.artifacts[0].builder`, which is \"../x\"",
        ),
        (
            {"file": "a.engine"},
            "$.artifacts[0].file: 'a.engine' and builder None do not go together",
        ),
        (
            {"profile": {"N": {"min": 10, "opt": 5, "max": 1}}},
            "Range 10:5:1 is out of order - at `$.artifacts[0].profile[...]`",
        ),
        ({"file": "a\nb"}, r"$.artifacts[0].file: 'a\nb' is not a bare file name"),
    ],
)
def test_wrong_fields_are_named_with_their_value(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    assert refusal(tmp_path, json.dumps(written(tmp_path, **changes))) == message


def test_bad_hashes_nested_attributes_and_missing_fields(tmp_path: Path) -> None:
    text = json.dumps(written(tmp_path, sha256="A" * 80))
    assert refusal(tmp_path, text).endswith(f'.sha256`, which is "{"A" * 56}...')
    text = json.dumps(written(tmp_path, attributes={"a": [[1]]}))
    assert "at `$.artifacts[0].attributes[...][0]`" in refusal(tmp_path, text)
    document = written(tmp_path)
    del document["artifacts"][0]["op"]
    assert "missing required field `op`" in refusal(tmp_path, json.dumps(document))


def test_a_key_that_stands_there_twice(tmp_path: Path) -> None:
    text = '{"artifacts": [{"file": 5}], "artifacts": []}'
    message = "Expected `str`, got `int` - at `$.artifacts[0].file`"
    assert refusal(tmp_path, text) == message


def test_a_size_beyond_what_a_tensor_holds(tmp_path: Path) -> None:
    document = written(tmp_path)
    document["artifacts"][0]["inputs"][0]["shape"] = [2**62, 4]
    assert "$.artifacts[0].inputs[0].shape[0]" in refusal(tmp_path, json.dumps(document))


def test_another_schema_and_twice_the_same_file(tmp_path: Path) -> None:
    document = written(tmp_path)
    document["artifacts"] *= 2
    assert refusal(tmp_path, json.dumps(document)) == (
        "$.artifacts[1].file: 'box_ciou.onnx' is listed twice"
    )
    document["schema_version"] = 2
    assert refusal(tmp_path, json.dumps(document)).endswith("`$.schema_version`, which is 2")


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe", b'{"generator": "\xff"}', b"[" * 100_000, b'{"a":' * 100_000],
)
def test_what_is_not_json(tmp_path: Path, text: bytes) -> None:
    assert refusal(tmp_path, text)


def test_nesting_behind_a_wrong_field(tmp_path: Path) -> None:
    text = '{"schema_version": 1, "generator": {}, "artifacts": "x", "z": ' + "[" * 100_000
    assert refusal(tmp_path, text).startswith("Expected `array`, got `str`")


def test_a_manifest_has_a_size_limit(tmp_path: Path) -> None:
    message = refusal(tmp_path, b" " * (MAX_MANIFEST_BYTES + 1))
    assert message.endswith(f"more than the limit of {MAX_MANIFEST_BYTES}")


def test_what_would_not_load_is_not_saved(tmp_path: Path) -> None:
    save_manifest(tmp_path, merge(None, [artifact()], {}))
    before = (tmp_path / "manifest.json").read_bytes()
    for bad in (
        artifact("../a"),
        artifact(tolerance={"score": ToleranceRecord(ulp=float("nan"), abs=0, why="")}),
        artifact(precision="fp8"),
    ):
        with pytest.raises(LossexportError):
            save_manifest(tmp_path, merge(None, [bad], {}))
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]

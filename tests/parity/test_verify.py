"""`verify` passes what is right, fails what is wrong, and never passes what did not run."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import lossexport
from lossexport.catalog import CATALOG
from lossexport.catalog.variant import Range, Variant
from lossexport.errors import LossexportError
from lossexport.exporter.onnx_file import onnx_bytes
from lossexport.files import sha256
from lossexport.manifest import find, load_manifest
from lossexport.parity.cases import Case, cases
from lossexport.parity.oracle import oracle
from lossexport.parity.report import data, html_page, rows, verdict
from lossexport.runtime import available, native
from lossexport.runtime.native import kernels
from tests.conftest import slow

# One worker exports what most of these look at.
pytestmark = pytest.mark.xdist_group("verify")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("verify")
    lossexport.export("diou_loss", out, formats=["onnx", "engine"], gradient=True)
    return out


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def test_right_artifacts_pass_and_the_manifest_says_so(folder: Path) -> None:
    report = lossexport.verify(folder, store=True)
    assert report.passed
    by_file = {file.path.name: {r.backend: r for r in file.results} for file in report.files}
    onnx_result = by_file["diou_loss.grad.onnx"]["ort-cpu"]
    assert onnx_result.status == "passed"
    assert onnx_result.cases >= 40
    assert set(onnx_result.outputs) == {"loss", "grad_pred"}
    assert 0 < (onnx_result.outputs["loss"]["max_abs"] or 0) < 3e-6
    assert by_file["diou_loss.engine"]["rtx"].status in ("passed", "not run here")
    manifest = load_manifest(folder)
    assert manifest is not None
    entry = find(manifest, "diou_loss.grad.onnx")
    assert entry is not None
    assert entry.parity is not None
    assert entry.parity[0].status == "passed"


@pytest.mark.parametrize(
    ("old", "new", "only"),
    [("Min", "Max", 0), ("Sub", "Add", 3), ("Div", "Mul", 0), ("Max", "Min", 1)],
)
def test_every_mutation_of_the_graph_fails(folder: Path, old: str, new: str, only: int) -> None:
    path = folder / "diou_loss.onnx"
    model = onnx.load(path)
    [n for n in model.functions[0].node if n.op_type == old][only].op_type = new
    mutant = folder / "mutant.onnx"
    onnx.save(model, mutant)
    report = lossexport.verify(mutant)
    assert not report.passed
    result = report.files[0].results[0]
    assert result.status == "failed"
    assert result.worst is not None
    assert f"--replay '{result.worst.case}'" in verdict(report)


def test_a_constant_off_by_one_in_a_hundred_thousand_fails(folder: Path) -> None:
    model = onnx.load(folder / "diou_loss.onnx")
    changed = 0
    for node in model.functions[0].node:
        if node.op_type == "Constant":
            value = onnx.numpy_helper.to_array(node.attribute[0].t)
            if value.dtype == np.float32 and value.ndim == 0 and value == np.float32(0.25):
                scaled = np.array(0.25 * (1 + 1e-4), np.float32)
                node.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(scaled))
                changed += 1
    assert changed == 1
    mutant = folder / "mutant.onnx"
    onnx.save(model, mutant)
    report = lossexport.verify(mutant, backends=["ort-cpu"])
    assert not report.passed
    result = report.files[0].results[0]
    worst, errors = result.worst, result.outputs["loss"]
    assert worst is not None
    assert 1 < (errors["tolerance_used"] or 0) < 1e6
    assert verdict(report) == (
        f"0 passed, 1 failed, 0 not run here\nFAILED {mutant} on ort-cpu: loss beyond tolerance\n"
        f"  loss{worst.index} is {errors['worst_actual']}, expected {errors['worst_expected']}, "
        f"off by {errors['tolerance_used']:.3g} times its tolerance ({errors['breaches']} of "
        f"{errors['elements']} elements are beyond); "
        f"lossexport verify {mutant} --replay '{worst.case}'"
    )


def test_a_file_whose_names_are_not_the_contracts_fails(folder: Path) -> None:
    model = onnx.load(folder / "diou_loss.onnx")
    model.graph.output[0].name = model.graph.node[0].output[0] = "cost"
    onnx.save(model, folder / "mutant.onnx")
    report = lossexport.verify(folder / "mutant.onnx")
    assert not report.passed
    assert "outputs are" in str(report.files[0].results[0].reason)


def test_replay_runs_one_case(folder: Path) -> None:
    path = folder / "diou_loss.onnx"
    before = (folder / "manifest.json").read_bytes()
    report = lossexport.verify(path, replay="adversarial:N=33:1")
    assert report.files[0].results[0].cases == 1
    assert (folder / "manifest.json").read_bytes() == before


@pytest.mark.skipif(available()["rtx"].runs, reason="engines run here")
def test_what_nothing_ran_on_has_neither_passed_nor_failed(folder: Path) -> None:
    report = lossexport.verify(folder / "diou_loss.engine")
    assert (report.passed, report.failed) == (False, False)
    assert data(report)["passed"] is False
    assert verdict(report) == "0 passed, 0 failed, 1 not run here"


def test_a_manifest_with_another_tolerance_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["artifacts"][-1]["tolerance"]["loss"]["ulp"] = 1e9
    path.write_text(json.dumps(manifest))
    with pytest.raises(LossexportError, match=r"tolerance of loss is .*ulp=1000000000.0.*again$"):
        lossexport.verify(folder)


def test_a_folder_that_is_read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "manifest.json").read_bytes()
    path = folder / "diou_loss.onnx"
    report = lossexport.verify(path)
    assert (report.passed, report.notes) == (True, ())
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    report = lossexport.verify(path, store=True)
    assert report.passed
    message = f"{folder}: folder cannot be written: the results are not stored in the manifest"
    assert report.notes == (message,)
    assert (folder / "manifest.json").read_bytes() == before


def test_chosen_backends_alone_run_and_the_others_stay_in_the_manifest(folder: Path) -> None:
    lossexport.verify(folder, store=True)
    report = lossexport.verify(folder, backends=["native", "ort"], store=True)
    labels = {f.path.name: [r.backend for r in f.results] for f in report.files}
    ran = ["ort-cpu", "ort-cuda", "ort-rtx", "native"]
    assert labels == {"diou_loss.grad.onnx": ran, "diou_loss.onnx": ran}
    result = report.files[0].results[3]
    assert result.status == ("passed" if kernels() else "not run here")
    assert kernels() or result.reason == available()["native"].reason
    manifest = load_manifest(folder)
    assert manifest is not None
    stored = {entry.file: [r.backend for r in entry.parity or ()] for entry in manifest.artifacts}
    kept = {file: ["ort-kernels", *ran] for file in labels}
    assert stored == kept | {"diou_loss.engine": ["rtx"], "diou_loss.grad.engine": ["rtx"]}
    (one,) = lossexport.verify(folder / "diou_loss.onnx", backends=["ort-cpu"]).files
    assert [(r.backend, r.status) for r in one.results] == [("ort-cpu", "passed")]
    with pytest.raises(LossexportError, match=r"diou_loss\.engine: no file that is for ort$"):
        lossexport.verify(folder / "diou_loss.engine", backends=["ort"])
    with pytest.raises(LossexportError, match="backend 'cpu': not one of native, ort-kernels, ort"):
        lossexport.verify(folder, backends=["cpu"])


@pytest.mark.skipif(not kernels(), reason="no library of native kernels")
@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("box_ciou", {}),
        ("pairwise_giou", {"precision": "fp16"}),
        ("cluster_nms", {"attributes": {"metric": "diou", "beta": 0.6, "max_output": 7}}),
        slow("variance_voting", {"attributes": {"method": "hard", "offset": 1.0}}),
        slow("soft_nms", {"precision": "bf16"}),
        ("ap_loss", {"gradient": True, "attributes": {"delta": 0.5}}),
        slow("ghm_c_loss", {"gradient": True, "attributes": {"momentum": 0.75, "bins": 30}}),
    ],
)
def test_native_kernels_hold_to_the_tolerance(name: str, choices: Any, tmp_path: Path) -> None:
    variant = Variant.make(CATALOG[name], **choices)
    path = tmp_path / f"{variant.stem}.onnx"
    path.write_bytes(onnx_bytes(variant))
    report = lossexport.verify(path, backends=["native"])
    assert report.passed, verdict(report)
    (result,) = report.files[0].results
    assert (result.backend, result.status) == ("native", "passed")
    assert result.cases >= 40
    assert set(result.outputs) == {output.name for output in variant.outputs}


@pytest.mark.skipif(not kernels(), reason="no library of native kernels")
def test_a_wrong_kernel_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pairwise_iou.onnx"
    path.write_bytes(onnx_bytes(Variant.make(CATALOG["pairwise_iou"])))
    run = native.run
    monkeypatch.setattr(native, "run", lambda _, *rest: run("pairwise_giou", *rest))
    report = lossexport.verify(path)
    assert {r.backend: r.status for f in report.files for r in f.results} == {
        "ort-cpu": "passed",
        "ort-cuda": "not run here",
        "ort-rtx": "not run here",
        "native": "failed",
        "ort-kernels": "passed",
    }
    assert f"FAILED {path} on native: score beyond tolerance" in verdict(report)


def test_report_forms(folder: Path) -> None:
    report = lossexport.verify(folder)
    plain = json.loads(json.dumps(data(report)))
    assert plain["passed"] is True
    statuses = {a["path"].rsplit("/", 1)[1]: a["backends"][0]["status"] for a in plain["artifacts"]}
    assert statuses["diou_loss.onnx"] == "passed"
    assert statuses["diou_loss.engine"] in ("passed", "built, not run here")
    page = html_page(report)
    assert "diou_loss.grad.onnx" in page
    assert "src=" not in page
    assert not re.search(r'href="[^#]', page)
    assert page.count(">ort-cuda</th>") <= 1  # two files that did not run, one line
    table = rows(report)
    assert len(table) >= 5
    gradient = next(
        r for r in table if r[:2] == ("diou_loss.grad.onnx", "ort-cpu") and "grad" in r[3]
    )
    assert gradient[8] == "> 2^23"  # of an expected 0
    assert "which is 0, subnormal" in page


BAD_FILES = [
    ("missing.onnx", None, "missing.onnx: cannot be read"),
    ("broken.onnx", b"\x08\x0a\xff\xff", "broken.onnx"),
    ("model.txt", b"", "expected .onnx or .engine"),
    ("stray.engine", b"vtrt", "no manifest.json beside it lists it"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_files_that_cannot_be_used(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LossexportError, match=message):
        lossexport.verify(tmp_path / name)


def test_a_tampered_artifact_is_refused(folder: Path) -> None:
    path = folder / "diou_loss.onnx"
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(LossexportError, match="sha256"):
        lossexport.verify(path)
    engine = folder / "diou_loss.engine"
    engine.write_bytes(engine.read_bytes()[:-1])
    with pytest.raises(LossexportError, match=f"sha256 {sha256(engine.read_bytes())}"):
        lossexport.verify(engine)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"op": "nope"}, "manifest.json: unknown op 'nope'"),
        ({"attributes": {"eps": "x"}}, "manifest.json: diou_loss: eps='x': must be a number"),
        ({"profile": {}}, r"manifest.json: profile of \[\], not of \['N'\]"),
        (
            {"profile": {"K": {"min": 1, "opt": 1, "max": 2}}},
            "manifest.json: diou_loss: unknown dimension 'K'",
        ),
        ({"precision": "fp16"}, "manifest.json: inputs are .* the catalogue's are"),
        ({"builder_version": "0.0.0.0"}, "built by rtx .*, manifest.json says 0.0.0.0"),
    ],
)
def test_an_engine_that_its_manifest_denies(folder: Path, changes: Any, message: str) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    (entry,) = (e for e in document["artifacts"] if e["file"] == "diou_loss.engine")
    entry.update(changes)
    (folder / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(LossexportError, match=rf"^{folder}/diou_loss\.engine: {message}"):
        lossexport.verify(folder)


def test_a_foreign_model_is_refused(tmp_path: Path) -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["N"])],
        [onnx.helper.make_tensor_value_info("y", 1, ["N"])],
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "foreign.onnx")
    with pytest.raises(LossexportError, match=r"metadata has no .lossexport\.op"):
        lossexport.verify(tmp_path / "foreign.onnx")


MUCH_WORK = ("pairwise_rotated_iou", "yolo_detection_loss", "retinanet_loss", "fcos_loss")


@pytest.mark.parametrize("name", CATALOG)
def test_cases_cover_sizes_and_give_finite_oracles(name: str) -> None:
    op = CATALOG[name]
    variant = Variant.make(op, gradient=bool(op.gradient))
    # Boxes, scores and 300 detections of 64 images are more than the tensors of other ops.
    elements = 2**17 if "B" in op.dims else 2**14
    chosen = list(cases(variant, seeds=1, elements=elements))
    # The work of an assignment, or of clipping all pairs, leaves no room for 33 of everything.
    wanted = {1, 3} if name in MUCH_WORK else {1, 3, 33}
    for dim in variant.dynamic:
        sizes = {dict(case.sizes)[dim] for case in chosen}
        assert wanted <= sizes
    for case in chosen:
        assert Case.parse(str(case), variant) == case
        inputs = case.inputs(variant)
        outputs = oracle(variant, inputs)
        assert {o.name for o in variant.outputs} == set(outputs)
        if case.family != "nonfinite":
            for output in outputs.values():
                assert np.isfinite(output).all(), case


def test_a_large_fixed_size_is_a_case_too() -> None:
    variant = Variant.make(CATALOG["pairwise_iou"], ranges={"N": Range(99999, 99999, 99999)})
    chosen = list(cases(variant, seeds=1, elements=2**14))
    assert {case.sizes for case in chosen} == {(("N", 99999), ("M", 1)), (("N", 99999), ("M", 3))}
    assert Case.parse(str(chosen[0]), variant) == chosen[0]
    side = Range(20_000, 20_000, 20_000)
    too_large = Variant.make(CATALOG["pairwise_iou"], ranges={"N": side, "M": side})
    message = "400000000 elements in one tensor at the least shape.* as N=1:20000:20000$"
    with pytest.raises(LossexportError, match=message):
        list(cases(too_large))


@pytest.mark.parametrize(
    "ranges",
    [
        {"N": Range(1, 256, 65536), "C": Range(1, 80, 9605)},
        {"N": Range(65536, 65536, 65536), "C": Range(1, 80, 9605)},
        {"N": Range(8400, 8400, 8400), "C": Range(80, 80, 80)},
        {"N": Range(1, 1, 2**17), "C": Range(9605, 9605, 9605)},
        {"N": Range(4096, 4096, 4096), "C": Range(4096, 4096, 4096)},
        {"N": Range(1, 1, 2**31 - 1), "C": Range(1, 1, 1)},
    ],
)
@pytest.mark.parametrize(("seeds", "elements"), [(1, 2**14), (2, 2**18)])
def test_work_is_bounded_and_meets_the_ends(
    ranges: dict[str, Range], seeds: int, elements: int
) -> None:
    variant = Variant.make(CATALOG["sigmoid_focal_loss"], gradient=True, ranges=ranges)
    chosen = list(cases(variant, seeds=seeds, elements=elements))
    counts = [math.prod(dict(case.sizes).values()) for case in chosen]
    least = math.prod(size.min for size in ranges.values())
    assert max(counts) <= max(least, 2**18)
    assert sum(counts) <= max(least, 2**25)
    for name, size in ranges.items():
        others = math.prod(other.min for key, other in ranges.items() if key != name)
        if size.max * others <= 2**18:
            assert size.max in {dict(case.sizes)[name] for case in chosen}
    assert all(Case.parse(str(case), variant) == case for case in chosen)


def test_nothing_compared_is_no_pass(tmp_path: Path) -> None:
    lossexport.export("box_iou", tmp_path, shapes={"N": "0:4:8"})
    assert lossexport.verify(tmp_path).passed
    with pytest.raises(LossexportError, match="score: no case has an element of it"):
        lossexport.verify(tmp_path / "box_iou.onnx", replay="ordinary:N=0:0")


SIZES = ["ordinary:N=0:0", "ordinary:N=65537:0", "ordinary:N=999999999:0"]


@pytest.mark.parametrize(
    "text", ["ordinary", "x:N=3:0", "ordinary:M=3:0", "ordinary:N=-1:0", *SIZES]
)
def test_bad_case_names(text: str) -> None:
    with pytest.raises(LossexportError, match="case "):
        Case.parse(text, Variant.make(CATALOG["box_iou"]))


def test_a_case_is_bounded_by_its_elements_too() -> None:
    with pytest.raises(LossexportError, match="67108864 elements in one tensor are too many"):
        Case.parse(
            "ordinary:N=8192,M=8192:0",
            Variant.make(CATALOG["pairwise_iou"], ranges={n: Range(1, 1, 8192) for n in "NM"}),
        )


def test_an_edited_file_is_named_and_measured(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported / "diou_loss.onnx")
    scale = next(node for node in model.functions[0].node if node.op_type == "Div")
    scale.name = "renamed"  # the numbers stay the same
    onnx.save(model, tmp_path / "diou_loss.onnx")
    report = lossexport.verify(tmp_path / "diou_loss.onnx", replay="ordinary:N=3:0")
    results = {result.backend: result.status for result in report.files[0].results}
    assert report.files[0].edited
    assert results["ort-cpu"] == "passed"
    assert results.get("native", "not run here") == "not run here"
    assert "edited after export" in report.notes[0]
    whole = lossexport.verify(exported / "diou_loss.onnx", replay="ordinary:N=3:0")
    assert not whole.files[0].edited
    assert whole.notes == ()

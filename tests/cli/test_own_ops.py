"""`--ops`: an op of one's own is exported, verified, attached and listed like any other."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

import lossexport
from lossexport.catalog import BUILTIN, CATALOG
from lossexport.errors import LossexportError
from lossexport.manifest import load_manifest
from lossexport.runtime import load
from tests.cli.conftest import Run
from tests.cli.test_help import complete
from tests.cli.test_messages import call
from tests.wiring.toy import IMAGES, OUTPUT, toy, traced_once  # noqa: F401

# One worker exports what most of these look at.
pytestmark = pytest.mark.xdist_group("own_ops")

ROOT = Path(__file__).resolve().parents[2]
MPDIOU = ROOT / "examples" / "own_op" / "mpdiou.py"
# Inputs whose value and gradient are known without the op.
PRED = np.array([[0, 0, 4, 4], [10, 10, 20, 20]], np.float32)
TARGET = np.array([[0, 0, 4, 2], [10, 10, 20, 20]], np.float32)


@pytest.fixture(autouse=True)
def scope(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("LOSSEXPORT_OPS", raising=False)
    monkeypatch.setattr(CATALOG, "_complete", False)
    with CATALOG.scoped():
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both ops of the example, their gradient and their engines."""
    folder = tmp_path_factory.mktemp("own")
    code, error = call("export", "mpdiou_loss", "box_inner_iou", "--ops", str(MPDIOU), "--gradient",
                       "--format", "onnx,engine", "--out", str(folder))  # fmt: skip
    assert (code, error) == (0, "")
    return folder


def planted(folder: Path, old: str, new: str) -> str:
    """The example with a fault in it."""
    path = folder / "planted.py"
    text = MPDIOU.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return str(path)


def test_it_is_exported_with_its_gradient_and_engines(exported: Path) -> None:
    manifest = load_manifest(exported)
    assert manifest is not None
    stems = ("box_inner_iou", "mpdiou_loss.grad", "mpdiou_loss")
    assert [entry.file for entry in manifest.artifacts] == sorted(
        f"{stem}.{kind}" for stem in stems for kind in ("engine", "onnx")
    )
    entry = next(e for e in manifest.artifacts if e.file == "mpdiou_loss.grad.onnx")
    assert entry.attributes == {"width": 640.0, "height": 640.0}
    assert [t.domain for t in entry.inputs] == [BUILTIN["box_iou"].inputs[0].text] * 2
    assert entry.tolerance["grad_pred"] == entry.tolerance["loss"]
    session = load(exported / "mpdiou_loss.grad.onnx")
    found = session(pred=PRED, target=TARGET)
    penalty = 2**2 / (640**2 + 640**2)
    assert found["loss"] == pytest.approx([0.5 + penalty, 0], abs=1e-6)
    assert found["grad_pred"][0, 3] == pytest.approx(0.5 / 4 + 2 * 2 / (2 * 640**2), abs=1e-6)


def test_two_exports_give_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    code, _ = call("export", "mpdiou_loss", "--ops", str(MPDIOU), "--out", str(tmp_path))
    assert code == 0
    name = "mpdiou_loss.onnx"
    assert (tmp_path / name).read_bytes() == (exported / name).read_bytes()
    assert str(MPDIOU.parent).encode() not in (tmp_path / name).read_bytes()


def test_it_is_verified(exported: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code, error = call("verify", str(exported), "--ops", str(MPDIOU), "--json", str(report))
    assert (code, error) == (0, "")
    files = json.loads(report.read_text())["artifacts"]
    status = {Path(f["path"]).name: [b["status"] for b in f["backends"]] for f in files}
    assert status["mpdiou_loss.grad.onnx"][0] == "passed"
    assert status["mpdiou_loss.engine"] == ["built, not run here"]


HOOK = "if pred.requires_grad: pred.register_hook(lambda x: x * 1.001)"


@pytest.mark.parametrize(
    ("old", "new", "output"),
    [
        ("return 1 - iou + (shift", "return 1.001 * (1 - iou) + (shift", "grad_pred, loss"),
        ("(shift * shift).sum(-1) /", "1.001 * (shift * shift).sum(-1) /", "grad_pred, loss"),
        ("    shift =", f"    {HOOK}\n    shift =", "grad_pred"),
    ],
    ids=["overlap", "penalty", "gradient alone"],
)  # fmt: skip
def test_a_factor_of_a_thousandth_fails(
    old: str, new: str, output: str, exported: Path, tmp_path: Path, run: Run
) -> None:
    path, ops = exported / "mpdiou_loss.grad.onnx", planted(tmp_path, old, new)
    code, said, error = run("verify", path, "--ops", ops)
    assert (code, error.startswith("error: ")) == (1, True)
    assert f"FAILED {path} on ort-cpu: {output} beyond tolerance\n" in said
    assert f"lossexport verify {path} --ops {ops} --replay '" in said


def test_a_thousandth_in_a_score_fails(exported: Path, tmp_path: Path) -> None:
    wrong = planted(tmp_path, "return shared / (_area(p)", "return 0.999 * shared / (_area(p)")
    code, _ = call("verify", str(exported / "box_inner_iou.onnx"), "--ops", wrong)
    assert code == 1


def test_a_file_says_which_option_is_missing(exported: Path, tmp_path: Path) -> None:
    hint = "? Or an op of your own has to be loaded, as with --ops FILE.py\n"
    code, error = call("verify", str(exported))
    assert code == 2
    assert error.startswith(f"error: {exported}/box_inner_iou.engine: manifest.json: unknown op ")
    assert error.endswith(hint)
    alone = tmp_path / "alone.onnx"
    alone.write_bytes((exported / "mpdiou_loss.onnx").read_bytes())
    code, error = call("verify", str(alone))
    assert code == 2
    assert error.startswith(f"error: {alone}: metadata: unknown op 'mpdiou_loss'; did you mean ")
    assert error.endswith(hint)


def test_a_file_of_an_own_op_runs_without_it(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a manifest nor an ONNX file makes anything be loaded."""
    monkeypatch.setenv("LOSSEXPORT_OPS", str(tmp_path / "missing.py"))
    found = load(exported / "mpdiou_loss.onnx")(pred=PRED, target=TARGET)
    assert found["loss"][1] == pytest.approx(0, abs=1e-6)
    assert "mpdiou_loss" not in CATALOG._own


@pytest.mark.usefixtures("traced_once")
def test_it_is_attached(tmp_path: Path) -> None:
    detector, out = toy(tmp_path), tmp_path / "out.onnx"
    code, error = call("attach", str(detector), "--op", "box_inner_iou", "--ops", str(MPDIOU),
                       "--map", "pred=output[0,:,:4]", "--map", "target=output[0,:,4:]",
                       "--set", "ratio=1.2", "--out", str(out))  # fmt: skip
    assert (code, error) == (0, "")
    found = load(out)(images=IMAGES)["score"]
    CATALOG.load(str(MPDIOU))
    import torch

    pred, target = torch.from_numpy(OUTPUT[0, :, :4]), torch.from_numpy(OUTPUT[0, :, 4:])
    expected = lossexport.ops.box_inner_iou(pred, target, ratio=1.2)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    names = {node.op_type for node in onnx.load(out).graph.node}
    assert "BoxInnerIoU" in names


def test_it_is_listed_with_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    def listed(*more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "lossexport", "list", *more],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    text = listed("mpdiou_loss", "--ops", str(MPDIOU))
    assert text.startswith("# mpdiou_loss\n\n1 - MPDIoU: IoU less the squared shifts of both cor")
    for part in (
        f"Of `{MPDIOU}`.",
        "| input | `pred` | [N, 4] | float | xyxy, x2 >= x1,",
        "| `width` | `640.0` | at least 0.001 | of the image, in the unit of the boxes |",
        "loss = ops.mpdiou_loss(pred, target)\nloss.sum().backward()\n",
        f"lossexport export mpdiou_loss --ops {MPDIOU} --gradient --format onnx,engine --out out",
        "`lossexport.nn.MPDIoULoss`",
        "- [Ma and Xu, MPDIoU, 2023](https://arxiv.org/abs/2307.07662)",
    ):
        assert part in text
    assert "](.." not in text
    everything = json.loads(listed("--json", "--ops", str(MPDIOU)))
    assert [op["name"] for op in everything] == [*BUILTIN, "mpdiou_loss", "box_inner_iou"]
    assert [op["origin"] for op in everything[-3:]] == ["built in", str(MPDIOU), str(MPDIOU)]
    (one,) = json.loads(listed("--json", "ciou_loss"))
    assert (one["name"], one["origin"]) == ("ciou_loss", "built in")


def test_a_page_of_the_catalogue_is_that_of_the_docs() -> None:
    from lossexport.op_page import page

    text = (ROOT / "docs/ops/ciou_loss.md").read_text("utf-8")
    made = page(BUILTIN["ciou_loss"], "![ciou_loss: loss and gradient](plots/ciou_loss.svg)", "..")
    head, _, rest = text.partition("\n\n")
    assert head.startswith("<!--")
    assert rest.split("```text")[0] == made.split("```text")[0]  # the digits may differ


def test_completion_knows_them() -> None:
    assert complete(f"lossexport export --ops {MPDIOU} mpd") == [["plain", "mpdiou_loss"]]
    assert complete(f"lossexport attach d.onnx --ops {MPDIOU} --op box_in") == [
        ["plain", "box_inner_iou"]
    ]
    assert complete("lossexport list --ops nowhere.py mpd") == []
    assert complete("lossexport verify --ops exam") == [["file", "exam"]]


def test_completion_has_the_ops_of_the_package_whatever_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOSSEXPORT_OPS", "nowhere.py")
    assert complete("lossexport list box_io") == [["plain", "box_iou"]]
    assert complete(f"lossexport list --ops {MPDIOU} box_io") == [["plain", "box_iou"]]


def test_one_call_leaves_nothing_to_the_next() -> None:
    assert call("list", "--json", "--ops", str(MPDIOU)) == (0, "")
    assert list(CATALOG) == list(BUILTIN)


def test_from_python(tmp_path: Path) -> None:
    CATALOG.load(str(MPDIOU))
    manifest = lossexport.export("box_inner_iou", tmp_path, attributes={"ratio": 0.5})
    assert [entry.attributes for entry in manifest.artifacts] == [{"ratio": 0.5}]
    assert lossexport.verify(tmp_path).passed
    op = lossexport.nn.BoxInnerIoU(ratio=0.5)
    assert repr(op) == "BoxInnerIoU(ratio=0.5)"


LEAST = """\
import torch
from lossexport.catalog import Op, Tensor, samplers

INPUTS = (Tensor("x", ("N", 4)),)

def faulty(x):
    {body}

OPS = [Op("faulty", faulty, INPUTS, [Tensor("loss", ("N",))], gradient={gradient})]
"""
FAULTS: list[tuple[str, tuple[str, ...], int, str]] = [
    ("...", (), 2, "op 'faulty': the function returns a NoneType for loss: a tensor is expected"),
    ("return x", (), 2, "op 'faulty': the function returns loss of shape [33, 4], declared is [N]"),
    (
        "return x[:, 5]",
        (),
        2,
        "op 'faulty': the function fails on ordinary inputs at FILE:7: Index",
    ),
    ("return x[:, 0].log()", (), 2, "is nan on ordinary inputs, case ordinary:N=33:0: nothing can"),
    ("return x[:, 0].detach()", ("x",), 2, "element 0 of tensors does not require grad"),
    ("return torch.rand_like(x[:, 0])", (), 2, "aten.rand_like.default is random: nothing can be"),
    (
        "if x.isnan().any(): raise ValueError('no NaN')\n    return x[:, 0]",
        (),
        2,
        "decides in Python by the values of a tensor; write torch.where, clamp or torch.maximum",
    ),
    (
        "return x.max(-1).values",
        (),
        1,
        "instead of nan in case nonfinite:N=33:0: nothing was written; NaN and infinity have to "
        "come out as NaN, as lossexport.ops.common.poison makes them, or the op leaves such cases "
        "out: "
        'samplers=samplers(INPUTS, without=["nonfinite"])',
    ),
]


@pytest.mark.parametrize(("body", "gradient", "exit_code", "message"), FAULTS)
def test_a_faulty_function_writes_nothing(
    body: str, gradient: tuple[str, ...], exit_code: int, message: str, tmp_path: Path
) -> None:
    path, out = tmp_path / "faulty.py", tmp_path / "out"
    path.write_text(LEAST.format(body=body, gradient=gradient))
    more = ["--gradient"] if gradient else []
    code, error = call("export", "faulty", "--ops", str(path), "--out", str(out), *more)
    assert (code, error.count("\n"), error[:7]) == (exit_code, 1, "error: ")
    assert message.replace("FILE", str(path)) in error
    assert not out.exists()


def test_an_op_may_leave_out_what_is_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "largest.py"
    text = LEAST.replace("faulty", "largest").format(body="return x.max(-1).values", gradient=())
    text = text.replace("INPUTS, [", "INPUTS, samplers=samplers(INPUTS, without=['nonfinite']), "
                        "outputs=[")  # fmt: skip
    path.write_text(text)
    code, error = call("export", "largest", "--ops", str(path), "--out", str(tmp_path / "out"))
    assert (code, error) == (0, "")
    assert call("verify", str(tmp_path / "out"), "--ops", str(path)) == (0, "")


def test_an_op_of_measured_operators_is_proven(tmp_path: Path) -> None:
    path = tmp_path / "entropy.py"
    text = LEAST.replace("faulty", "soft_loss")
    path.write_text(text.format(body="return -x.log_softmax(-1)[:, 0]", gradient=("x",)))
    out = tmp_path / "out"
    code, error = call("export", "soft_loss", "--ops", str(path), "--gradient", "--out", str(out))
    assert (code, error) == (0, "")
    assert call("verify", str(out), "--ops", str(path)) == (0, "")
    manifest = load_manifest(out)
    assert manifest is not None
    why = manifest.artifacts[0].tolerance["grad_x"].why
    assert "; of aten._log_softmax, aten._log_softmax_backward_data, without a rule, the" in why
    path.write_text(path.read_text().replace("[:, 0]", "[:, 0] * 1.001"))
    assert call("verify", str(out), "--ops", str(path))[0] == 1


def test_the_example_of_the_contract_is_listed(tmp_path: Path) -> None:
    """Its function is an ellipsis: all else follows, and it says what is missing."""
    text = """
import torch
from lossexport.catalog import Attribute, Op, Tensor

def mpdiou_loss(pred, target, width=640.0, height=640.0):  # export-friendly torch code
    ...

OPS = (
    Op(
        name="mpdiou_loss",
        function=mpdiou_loss,
        inputs=(Tensor("pred", ("N", 4), "boxes"), Tensor("target", ("N", 4), "boxes")),
        outputs=(Tensor("loss", ("N",)),),
        attributes=(Attribute("width", 640.0), Attribute("height", 640.0)),
        gradient=("pred",),
    ),
)
"""
    path = tmp_path / "contract.py"
    path.write_text(text)
    assert call("list", "--ops", str(path)) == (0, "")
    CATALOG.load(str(path))
    op = CATALOG["mpdiou_loss"]
    assert (op.class_name, op.kind, op.summary) == ("MPDIoULoss", "loss", "Mpdiou loss.")
    with pytest.raises(LossexportError, match="returns a NoneType for loss: a tensor is expected"):
        lossexport.export("mpdiou_loss", tmp_path / "out")

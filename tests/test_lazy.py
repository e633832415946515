"""Names that a package imports on first use."""

import subprocess
import sys
from pathlib import Path

import pytest

import lossexport
from lossexport import scoring
from lossexport._lazy import lazy


def test_a_name_comes_from_its_place() -> None:
    get = lazy("package", {"loads": "json"})
    assert get("loads")("[1]") == [1]
    with pytest.raises(AttributeError, match="module 'package' has no attribute 'dumps'"):
        get("dumps")


def test_a_module_of_the_package_is_its_own_place() -> None:
    get = lazy("json", {"decoder": "json.decoder", "loads": "json"})
    assert get("decoder").JSONDecoder().decode("[1]") == get("loads")("[1]")


def test_modules_are_there_without_an_import_of_their_own() -> None:
    code = """
import sys, lossexport
assert not {"torch", "onnxruntime"} & set(sys.modules)
assert {"nn", "ops", "runtime"} <= set(dir(lossexport))
print(lossexport.runtime.load.__name__, "torch" in sys.modules)
print(lossexport.ops.box_iou.__name__, lossexport.nn.IoULoss.__name__)
"""
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("load False\nbox_iou IoULoss\n", "")


def test_a_score_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from lossexport import sample, score
sample.write(sample.Counts(images=5, references=20, predictions=60), 0, Path())
score("dets.json", "gt.json")
print({"numpy.ma", "pyarrow", "jinja2", "lossexport.reports", "onnxruntime"} & set(sys.modules))
"""
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_both_packages_use_it() -> None:
    assert lossexport.score is scoring.score
    for package in (lossexport, scoring):
        with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute"):
            _ = package.nothing

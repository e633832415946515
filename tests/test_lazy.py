"""Names that a package imports on first use."""

import pytest

import lossexport
from lossexport import scoring
from lossexport._lazy import lazy


def test_a_name_comes_from_its_place() -> None:
    get = lazy("package", {"loads": "json"})
    assert get("loads")("[1]") == [1]
    with pytest.raises(AttributeError, match="module 'package' has no attribute 'dumps'"):
        get("dumps")


def test_both_packages_use_it() -> None:
    assert lossexport.score is scoring.score
    for package in (lossexport, scoring):
        with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute"):
            _ = package.nothing

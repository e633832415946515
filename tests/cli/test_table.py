"""Tables are those of rich, whether or not rich prints them."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossexport.cli import _terminal


def printed(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: int) -> str:
    with redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")) as held:
        _terminal.show(title, columns, rows, right)
        held.seek(0)
        return held.read()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_same_text(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 5))
    letters = st.sampled_from(
        ["a", "Z", "9", " ", "[b]", "-", ":x:", "\u00e9", "\u4e2d", "\n", "word " * 9]
    )
    cell = st.lists(letters, max_size=8).map("".join)
    plain = st.text("abc 1.[:]", max_size=9)
    columns = data.draw(st.lists(plain, min_size=count, max_size=count))
    rows = data.draw(st.lists(st.lists(plain | cell, min_size=count, max_size=count), max_size=4))
    title = data.draw(st.text("abc [:]", max_size=30))
    right = data.draw(st.integers(0, count))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.isatty", lambda _: False)
        ours = printed(title, columns, rows, right)
        patch.setattr(_terminal, "_plain", lambda *_: False)
        assert printed(title, columns, rows, right) == ours

"""A change of what users rely on shows in review: tests/surface.txt is the committed list."""

import difflib

from tests.surface import SNAPSHOT, text


def test_the_surface_is_as_committed() -> None:
    old, new = SNAPSHOT.read_text("utf-8").splitlines(), text().splitlines()
    changed = "\n".join(difflib.unified_diff(old, new, "committed", "now", n=0, lineterm=""))
    assert not changed, (
        f"{changed}\n\nIf this is meant, run `python -m tests.surface`, add a line to CHANGELOG.md "
        "and see docs/stability.md for the number that rises with it."
    )

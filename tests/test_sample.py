"""The generated sets: the counts asked for, the same bytes for the same seed."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest


def generate(out: Path, *options: str) -> tuple[bytes, bytes]:
    counts = ("--images", "30", "--references", "200", "--predictions", "1000")
    subprocess.run(
        [sys.executable, "-m", "lossexport.sample", *counts, "--out", out, *options], check=True
    )
    return (out / "gt.json").read_bytes(), (out / "dets.json").read_bytes()


@pytest.mark.parametrize("options", [(), ("--even",)])
def test_counts_and_seed(tmp_path: Path, options: tuple[str, ...]) -> None:
    first = generate(tmp_path / "a", *options)
    assert generate(tmp_path / "b", *options) == first
    assert generate(tmp_path / "c", "--seed", "1", *options) != first
    truth, found = (json.loads(text) for text in first)
    assert len(truth["images"]) == 30
    assert len(truth["annotations"]) == 200
    assert len(found) == 1000
    per_image = Counter(row["image_id"] for row in found)
    if options:
        assert set(per_image.values()) == {33, 34}
    else:
        assert max(per_image.values()) > 50

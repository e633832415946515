"""The examples of the evaluator: AP rises while a detector is trained, and two processes agree."""

import subprocess
import sys

from tests.conftest import ROOT

EXAMPLE = ROOT / "examples/evaluator"


def lines(script: str, *arguments: str) -> list[str]:
    command = [sys.executable, str(EXAMPLE / script), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_training_loop() -> None:
    epochs = lines("training_loop.py", "--epochs", "2", "--images", "768")
    found = [
        dict(part.rsplit(" ", 1) for part in epoch.split(": ")[1].split(", ")) for epoch in epochs
    ]
    assert len(found) == 2
    assert float(found[0]["AP50"]) < float(found[1]["AP50"]) < 1
    assert float(found[1]["IoU"]) > 0.6


def test_two_processes() -> None:
    first, _, last = lines("two_processes.py")
    assert first.startswith("2 processes, 101 images, ")
    assert last == "the same as one process"

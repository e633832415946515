"""Asks TensorRT-RTX's parser, which needs no GPU, whether it accepts an ONNX model."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lossexport.errors import one_line
from lossexport.exporter.refused import Refused
from lossexport.runtime.backends import has_module
from lossexport.runtime.trt import availability

_SCRIPT = Path(__file__).with_name("script.py")
_SECONDS = 300
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Parsed:
    """The verdict of TensorRT-RTX's parser on a model.

    `notes` has a line for each node that it refuses, or the reason why it was not asked.
    """

    status: Literal["accepted", "refused", "not checked"]
    notes: tuple[str, ...] = ()


def parse(model: bytes) -> Parsed:
    """Ask the parser, in a process of its own because it aborts on some models."""
    if not has_module("tensorrt_rtx"):
        fix = availability("rtx").fix
        return Parsed("not checked", (f"not checked: TensorRT-RTX is not installed: {fix}",))
    # The modules are those of this process; -P keeps the script's folder off the search path.
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(_SCRIPT)],
            input=model,
            capture_output=True,
            timeout=_SECONDS,
            env=os.environ | {"PYTHONPATH": paths},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Parsed("not checked", (f"not checked: TensorRT-RTX took more than {_SECONDS} s",))
    except OSError as error:
        return Parsed("not checked", (f"not checked: TensorRT-RTX cannot be run: {error}",))
    if done.returncode < 0:
        return Parsed("refused", (f"TensorRT-RTX's parser dies of signal {-done.returncode}",))
    if done.returncode > 0:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return Parsed("not checked", (f"not checked: TensorRT-RTX: {one_line(last)}",))
    refused = json.loads(done.stdout)
    notes = [Refused(*row).line(model, "rtx") for row in refused[:_SHOWN]]
    if len(refused) > _SHOWN:
        notes.append(f"TensorRT-RTX refuses {len(refused) - _SHOWN} more nodes")
    return Parsed("refused" if refused else "accepted", tuple(notes))

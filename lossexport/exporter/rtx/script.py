"""A script that parses the ONNX model on standard input with TensorRT-RTX.

It writes a JSON list of the nodes that the parser refuses to standard output, each as `refused`
gives it. It runs in a process of its own, so that an abort of the parser ends only this process,
and imports nothing from this package.
"""

import json
import os
import sys
from typing import Any


def refused(parser: Any) -> list[tuple[str, int, str, str, tuple[str, ...]]]:
    """The nodes that a parser has refused: name, index, operator, reason, calls around it."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    found = [
        (e.node_name(), e.node(), e.node_operator(), e.desc(), (*e.local_function_stack(),))
        for e in errors
    ]
    return found or [("", -1, "", "the parser gives no reason", ())]


def main() -> None:
    """Parse the model and write the list of refused nodes."""
    import tensorrt_rtx as trt

    found = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # keeps the parser's own output apart from the list
    log = trt.Logger(trt.Logger.INTERNAL_ERROR)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = trt.Builder(log).create_network(flags)
    parser = trt.OnnxParser(network, log)
    json.dump([] if parser.parse(sys.stdin.buffer.read()) else refused(parser), found)
    found.close()


if __name__ == "__main__":
    main()

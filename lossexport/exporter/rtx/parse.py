"""Run as a script: parse the ONNX model on standard input with TensorRT-RTX.

Writes a JSON list of what its parser refuses to standard output: [name, place in the graph,
operator, reason] each. A process of its own, which imports nothing of this package: what makes the
parser abort ends only it.
"""

import json
import os
import sys

import tensorrt_rtx as trt


def main() -> None:
    """Parse, and write what was refused."""
    found = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the parser writes to standard output too
    log = trt.Logger(trt.Logger.INTERNAL_ERROR)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = trt.Builder(log).create_network(flags)
    parser = trt.OnnxParser(network, log)
    refused = []
    if not parser.parse(sys.stdin.buffer.read()):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        refused = [[e.node_name(), e.node(), e.node_operator(), e.desc()] for e in errors]
        refused = refused or [["", -1, "", "the parser gives no reason"]]
    json.dump(refused, found)
    found.close()


if __name__ == "__main__":
    main()

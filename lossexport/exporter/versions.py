"""Versions and the domain of exported ONNX files."""

DOMAIN = "lossexport"
OPSET = 20
NEWEST_OPSET = 23
"""The newest that functions are traced for. Later ones only add types to operators."""
IR_VERSION = 10

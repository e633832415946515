"""Exports ops of the catalogue to .onnx and .engine files with a manifest."""

from lossexport.exporter.run import export

__all__ = ["export"]

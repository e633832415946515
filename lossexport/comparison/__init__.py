"""Compares the boxes of a child with those of its parent."""

from lossexport.comparison.run import compare

__all__ = ["compare"]

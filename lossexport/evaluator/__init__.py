"""Scores detections in memory, piece by piece."""

from lossexport.evaluator.evaluator import Evaluator

__all__ = ["Evaluator"]

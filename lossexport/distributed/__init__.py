"""Scores detections on a cluster of Ray, with the numbers of one process."""

from lossexport.distributed.run import score

__all__ = ["score"]

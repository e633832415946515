"""Proof that an artifact computes what eager PyTorch computes."""

from lossexport.parity.record import Report

__all__ = ["Report"]

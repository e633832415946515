"""Proof that an artifact computes what eager PyTorch computes."""

from lossexport.parity.verify import Report, verify

__all__ = ["Report", "verify"]

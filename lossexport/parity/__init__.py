"""Checks that artifacts compute the same as eager PyTorch."""

from lossexport.parity.record import Report

__all__ = ["Report"]

"""Elementwise regression losses: smooth L1, KL."""

"""Gradient harmonising."""

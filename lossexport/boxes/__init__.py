"""Joins, matches and measures the boxes of two inputs, and applies gates to the numbers."""

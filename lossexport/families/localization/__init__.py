"""Confidence in the place of a box."""

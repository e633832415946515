"""Boxes from distributions over distances to their sides."""

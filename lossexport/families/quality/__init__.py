"""Losses whose target is a quality: an IoU in place of a class, or a distance in bins."""

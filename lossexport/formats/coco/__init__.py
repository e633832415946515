"""COCO json."""

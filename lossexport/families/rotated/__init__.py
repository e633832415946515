"""Rotated boxes: ProbIoU, the Gaussian losses, and the exact IoU."""

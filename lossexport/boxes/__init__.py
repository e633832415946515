"""Sets of boxes: how two sides are joined, matched and measured, and the gates on the numbers."""

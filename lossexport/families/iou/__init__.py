"""IoU and its extensions, and NWD: scores and losses."""

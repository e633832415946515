"""The ops, in a folder for each family, with the same parts as a file with a user's own ops.

`declaration.py` has the entries of the catalogue, `cases.py` the inputs that they are verified
with, `functions.py` the torch functions, which are imported on first use, and `launches.py` the
kernels. What is too long for these has files of its own beside them.
"""

FAMILIES = (
    "iou",
    "rotated",
    "matching",
    "assignment",
    "detection",
    "deltas",
    "distances",
    "regression",
    "localization",
    "focal",
    "quality",
    "classification",
    "ghm",
    "ranking",
    "suppression",
    "reliability",
)
"""In the order in which the ops are listed."""

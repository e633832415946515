"""How far the boxes of an image can be relied on, from what the detector says of them alone."""

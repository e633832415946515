"""Static proofs that the results in a graph stay within the types that they are computed in."""

from lossexport.ranges.prove import Image, image_size, prove
from lossexport.ranges.record import sentence

__all__ = ["Image", "image_size", "prove", "sentence"]

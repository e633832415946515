"""YOLO labels."""

from lossexport.formats.format import Format
from lossexport.formats.yolo.reader import read

FORMAT = Format(
    name="yolo",
    title="YOLO labels, a text file for each image",
    given="folder",
    unit="parts",
    stems=True,
    stream=read,
)

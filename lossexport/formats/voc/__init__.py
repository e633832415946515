"""Pascal VOC."""

from lossexport.formats.format import Format
from lossexport.formats.voc.annotations import read

FORMAT = Format(
    name="voc",
    title="Pascal VOC, an XML file for each image, or results of its kit",
    given="file or folder",
    stems=True,
    stream=read,
)

"""COCO json."""

from lossexport.formats.coco.reader import read
from lossexport.formats.format import Format

FORMAT = Format(name="coco", title="COCO json, plain or gzipped", given="file", stream=read)

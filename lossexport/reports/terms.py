"""Short definitions of the words of the reports; docs/glossary.md has the longer ones."""

TERMS = {
    "Agreement": "F1 of parent and child, each taken as the reference of the other.",
    "AP": "Average precision by the COCO protocol: the area under precision against recall, mean "
    "of the categories and of ten IoU thresholds from 0.50 to 0.95.",
    "AP50": "AP at the one IoU threshold of 0.50.",
    "AP75": "AP at the one IoU threshold of 0.75, for which boxes have to lie closer.",
    "AR100": "Average recall by the COCO protocol, with at most 100 predictions of an image and a "
    "category.",
    "Artifact": "One exported file, an .onnx or an .engine.",
    "Backend": "A program that runs artifacts: the CPU kernels (native), onnxruntime (ort) or "
    "TensorRT.",
    "Badly placed": "A match whose IoU is below 0.75.",
    "Drift": "Score of the child minus score of the parent, of one matched pair.",
    "F1": "Harmonic mean of precision and recall; best F1 is that of the score cut where it is "
    "highest.",
    "False": "A prediction without a match.",
    "GIoU, DIoU, CIoU": "IoU less a penalty: for the empty part of the enclosing box, for the "
    "distance of the centres, and for that and unlike shapes. At most 1.",
    "IoU": "Intersection over union: the area that two boxes share, divided by the area that they "
    "cover together. 1 if they are equal, 0 if they are disjoint.",
    "Kept": "The part of the parent's boxes that have a match among the child's.",
    "Lost and new": "A lost box is one of the parent without a match, a new box one of the child. "
    "Below threshold: the other side has it with a score that does not count.",
    "Matched": "A prediction and a reference of one image and category whose IoU is at or above "
    "the threshold; predictions choose by falling score.",
    "Missed": "A reference without a match.",
    "Moved": "A match of parent and child whose IoU is below 0.90.",
    "Not run here": "This machine lacks what the backend needs. It does not count as passed.",
    "Parity": "Agreement of every element of every output with PyTorch in float64, within the "
    "tolerance of the op.",
    "Precision": "The part of the predictions that have a match.",
    "Quality": "The IoU that the detector itself expects of a box, from its log variances.",
    "Recall": "The part of the references that have a match.",
    "Tolerance": "The error that an element may have: U ULP, or A times the size of the terms that "
    "it is made of. It comes from an error analysis of the op.",
    "ULP": "Unit in the last place: the distance from a number to the next one of its type.",
}
"""Term -> definition, one or two sentences."""

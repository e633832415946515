"""IoU, GIoU, DIoU and CIoU: scores and losses."""

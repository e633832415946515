"""YOLOX-nano in more layouts than cases/detectors/make.py writes, by its own graph edits.

All see RGB from 0 to 1 and give boxes in pixels or in parts of the input tensor. All but the last
have no metadata: nothing but shapes, types and values tells their layout.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto as T
from onnx import helper

SIDE, ROWS, KEPT = 416, 3549, 300


class Rewired:
    """The decoded network, to whose tensors outputs are added."""

    def __init__(self, decoded: Callable[[], Any]) -> None:
        self.graph, self.centre, self.side, self.score = decoded()

    def const(self, name: str, value: Any) -> str:
        return str(self.graph.const(f"t_{name}", value))

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        return str(self.graph.node(op, inputs, output, **attributes))

    def corners(self) -> str:
        """Boxes [1,3549,4] x1, y1, x2, y2."""
        half = self.node("Mul", [self.side, self.const("half", np.float32(0.5))], "t_half_side")
        low = self.node("Sub", [self.centre, half], "t_low")
        high = self.node("Add", [self.centre, half], "t_high")
        return self.node("Concat", [low, high], "t_corners", axis=2)

    def best(self) -> tuple[str, str, str]:
        """Boxes [1,300,4], scores [1,300] and labels int64 [1,300] of the best 300 by score."""
        box = self.corners()
        top = self.node("ReduceMax", [self.score], "t_top", axes=[2], keepdims=0)
        label = self.node("ArgMax", [self.score], "t_label", axis=2, keepdims=0)
        kept = self.const("kept", np.array([KEPT]))
        self.graph.graph.node.append(
            helper.make_node("TopK", [top, kept], ["t_score", "t_at"], axis=1)
        )
        self.node("Unsqueeze", ["t_at"], "t_at3", axes=[2])
        shape = self.const("shape", np.array([1, KEPT, 4]))
        self.node("Expand", ["t_at3", shape], "t_at4")
        self.node("GatherElements", [box, "t_at4"], "t_box", axis=1)
        self.node("GatherElements", [label, "t_at"], "t_labels", axis=1)
        return "t_box", "t_score", "t_labels"

    def part(self, tensor: str, column: int, output: str) -> str:
        """A column [1,300,1] of boxes."""
        return str(self.graph.part(tensor, column, column + 1, output))

    def wide(self, tensor: str, dtype: int = T.FLOAT) -> str:
        """[1,300] as [1,300,1] of floats."""
        self.node("Cast", [tensor], f"{tensor}_cast", to=dtype)
        return self.node("Unsqueeze", [f"{tensor}_cast"], f"{tensor}_wide", axes=[2])

    def rows(self, columns: str, output: str, offset: float = 0, scale: float = 1) -> str:
        """Rows [1,300,len(columns)]: i image, x, y, X, Y corners, s score, l label, each a letter.

        Corners are multiplied by `scale`, and `offset` is added to labels.
        """
        box, score, label = self.best()
        if scale != 1:
            box = self.node("Mul", [box, self.const("scale", np.float32(scale))], "t_scaled")
        names = {letter: self.part(box, at, f"t_{letter}") for at, letter in enumerate("xyXY")}
        names["s"] = self.wide(score)
        names["l"] = self.wide(label)
        if offset:
            first = self.const("first", np.float32(offset))
            names["l"] = self.node("Add", [names["l"], first], "t_from")
        names["i"] = self.const("image", np.zeros((1, KEPT, 1), np.float32))
        return self.node("Concat", [names[letter] for letter in columns], output, axis=2)

    def reshaped(self, tensor: str, shape: list[int], output: str) -> str:
        return self.node("Reshape", [tensor, self.const(output, np.array(shape))], output)

    def save(self, path: Path, *outputs: tuple[str, int, list[Any]], **metadata: Any) -> Path:
        self.graph.outputs(*outputs)
        self.graph.save(path, **metadata)
        return path


def efficient_nms(r: Rewired, path: Path) -> Path:
    """EfficientNMS: count int32 [1,1], boxes, scores, classes int32."""
    box, score, label = r.best()
    r.node("Identity", [box], "det_boxes")
    r.node("Identity", [score], "det_scores")
    r.node("Cast", [label], "det_classes", to=T.INT32)
    r.node("Identity", [r.const("count", np.array([[KEPT]], np.int32))], "num_dets")
    return r.save(
        path,
        ("num_dets", T.INT32, [1, 1]),
        ("det_boxes", T.FLOAT, [1, KEPT, 4]),
        ("det_scores", T.FLOAT, [1, KEPT]),
        ("det_classes", T.INT32, [1, KEPT]),
    )


def tensorflow(r: Rewired, path: Path) -> Path:
    """TensorFlow's: y1, x1, y2, x2 in parts, classes from 1 and the count as floats."""
    r.rows("yxYX", "t_turned", scale=1 / SIDE)
    r.node("Identity", ["t_turned"], "detection_boxes")
    r.node("Identity", ["t_score"], "detection_scores")
    r.node("Cast", ["t_labels"], "t_float", to=T.FLOAT)
    r.node("Add", ["t_float", r.const("one", np.float32(1))], "detection_classes")
    r.node("Identity", [r.const("count", np.array([KEPT], np.float32))], "num_detections")
    return r.save(
        path,
        ("detection_boxes", T.FLOAT, [1, KEPT, 4]),
        ("detection_classes", T.FLOAT, [1, KEPT]),
        ("detection_scores", T.FLOAT, [1, KEPT]),
        ("num_detections", T.FLOAT, [1]),
    )


def yolov7(r: Rewired, path: Path) -> Path:
    """[N,7] of image, corners, label, score; N is open."""
    r.reshaped(r.rows("ixyXYls", "t_rows"), [KEPT, 7], "output0")
    return r.save(path, ("output0", T.FLOAT, ["N", 7]))


def detection_output(r: Rewired, path: Path) -> Path:
    """[1,1,N,7] of image, label, score and corners in parts."""
    r.reshaped(r.rows("ilsxyXY", "t_rows", scale=1 / SIDE), [1, 1, KEPT, 7], "detection_out")
    return r.save(path, ("detection_out", T.FLOAT, [1, 1, KEPT, 7]))


def efficientdet(r: Rewired, path: Path) -> Path:
    """[1,K,7] of image, y1, x1, y2, x2, score, label."""
    r.node("Identity", [r.rows("iyxYXsl", "t_rows")], "detections")
    return r.save(path, ("detections", T.FLOAT, [1, KEPT, 7]))


def paddle(r: Rewired, path: Path) -> Path:
    """[N,6] of label, score, corners, with a count."""
    r.reshaped(r.rows("lsxyXY", "t_rows"), [KEPT, 6], "multiclass_nms")
    r.node("Identity", [r.const("count", np.array([KEPT], np.int32))], "bbox_num")
    return r.save(path, ("multiclass_nms", T.FLOAT, [KEPT, 6]), ("bbox_num", T.INT32, [1]))


def mmdeploy(r: Rewired, path: Path) -> Path:
    """[1,K,5] of corners and score, with labels int64."""
    r.node("Identity", [r.rows("xyXYs", "t_rows")], "dets")
    r.node("Identity", ["t_labels"], "labels")
    return r.save(path, ("dets", T.FLOAT, [1, KEPT, 5]), ("labels", T.INT64, [1, KEPT]))


def triple(r: Rewired, path: Path) -> Path:
    """RT-DETR with post-processing: boxes are those of `orig_target_sizes`."""
    box, score, label = r.best()
    size = helper.make_tensor_value_info("orig_target_sizes", T.INT64, [1, 2])
    r.graph.graph.input.append(size)
    r.node("Cast", ["orig_target_sizes"], "t_size", to=T.FLOAT)
    r.node("Concat", ["t_size", "t_size"], "t_sizes", axis=1)
    r.node("Unsqueeze", ["t_sizes"], "t_sizes3", axes=[1])
    r.node("Mul", [box, r.const("inverse", np.float32(1 / SIDE))], "t_parts")
    r.node("Mul", ["t_parts", "t_sizes3"], "boxes")
    r.node("Identity", [score], "scores")
    r.node("Identity", [label], "labels")
    return r.save(
        path,
        ("labels", T.INT64, [1, KEPT]),
        ("boxes", T.FLOAT, [1, KEPT, 4]),
        ("scores", T.FLOAT, [1, KEPT]),
    )


def pair(r: Rewired, path: Path) -> Path:
    """Boxes [1,N,4] and scores [1,N,C]."""
    r.node("Identity", [r.corners()], "boxes")
    r.node("Identity", [r.score], "confs")
    return r.save(path, ("boxes", T.FLOAT, [1, ROWS, 4]), ("confs", T.FLOAT, [1, ROWS, 80]))


def ssd(r: Rewired, path: Path) -> Path:
    """Boxes in parts and scores [1,N,1+C] that sum to 1 if there is a single likely class."""
    r.node("Mul", [r.corners(), r.const("inverse", np.float32(1 / SIDE))], "boxes")
    r.node("ReduceSum", [r.score], "t_sum", axes=[2], keepdims=1)
    r.node("Sub", [r.const("whole", np.float32(1)), "t_sum"], "t_rest")
    r.node("Clip", ["t_rest", r.const("least", np.float32(0))], "t_none")
    r.node("Concat", ["t_none", r.score], "scores", axis=2)
    return r.save(path, ("boxes", T.FLOAT, [1, ROWS, 4]), ("scores", T.FLOAT, [1, ROWS, 81]))


def rows_of_heads(r: Rewired, path: Path) -> Path:
    """[1,A,4+C]."""
    r.node("Concat", [r.centre, r.side, r.score], "output0", axis=2)
    return r.save(path, ("output0", T.FLOAT, [1, ROWS, 84]))


def segmentation(r: Rewired, path: Path) -> Path:
    """[1,4+C+32,A] and prototypes of masks."""
    masks = r.const("masks", np.ones((1, ROWS, 32), np.float32))
    r.node("Concat", [r.centre, r.side, r.score, masks], "t_rows", axis=2)
    r.node("Transpose", ["t_rows"], "output0", perm=[0, 2, 1])
    r.node("Identity", [r.const("protos", np.ones((1, 32, 104, 104), np.float32))], "output1")
    return r.save(
        path, ("output0", T.FLOAT, [1, 116, ROWS]), ("output1", T.FLOAT, [1, 32, 104, 104])
    )


def named_rows(r: Rewired, path: Path, names: Mapping[int, str]) -> Path:
    """RT-DETR of Ultralytics: [1,N,4+C] in parts."""
    r.node("Concat", [r.centre, r.side], "t_box", axis=2)
    r.node("Mul", ["t_box", r.const("inverse", np.float32(1 / SIDE))], "t_parts")
    r.node(
        "Clip", ["t_parts", r.const("none", np.float32(0)), r.const("all", np.float32(1))], "t_in"
    )
    r.node("Concat", ["t_in", r.score], "output0", axis=2)
    metadata = {"names": dict(names), "imgsz": [SIDE, SIDE], "stride": 32, "task": "detect"}
    return r.save(path, ("output0", T.FLOAT, [1, ROWS, 84]), **metadata)


def turned(r: Rewired, path: Path, names: Mapping[int, str]) -> Path:
    """OBB: sides exchanged and turned by a right angle, which are the same boxes."""
    first, second = (str(r.graph.part(r.side, n, n + 1, f"t_side{n}")) for n in (0, 1))
    angle = r.const("angle", np.full((1, ROWS, 1), np.pi / 2, np.float32))
    r.node("Concat", [r.centre, second, first, r.score, angle], "t_rows", axis=2)
    r.node("Transpose", ["t_rows"], "output0", perm=[0, 2, 1])
    metadata = {"names": dict(names), "imgsz": [SIDE, SIDE], "stride": 32, "task": "obb"}
    return r.save(path, ("output0", T.FLOAT, [1, 85, ROWS]), **metadata)


LAYOUTS: Mapping[str, tuple[str, Callable[[Rewired, Path], Path]]] = {
    "efficient_nms": ("quadruple", efficient_nms),
    "tensorflow": ("quadruple", tensorflow),
    "yolov7": ("table", yolov7),
    "detection_output": ("table", detection_output),
    "efficientdet": ("table", efficientdet),
    "paddle": ("table", paddle),
    "mmdeploy": ("table", mmdeploy),
    "triple": ("boxes", triple),
    "pair": ("boxes", pair),
    "ssd": ("ssd", ssd),
    "rows": ("yolov8_rows", rows_of_heads),
    "segmentation": ("yolov8", segmentation),
}

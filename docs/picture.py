"""The picture of the README: how an op becomes files, and what each file is compared with."""

from svg import COLOURS, GREY, INK, LINE, page, text

WIDTH, HEIGHT = 960, 336
_BLUE, _ORANGE, _GREEN = COLOURS[:3]
_MONO = "ui-monospace, Menlo, Consolas, monospace"


def draw() -> str:
    columns = (30, 351, 672)
    marks = [
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="{GREY}"/>'
        "</marker></defs>",
        *_card(
            columns[0],
            34,
            _BLUE,
            "ops.ciou_loss",
            "a PyTorch function and its",
            "autograd gradient",
        ),
        *_card(
            columns[1],
            34,
            _BLUE,
            "ciou_loss.grad.onnx",
            "one node and its body in",
            "standard operators, opset 20",
        ),
        *_card(
            columns[2],
            34,
            _BLUE,
            "ciou_loss.grad.engine",
            "TensorRT-RTX or TensorRT;",
            "RTX builds without a GPU",
        ),
        *_arrow(288, 78, 348, 78, "export"),
        *_arrow(609, 78, 669, 78, "build"),
        *(mark for x in columns for mark in _arrow(x + 129, 122, x + 129, 158)),
        *_card(
            columns[0],
            162,
            _GREEN,
            "float64",
            "the oracle: the same function",
            "on the same rounded inputs",
        ),
        *_card(columns[1], 162, _GREEN, "onnxruntime", "CPU here; CUDA where there", "is a GPU"),
        *_card(
            columns[2],
            162,
            _ORANGE,
            "GPU",
            "without one: “built, not run",
            "here”, never “passed”",
            dashed=True,
        ),
        *(mark for x in columns for mark in _arrow(x + 129, 250, x + 129, 276)),
        f'<rect x="30" y="280" width="900" height="38" rx="8" fill="#f3f5f9" stroke="{LINE}"/>',
        text(
            480,
            304,
            "every element within U ULP or within A of float64: "
            "hash, tolerance and errors stand in manifest.json",
            14,
            INK,
            text_anchor="middle",
        ),
    ]
    title = "From a PyTorch function to ONNX and engine files, each compared with float64"
    return page(WIDTH, HEIGHT, title, marks)


def _card(
    x: float, y: float, colour: str, name: str, *lines: str, dashed: bool = False
) -> list[str]:
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    marks = [
        f'<rect x="{x}" y="{y}" width="258" height="88" rx="8" fill="none" stroke="{colour}" '
        f'stroke-width="1.5"{dash}/>',
        text(x + 16, y + 30, name, 16, colour, font_family=_MONO, font_weight="600"),
    ]
    return marks + [text(x + 16, y + 54 + 19 * i, line, 14) for i, line in enumerate(lines)]


def _arrow(x1: float, y1: float, x2: float, y2: float, label: str = "") -> list[str]:
    style = f'stroke="{GREY}" stroke-width="1.5" marker-end="url(#tip)"'
    path = f'<path d="M{x1} {y1}L{x2} {y2}" {style}/>'
    middle = (x1 + x2) / 2
    return [path, *([text(middle, y1 - 8, label, 12, text_anchor="middle")] if label else [])]

"""The picture of the README: what becomes of an op, what each result is compared with, its use."""

from svg import COLOURS, GREY, INK, LINE, PAPER, page, text

WIDTH, HEIGHT = 960, 530
_BLUE, _ORANGE, _GREEN = COLOURS[:3]
_SHADE = "#f3f5f9"
_MONO = "ui-monospace, Menlo, Consolas, monospace"
_LEFT, _MIDDLE, _RIGHT = (36, 198), (312, 282), (666, 270)  # x and width of the columns
_ROW = 40
_ROWS = (72, 120, 168, 240, 288)  # where the rows begin: the files, then the kernels
_GROUPS = ((62, 156), (230, 108))  # top and height of what frames them

_WRITTEN = (
    ("ops.ap_loss", "a PyTorch function", 72, 62),
    ("catalogue entry", "cases and tolerance", 146, 62),
    ("ranking.cuh", "one source for both", 253, 62),
)
# What is made of them, what that is, and where it is compared.
_MADE = (
    ("ap_loss.onnx", "value", "onnxruntime", "passed"),
    ("ap_loss.grad.onnx", "and gradient", "onnxruntime", "passed"),
    ("ap_loss.engine", "TensorRT(-RTX)", "GPU", "not run here"),
    ("CUDA plugin", "in TensorRT", "GPU", "not run here"),
    ("CPU kernel", "native", "CPU", "passed"),
)
_USED = (
    ("score", "detections with references:", "IoU to CIoU of boxes, COCO AP"),
    ("compare", "int8 child with float parent:", "boxes lost, moved and new"),
    ("report", "HTML, JSON and Parquet;", "a gate that fails exits with 1"),
)


def draw() -> str:
    marks = [
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="{GREY}"/>'
        "</marker></defs>",
        *_written(),
        *_made(),
        *_used(),
    ]
    title = (
        "A PyTorch function becomes ONNX files, engines and kernels, each compared with float64; "
        "on the device they score and compare detections without PyTorch"
    )
    return page(WIDTH, HEIGHT, title, marks)


def _written() -> list[str]:
    x, wide = _LEFT
    marks = [_head(x - 12, "written once")]
    for (top, high), verb in zip(_GROUPS, ("export", "build"), strict=True):
        edge, y = x + wide + 12, top + high / 2
        middle = (edge + _MIDDLE[0] - 12) / 2
        marks += [
            _shade(x - 12, top, wide + 24, high),
            _shade(_MIDDLE[0] - 12, top, _MIDDLE[1] + 24, high),
            *_arrow(edge, y, _MIDDLE[0] - 16, y),
            text(middle, y - 9, verb, 13, text_anchor="middle"),
        ]
    for name, words, y, high in _WRITTEN:
        marks += [
            _box(x, y, wide, high, _BLUE),
            _name(x + 14, y + 26, name),
            text(x + 14, y + 47, words, 14),
        ]
    return marks


def _made() -> list[str]:
    (x, wide), (right, span) = _MIDDLE, _RIGHT
    edge, end = x + wide + 12, right + span - 14
    marks = [_head(x - 12, "files and kernels"), _head(right, "compared with float64 PyTorch")]
    for y, (name, what, where, outcome) in zip(_ROWS, _MADE, strict=True):
        colour = _GREEN if outcome == "passed" else GREY
        marks += [
            _box(x, y, wide, _ROW, _BLUE),
            _name(x + 14, y + 25, name),
            text(x + wide - 14, y + 25, what, 14, text_anchor="end"),
            *_arrow(edge, y + _ROW / 2, right - 4, y + _ROW / 2),
            _box(right, y, span, _ROW, colour, dashed=outcome != "passed"),
            text(right + 14, y + 25, where, 14, INK),
            _outcome(end, y + 25, outcome, colour),
        ]
    middle, y = (edge + right) / 2, _ROWS[-1] + _ROW + 25
    return [
        *marks,
        text(middle, _ROWS[0] + 11, "verify", 13, text_anchor="middle"),
        text(right + 14, y, "beyond a tolerance", 14, INK),
        _outcome(end, y, "failed", _ORANGE),
    ]


def _used() -> list[str]:
    top, high, gap = 378, 130, 18
    x, wide = _LEFT[0] - 12, _RIGHT[0] + _RIGHT[1] - _LEFT[0] + 12
    each = (wide - 24 - 2 * gap) / 3
    middle, bottom = _MIDDLE[0] + _MIDDLE[1] / 2, sum(_GROUPS[1])
    marks = [
        *_arrow(middle, bottom, middle, top - 4),
        text(middle + 10, (bottom + top) / 2 + 4, "load the files or the kernels", 13),
        _shade(x, top, wide, high),
        _head(x + 12, "on the device: one backend, no PyTorch", top + 26),
    ]
    for index, (name, *lines) in enumerate(_USED):
        left, y = x + 12 + index * (each + gap), top + 38
        marks += [_box(left, y, each, 80, _BLUE), _name(left + 14, y + 26, name)]
        marks += [text(left + 14, y + 47 + 19 * i, line, 14) for i, line in enumerate(lines)]
    return marks


def _head(x: float, words: str, y: float = 44) -> str:
    return text(x, y, words, 15, INK, font_weight="600")


def _name(x: float, y: float, words: str) -> str:
    return text(x, y, words, 15, _BLUE, font_family=_MONO, font_weight="600")


def _outcome(x: float, y: float, words: str, colour: str) -> str:
    return text(x, y, words, 14, colour, text_anchor="end", font_weight="600")


def _shade(x: float, y: float, wide: float, high: float) -> str:
    place = f'x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}"'
    return f'<rect {place} rx="10" fill="{_SHADE}" stroke="{LINE}"/>'


def _box(x: float, y: float, wide: float, high: float, colour: str, dashed: bool = False) -> str:
    place = f'x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}"'
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    style = f'rx="7" fill="{PAPER}" stroke="{colour}" stroke-width="1.5"{dash}'
    return f"<rect {place} {style}/>"


def _arrow(x1: float, y1: float, x2: float, y2: float) -> list[str]:
    style = f'stroke="{GREY}" stroke-width="1.5" marker-end="url(#tip)"'
    return [f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" {style}/>']

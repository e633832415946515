"""Names of classes beside YOLO labels: a text file with a name in each line, or a data.yaml.

Only the part of YAML in which `names` is usually written is read: a list or a dictionary, in
brackets or line by line.
"""

import json
import re
from pathlib import Path

from lossexport.boxes.boxset import check_count, fail
from lossexport.errors import LossexportError

MAX_CLASS = 99_999

_KEY = re.compile(r"""(names|'names'|"names")\s*:(?=\s|$)(.*)""")
_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'"""
_TOKEN = re.compile(
    rf"""\s*(?:({_QUOTED}|[^\s\[\]{{}},:"'](?:[^\[\]{{}},:]|:(?!\s))*)|([\]}},:]))\s*"""
)
"""Within brackets: a scalar, or a mark between scalars."""
_SCALAR = re.compile(rf"""{_QUOTED}|[^\s"'\[\]{{}},&*!|>%@`].*""")
_SHAPES = "a list or a dictionary of names is expected, as [cat, dog] or 0: cat in each line"


def listed(path: Path, lines: list[str]) -> dict[int, str]:
    """Names in the lines of a classes.txt or obj.names; a blank line skips a class."""
    check_count(path, "names", len(lines), MAX_CLASS + 1)
    return {index: line.strip() for index, line in enumerate(lines) if line.strip()}


def in_yaml(path: Path, lines: list[str]) -> dict[int, str] | None:
    """Names under the key `names`; None if there is no such key.

    Raises LossexportError if they are in a form that is not read.
    """
    found = [(i, match[2]) for i, line in enumerate(lines) if (match := _KEY.match(line))]
    if not found:
        return None
    if len(found) > 1:
        raise LossexportError(f"{path}: line {found[1][0] + 1}: a second `names`: keep one")
    start, rest = found[0]
    rest = _uncommented(rest).strip()
    if rest[:1] in ("[", "{"):
        pairs = _in_brackets(path, start, "\n".join([rest, *lines[start + 1 :]]))
    elif rest:
        fail(path, f"line {start + 1}, names", rest, _SHAPES)
    else:
        pairs = _line_by_line(path, start, lines)
    names = dict(pairs)
    if len(names) < len(pairs):
        raise LossexportError(f"{path}: names has a number twice")
    return names


def _line_by_line(path: Path, start: int, lines: list[str]) -> list[tuple[int, str]]:
    pairs: list[tuple[int, str]] = []
    for index, line in enumerate(lines[start + 1 :], start + 2):
        text = _uncommented(line).strip()
        item = re.fullmatch(r"-\s+(.*)", text)
        if not text:
            continue
        if line[:1] not in " \t" and not item:
            break
        key, colon, value = text.partition(":")
        if not item and not colon:
            fail(path, f"line {index}", line, _SHAPES)
        name = item[1] if item else value
        pairs.append(_pair(path, index, str(len(pairs)) if item else key, name))
    return pairs


def _in_brackets(path: Path, start: int, text: str) -> list[tuple[int, str]]:
    """Names in [cat, dog] or {0: cat, 1: dog}, which may take several lines."""
    text = "\n".join(_uncommented(line) for line in text.split("\n"))
    close = {"[": "]", "{": "}"}[text[0]]
    pairs: list[tuple[int, str]] = []
    item: list[str] = []
    place, mark = 1, ","
    while mark != close:
        token = _TOKEN.match(text, place)
        if not token:
            fail(path, f"line {start + 1}, names", text[:80], _SHAPES)
        place, scalar, mark = token.end(), token[1], token[2]
        if scalar:
            item.append(scalar)
        elif mark != ":" and item:
            if len(item) != (2 if close == "}" else 1):
                fail(path, f"line {start + 1}, names", ": ".join(item), _SHAPES)
            key = item[0] if close == "}" else str(len(pairs))
            pairs.append(_pair(path, start + 1, key, item[-1]))
            item = []
    return pairs


def _pair(path: Path, line: int, key: str, name: str) -> tuple[int, str]:
    key, name = _unquoted(key.strip()), name.strip()
    if not (key.isascii() and key.isdigit() and len(key) < 6):
        fail(path, f"line {line}, names", key, f"a whole number from 0 to {MAX_CLASS} is expected")
    if not _SCALAR.fullmatch(name):
        fail(path, f"line {line}, name of class {key}", name, "a word, or text in quotes, expected")
    return int(key), _unquoted(name)


def _unquoted(text: str) -> str:
    if text[:1] == "'":
        return text[1:-1].replace("''", "'")
    if text[:1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            return text[1:-1]
    return text


def _uncommented(line: str) -> str:
    """`line` without the comment at its end. A # within quotes or a word begins no comment."""
    quote = ""
    for place, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'" and (place == 0 or line[place - 1] in " \t[{,:"):
            quote = char
        elif char == "#" and (place == 0 or line[place - 1] in " \t"):
            return line[:place]
    return line

"""What a test wants to know of a page, as a parser of HTML sees it."""

import hashlib
import re
from base64 import b64encode
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input", "br", "link", "img", "hr"}
RAW = {"script", "style"}


@dataclass
class Tag:
    """An element, the names of those around it, and the text inside of it."""

    name: str
    attributes: dict[str, str | None]
    inside: tuple[str, ...]
    text: str = ""
    children: list["Tag"] = field(default_factory=list)

    def all(self, name: str) -> list["Tag"]:
        """The elements of a name below this one, in the order of the page."""
        found = []
        for child in self.children:
            found += [child] if name in ("*", child.name) else []
            found += child.all(name)
        return found


class Page(HTMLParser):
    """The elements of a page. Raises AssertionError if one is not closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Tag("", {}, ())
        self._open = [self.root]
        self.feed(text)
        self.close()
        assert len(self._open) == 1, self._open[-1].name

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), attrs
        made = Tag(tag, dict(attrs), tuple(parent.name for parent in self._open))
        self._open[-1].children.append(made)
        if tag not in VOID:
            self._open.append(made)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].name == tag, (tag, self._open[-1].name)
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for tag in self._open:
            tag.text += data

    def all(self, name: str = "*") -> list[Tag]:
        return self.root.all(name)

    def one(self, name: str) -> Tag:
        (tag,) = self.all(name)
        return tag


def sha256(text: str) -> str:
    """A hash as a security policy states it."""
    return "'sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def colours(style: str, media: str = "") -> dict[str, str]:
    """The colour variables of `:root`, outside of media queries or inside of one."""
    start = style.index(media) if media else 0
    block = style[style.index(":root", start) :]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block[: block.index("}")]))


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2, from 1 to 21, of two colours #rrggbb."""
    high, low = sorted(map(_luminance, (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

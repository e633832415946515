"""The pages of `score`, `compare` and `verify`, as far as no browser is needed to judge them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossexport import __version__
from lossexport.reports import charts
from lossexport.reports.document import Column, Outline, document, meter, number, signed
from lossexport.reports.terms import TERMS
from lossexport.scoring import score
from lossexport.scoring.causes.record import shown
from tests.boxes.helpers import coco, found, read_json, truth
from tests.reports.conftest import HOSTILE, Pages
from tests.reports.structure import Page, Tag, colours, contrast, sha256

# One worker makes the pages, for the browser's tests too.
pytestmark = pytest.mark.xdist_group("pages")

NAMES = ("score", "compare", "parity")


@pytest.fixture(scope="module", params=NAMES)
def page(request: pytest.FixtureRequest, pages: Pages) -> Page:
    path: Path = getattr(pages, request.param)
    return Page(path.read_text("utf-8"))


def test_headings_and_landmarks(page: Page) -> None:
    assert page.one("html").attributes == {"lang": "en"}
    levels = [int(tag.name[1]) for tag in page.all() if re.fullmatch(r"h[1-6]", tag.name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(step <= 1 for step in np.diff(levels))
    assert len(levels) > 3
    for name in ("header", "main", "footer", "nav", "h1"):
        assert page.one(name).text.strip()
    first = page.all("a")[0]
    assert first.attributes["href"] == "#main"
    for section in page.all("section"):
        assert section.attributes.keys() & {"aria-label", "aria-labelledby"}


def test_links_lead_to_one_place_of_the_page(page: Page) -> None:
    ids = [tag.attributes["id"] for tag in page.all() if "id" in tag.attributes]
    assert len(set(ids)) == len(ids)
    links = [tag.attributes["href"] or "" for tag in page.all("a")]
    assert {link[0] for link in links} == {"#"}
    assert {link[1:] for link in links} <= set(ids)
    terms = {id for id in ids if id and id.startswith("term-")}
    assert terms
    assert terms <= {link[1:] for link in links}
    labels = {tag.attributes.get("aria-labelledby") for tag in page.all()}
    assert labels - {None} <= set(ids)


def test_tables_have_captions_and_scopes(page: Page) -> None:
    assert page.all("table")
    for table in page.all("table"):
        assert table.children[0].name == "caption"
        assert table.children[0].text
        columns, *rows = table.all("tr")
        assert {head.attributes["scope"] for head in columns.children} == {"col"}
        for row in rows:
            assert len(row.children) == len(columns.children)
            head, *cells = row.children
            assert (head.name, head.attributes["scope"]) == ("th", "row")
            assert {cell.name for cell in cells} == {"td"}
    assert all("scroll" in (tag.attributes["class"] or "") for tag in _around(page, "table"))


def _around(page: Page, name: str) -> list[Tag]:
    return [tag for tag in page.all() if any(child.name == name for child in tag.children)]


def test_security_policy(page: Page) -> None:
    head = page.one("head").children
    policy = head[1].attributes
    assert policy["http-equiv"] == "Content-Security-Policy"
    rules = dict(rule.strip().split(" ", 1) for rule in (policy["content"] or "").split(";"))
    assert rules == {
        "default-src": "'none'",
        "style-src": sha256(page.one("style").text),
        "script-src": sha256(page.one("script").text),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    for tag in page.all():
        assert "style" not in tag.attributes
        assert not any(name.startswith("on") for name in tag.attributes)
    assert not {"img", "link", "iframe", "object", "form", "base"} & {t.name for t in page.all()}


def test_nothing_is_fetched(pages: Pages) -> None:
    for path in pages.all():
        text = path.read_text("utf-8")
        assert not re.search(r"https?:|//\w|url\(|@import|innerHTML|\beval\b", text)
        assert not any("src" in tag.attributes for tag in Page(text).all())


def test_names_stay_texts(pages: Pages) -> None:
    for path in (pages.score, pages.compare):
        page = Page(path.read_text("utf-8"))
        rows = {tag.text for tag in page.all("th") if tag.attributes["scope"] == "row"}
        assert set(HOSTILE) <= rows
        assert len(page.all("script")) == len(page.all("style")) == 1
        assert "<b>pred.json" in page.one("header").text
    listed = {tag.attributes["data-class"] for tag in Page(pages.score.read_text()).all("li")
              if "data-class" in tag.attributes}  # fmt: skip
    assert len(listed & set(HOSTILE)) >= 3
    page = Page(pages.parity.read_text())
    assert {"<i>a.onnx", "box_iou.onnx"} <= {tag.text for tag in page.all("th")}
    assert {"i", "b"} & {tag.name for tag in page.all()} == set()
    title, label = '"><script>', "</text><script>"
    axes = charts.Axes((0, 1), (0, 1), label, label)
    line = charts.Line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "s1", label)
    mark = charts.marker(axes, 0.5, 0.5, label)
    drawing = Page(charts.lines(title, axes, [line], [mark]))
    assert drawing.one("svg").attributes["aria-label"] == title
    assert [tag.text for tag in drawing.all("text")].count(label) == 3


def test_every_category_the_worst_first(pages: Pages) -> None:
    rows = {row["name"]: row for row in pages.summary["categories"]}
    page = Page(pages.score.read_text())
    (table,) = [t for t in page.all("table") if t.children[0].text.startswith("Categories")]
    shown = [head.text for head in table.all("th") if head.attributes["scope"] == "row"]
    assert sorted(shown) == sorted(rows)
    numbers = [rows[name]["AP"] for name in shown]
    measured = [number for number in numbers if number >= 0]
    assert measured == sorted(measured)
    assert len(measured) > 20
    assert set(numbers[len(measured) :]) == {-1}
    (sorted_by,) = [head for head in table.all("th") if "aria-sort" in head.attributes]
    assert sorted_by.text == "AP"
    page = Page(pages.compare.read_text())
    (table,) = [t for t in page.all("table") if t.children[0].text.startswith("Categories")]
    cells = [[cell.text for cell in row.all("td")] for row in table.all("tr")[1:]]
    changed = [int(lost) + int(new) for *_, lost, new, _, _, _ in cells]
    assert changed == sorted(changed, reverse=True)
    assert len(changed) > 20


def test_without_the_script_all_shows(pages: Pages) -> None:
    page = Page(pages.score.read_text())
    hidden = [tag for tag in page.all() if "hidden" in tag.attributes]
    assert [tag.attributes["class"] for tag in hidden] == ["card filters"]
    assert not page.all("button")
    assert all(tag.attributes["tabindex"] == "0" for tag in _around(page, "table"))


def test_parity_leads_with_failures(pages: Pages) -> None:
    page = Page(pages.parity.read_text())
    rows = [[c.text.strip() for c in row.children] for row in page.all("table")[0].all("tr")[1:]]
    assert [row[4] for row in rows] == ["beyond"] * 3 + ["40 %"] * 2
    assert [row[2] for row in rows] == ["failed"] * 3 + ["passed"] * 2
    assert rows[-1][7:] == ["1e-07", "2e-07", "1.5", "> 2^23", "ordinary:N=7:0"]
    assert ["rtx", "not run here", "no <b>driver</b>", "box_iou.onnx, <i>a.onnx"] in [
        [cell.text.strip() for cell in row.children] for row in page.all("table")[1].all("tr")
    ]


def test_footer(page: Page) -> None:
    text = " ".join(page.one("footer").text.split())
    assert re.search(r"Made \d{4}-\d\d-\d\d \d\d:\d\d UTC by", text)
    assert f"lossexport {__version__}, numpy {np.__version__}, Python 3" in text
    assert re.search(r"(native|ort|ort-cpu) \d", text)


TEXTS = [
    *(("ink", ground) for ground in ("page", "card", "accent-soft")),
    *(("soft", ground) for ground in ("page", "card", "grid", "accent-soft")),
    *(("faint", ground) for ground in ("page", "card")),
    *(("accent", ground) for ground in ("page", "card", "accent-soft")),
    ("good", "good-soft"), ("bad", "bad-soft"), ("light", "dark"),
]  # fmt: skip
SHAPES = [
    *((line, "card") for line in ("s1", "s2", "s3", "s4", "s5", "mid", "bar", "edge")),
    *(("mid", ground) for ground in ("band",)),
    ("bar", "band"), ("one", "dark"), ("two", "dark"), ("accent", "page"), ("bar", "grid"),
]  # fmt: skip


@pytest.mark.parametrize("media", ["", "@media screen and (prefers-color-scheme: dark)"])
def test_contrast(media: str, pages: Pages) -> None:
    """WCAG AA: 4.5 of texts, 3 of lines, bars, frames and the focus."""
    style = Page(pages.parity.read_text()).one("style").text
    shown = colours(style) | colours(style, media)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)  # published
    found = {pair: contrast(*(shown[name] for name in pair)) for pair in TEXTS + SHAPES}
    assert {pair: value for pair, value in found.items() if pair in TEXTS and value < 4.5} == {}
    assert {pair: value for pair, value in found.items() if pair in SHAPES and value < 3} == {}


def test_print_shows_everything_in_light(pages: Pages) -> None:
    style = Page(pages.score.read_text()).one("style").text
    assert "@media (prefers-color-scheme" not in style  # only screens are ever dark
    paper = style[style.index("@media print") :]
    assert ".scroll { overflow: visible; max-height: none; border: 0; }" in paper
    assert "color-scheme: light" in paper
    assert "table-header-group" in paper


def test_lines_differ_without_colour() -> None:
    style = Page(document("parity.html.j2", **EMPTY)).one("style").text
    dashes = [
        re.search(rf"svg \.{name} {{([^}}]*)}}", style)
        for name in ("s1", "s2", "s3", "s4", "s5", "mid")
    ]
    patterns = [re.sub(r"stroke: [^;]*;", "", found[1]) for found in dashes if found]
    assert len(set(patterns)) == 6
    points = [re.findall(r'class="point .*? d="(.*?)"', charts.key(f"s{n}")) for n in range(1, 6)]
    assert len({tuple(shape) for shape in points}) == 5
    x = np.linspace(0, 1, 50)
    axes = charts.Axes((0, 1), (0, 1), "x", "y")
    drawing = charts.lines("t", axes, [charts.Line(x, x, "s1"), charts.Line(x, x, "s2")])
    at = re.findall(r'class="point (s\d)" transform="translate\((\S+) ', drawing)
    assert [style for style, _ in at] == ["s1"] * 6 + ["s2"] * 6
    assert len({place for _, place in at}) == 12  # on one line, yet none hides another


EMPTY: dict[str, Any] = {
    "passed": True, "verdict": "", "heads": [], "results": [], "not_run": [], "tolerances": [],
    "notes_found": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (Column("", "name"), "a"),
        (Column("", "part", "number", 2), "0.12"),
        (Column("", "none", "number"), "\N{EN DASH}"),
        (Column("", "undefined", "number"), "\N{EN DASH}"),
        (Column("", "part", "percent", 1), "12.3 %"),
        (Column("", "none", "percent"), "beyond"),
        (Column("", "many", "count"), "12,345"),
        (Column("", "many", "value", 4), "12,345"),
        (Column("", "part", "value", 4), "0.1230"),
        (Column("", "less", "signed"), "\N{MINUS SIGN}0.250"),
        (Column("", ("part", "half"), "range"), "0.123 to 0.500"),
    ],
)
def test_cells(column: Column, text: str) -> None:
    row = {"name": "a", "part": 0.123, "half": 0.5, "none": None, "undefined": -1, "many": 12345,
           "less": -0.25}  # fmt: skip
    assert column.text(row) == text
    assert column.numeric == (column.form != "text")


def test_meters() -> None:
    assert meter((0.25, 0.5)) == (25, 50)
    assert meter((-1, 2.0)) == (0, 100)
    assert meter(None) == (0, 0)
    assert meter(1) == (100, 0)


def test_outline() -> None:
    outline = Outline()
    assert [outline.section(title) for title in ("A b!", "A b", "?")] == ["a-b", "a-b-2", "section"]
    assert outline.term("IoU") == "term-iou"
    assert outline.terms == [("term-iou", "IoU", TERMS["IoU"])]
    with pytest.raises(KeyError):
        outline.term("IoUU")


def test_one_box(tmp_path: Path) -> None:
    """One of everything: no plural, no line of the middle in a legend, no table without a word."""
    read_json(tmp_path, [found(1, 1, 0.5, 0, 0, 9, 9)], coco([truth(1, 1, 0, 0, 9, 9)], images=[1]))
    score(tmp_path / "pred.json", tmp_path / "ref.json", explain=True, out=tmp_path / "out")
    page = Page((tmp_path / "out/report.html").read_text("utf-8"))
    chips = [tag.text for tag in page.all("li") if "b" in [child.name for child in tag.children]]
    assert chips[1:4] == ["1 image", "1 prediction", "1 reference"]
    assert "Box quality of 1 matched pair" in [tag.text for tag in page.all("h2")]
    drawn = {tag.all("h3")[0].text: tag for tag in page.all("figure")}
    assert "median IoU" not in drawn["IoU against score"].text
    empty = [tag for tag in page.all("table") if not tag.all("tbody")[0].children]
    assert empty
    assert page.root.text.count("None.") == len(empty)
    titles = [head.text for head in page.all("th") if head.attributes["scope"] == "col"]
    assert all(title[0].isupper() for title in titles)


@pytest.mark.parametrize("form", [number, signed, shown])
def test_no_zero_has_a_sign(form: Callable[[float], str]) -> None:
    assert form(-0.0004) == form(-0.0) == "0.000"

"""The pages in a real browser: axe-core, narrow windows, the keyboard, the filters, print."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reports.browser import AXE, Browser, browser, find_axe, find_browser
from tests.reports.conftest import Pages

PROGRAM = find_browser()
SCRIPT = find_axe()
WIDTHS = (1440, 900, 390)
NAMES = ("score", "compare", "parity")
STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="no chromium: apt-get install chromium"),
    pytest.mark.xdist_group("pages"),
]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert PROGRAM
    with browser(PROGRAM, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def violations(tab: Browser, script: str) -> list[str]:
    tab.run(script)
    found = tab.run(
        f"axe.run({{runOnly: {json.dumps(STANDARD)}}}).then((result) => result.violations.map("
        "(rule) => `${rule.id}: ${rule.nodes.map((node) => node.html).slice(0, 3)}`))"
    )
    assert isinstance(found, list)
    return found


@pytest.mark.skipif(
    SCRIPT is None, reason=f"no axe-core: npm install axe-core, or {AXE}=axe.min.js"
)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(name: str, scheme: str, pages: Pages, tab: Browser) -> None:
    assert SCRIPT
    script = SCRIPT.read_text("utf-8")
    page: Path = getattr(pages, name)
    for width in WIDTHS:
        tab.open(page, width, scheme)
        dark = tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(15, 18, 23)"
        assert dark == (scheme == "dark")
        assert violations(tab, script) == []
        # Nothing is wider than the window: tables scroll within their box.
        assert tab.run("document.documentElement.scrollWidth") == width
    # It would find faults of these kinds.
    tab.run("document.documentElement.removeAttribute('lang')")
    tab.run("document.querySelector('.sub').style.color = 'rgba(128, 128, 128, .5)'")
    assert [rule.split(":")[0] for rule in violations(tab, script)] == [
        "color-contrast",
        "html-has-lang",
    ]


def press(tab: Browser, key: str, code: int, text: str = "") -> None:
    for kind in ("keyDown", "keyUp"):
        tab(
            "Input.dispatchKeyEvent",
            type=kind,
            key=key,
            code=key,
            windowsVirtualKeyCode=code,
            text=text if kind == "keyDown" else "",
        )


def column(tab: Browser, place: int) -> Any:
    return tab.run(
        "[...document.querySelector('table.sortable').tBodies[0].rows].filter((row) => !row.hidden)"
        f".map((row) => row.cells[{place}].textContent.trim())"
    )


def test_keyboard(pages: Pages, tab: Browser) -> None:
    tab.open(pages.score, 900)
    press(tab, "Tab", 9)
    assert tab.run("document.activeElement.textContent") == "Skip to the content"
    assert tab.run("document.activeElement.getBoundingClientRect().top") >= 0
    press(tab, "Enter", 13, "\r")
    assert tab.run("document.activeElement.id") == "main"
    seen = []
    while (label := tab.run("document.activeElement.ariaLabel")) != "Sort by AP":
        press(tab, "Tab", 9)
        seen.append(label)
        width, style = tab.run(
            "((style) => [style.outlineWidth, style.outlineStyle])"
            "(getComputedStyle(document.activeElement))"
        )
        assert (width, style) == ("3px", "solid")
        assert len(seen) < 40
    worst = [float(text) for text in column(tab, 2) if text[0].isdigit()]
    assert worst == sorted(worst)
    press(tab, "Enter", 13, "\r")
    head = "document.activeElement.closest('th').ariaSort"
    assert tab.run(head) == "descending"
    best = [float(text) for text in column(tab, 2) if text[0].isdigit()]
    assert best == worst[::-1]
    assert column(tab, 2)[len(best) :] == ["\N{EN DASH}"] * (len(column(tab, 2)) - len(best))
    press(tab, "Enter", 13, "\r")
    assert tab.run(head) == "ascending"
    assert [float(text) for text in column(tab, 2) if text[0].isdigit()] == worst


def enter(tab: Browser, selector: str, value: str) -> None:
    tab.run(
        f"((field) => {{ field.value = {json.dumps(value)};"
        "field.dispatchEvent(new Event('input', {bubbles: true})); })"
        f"(document.querySelector({json.dumps(selector)}))"
    )


def test_rows_are_filtered(pages: Pages, tab: Browser) -> None:
    tab.open(pages.score)
    everything = column(tab, 0)
    assert len(everything) == 30
    enter(tab, "input[type=search]", "KIND 2")
    assert sorted(column(tab, 0)) == sorted(name for name in everything if "kind 2" in name)
    shown = tab.run("document.querySelector('.filter output').textContent")
    assert shown == f"{len(column(tab, 0))} of 30 rows"
    enter(tab, "input[type=search]", "")
    assert column(tab, 0) == everything


def faults(tab: Browser) -> Any:
    """Kind, class, score and number of the faults that are seen, and the numbers on the boxes."""
    return tab.run(
        "[[...document.querySelectorAll('.scene:not([hidden]) .faults li:not([hidden])')]"
        ".map((item) => [item.dataset.kind, item.dataset.class, item.dataset.score ?? null, "
        "String(item.value)]), "
        "[...document.querySelectorAll('.scene:not([hidden]) g:not(.off) text')]"
        ".map((text) => text.textContent)]"
    )


@pytest.mark.parametrize(
    ("page", "kinds"),
    [("score", ("missed", "false", "badly placed")), ("compare", ("lost", "new", "moved"))],
)
def test_box_browser(page: str, kinds: tuple[str, ...], pages: Pages, tab: Browser) -> None:
    tab.open(getattr(pages, page))
    first = tab.run("document.querySelector('.filters [type=number]').value")
    assert (float(first) if first else None) == (
        pytest.approx(pages.summary["best"]["score"], rel=1e-5) if page == "score" else None
    )
    enter(tab, ".filters [type=number]", "")
    items, numbers = faults(tab)
    assert {kind for kind, *_ in items} == set(kinds)
    assert numbers == [number for *_, number in items]
    everything = items
    least = sorted(float(score) for _, _, score, _ in items if score)[5]
    enter(tab, ".filters [type=number]", str(least))
    items, numbers = faults(tab)
    wanted = [row for row in everything if row[2] is None or float(row[2]) >= least]
    assert 0 < len(wanted) < len(everything)
    assert items == wanted
    assert numbers == [number for *_, number in items]
    name = wanted[0][1]
    enter(tab, ".filters select", name)
    items, _ = faults(tab)
    assert items == [row for row in wanted if row[1] == name]
    tab.run(f"document.querySelector('.filters [value={kinds[0]}]').click()")
    items, _ = faults(tab)
    assert items == [row for row in wanted if row[1] == name and row[0] != kinds[0]]
    images = tab.run("document.querySelectorAll('.scene:not([hidden])').length")
    text = tab.run("document.querySelector('.filters output').textContent")
    word = "box" if len(items) == 1 else "boxes"
    assert text == f"{len(items)} {word} on {images} of 5 images"


def test_the_policy_holds(pages: Pages, tab: Browser) -> None:
    """No other script, style or picture takes part, even if it gets into the page."""
    tab.open(pages.score)
    tab.run("(s => { s.textContent = 'window.taken = 1'; document.body.append(s) })"
            "(document.createElement('script'))")  # fmt: skip
    tab.run("(d => { d.innerHTML = '<b onclick=\"taken = 2\" style=\"color: red\">b</b>';"
            "document.body.append(d); d.firstChild.click() })"
            "(document.createElement('div'))")  # fmt: skip
    assert tab.run("typeof window.taken") == "undefined"
    assert (
        tab.run("getComputedStyle(document.body.lastChild.firstChild).color") == "rgb(21, 24, 30)"
    )
    blocked = (
        "new Promise((done) => { document.addEventListener('securitypolicyviolation', (event) => "
        "done(event.effectiveDirective)); fetch('http://127.0.0.1:9/').catch(() => {}) })"
    )
    assert tab.run(blocked) == "connect-src"


def test_print(pages: Pages, tab: Browser, tmp_path: Path) -> None:
    """Light and complete, whatever the screen: no box scrolls, no column is cut."""
    for name in NAMES:
        tab.open(getattr(pages, name), 718, "dark", media="print")  # A4 without its margins
        assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        cut = (
            "[...document.querySelectorAll('.scroll')].filter((box) => "
            "box.scrollHeight > box.clientHeight + 1 || box.scrollWidth > box.clientWidth + 1)"
            ".map((box) => [box.ariaLabel, box.scrollWidth, box.clientWidth])"
        )
        assert tab.run(cut) == []
        assert tab.run("[...document.querySelectorAll('.legend')].every((l) => l.offsetHeight > 0)")
    tab.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")

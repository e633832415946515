"""Write docs/ops (a page and a plot for each op), the README's picture and list, the stubs.

    python docs/generate.py            # or: make docs
    python docs/generate.py --check    # exits with 1 where a file is out of date

Everything comes from the catalogue and from what the ops compute, and the tables of layouts in
compare.md and detectors.md from the declarations of these; that of recipes in attach.md from the
recipes; and what monitor.md says was measured from the results of benchmarks/monitor.py.
"""

import argparse
import math
import re
import sys
from pathlib import Path

import measured
import picture
import stubs
import svg
import sweeps
from lossexport import op_page
from lossexport.catalog import BUILTIN
from lossexport.catalog.spec import Op
from lossexport.detectors import LAYOUTS, Keys
from lossexport.files import write_bytes
from lossexport.op_page import signature, table, wrapped
from lossexport.wiring import recipe

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
PACKAGE = DOCS.parent / "lossexport"
START, END = "<!-- ops: written by docs/generate.py -->", "<!-- end of ops -->"
LAYOUTS_START = "<!-- layouts: written by docs/generate.py -->"
LAYOUTS_END = "<!-- end of layouts -->"
RECIPES_START = "<!-- recipes: written by docs/generate.py -->"
RECIPES_END = "<!-- end of recipes -->"
MEASURED_START = "<!-- measured: written by docs/generate.py -->"
MEASURED_END = "<!-- end of measured -->"
EDITED = "<!-- Written by docs/generate.py from the catalogue: change it there. -->"
KINDS = {
    "metric": "Scores",
    "loss": "Losses",
    "transform": "Box transforms",
    "suppression": "Suppression",
}


def page(op: Op) -> str:
    """The page of an op as it lies in docs/ops."""
    plotted = op.kind == "loss" and op.name in sweeps.SWEEPS
    plot = f"![{op.name}: loss and gradient](plots/{op.name}.svg)" if plotted else ""
    return f"{EDITED}\n\n{op_page.page(op, plot, docs='..')}"


def index() -> str:
    parts = [EDITED, f"# The {len(BUILTIN)} ops"]
    for kind, title in KINDS.items():
        ops = [op for op in BUILTIN.values() if op.kind == kind]
        if not ops:
            continue
        rows = (
            (
                f"[{op.name}]({op.name}.md)",
                f"`{signature(op)}`",
                ", ".join(f"`{name}`" for name in op.gradient),
                op.summary,
            )
            for op in ops
        )
        parts += [f"## {title}", table(("op", "signature", "gradient", ""), rows)]
    return "\n\n".join(parts) + "\n"


def listed(readme: str) -> str:
    """The README with its list of ops written anew."""
    lines = [""]
    for kind, title in KINDS.items():
        links = [f"[`{o.name}`](docs/ops/{o.name}.md)" for o in BUILTIN.values() if o.kind == kind]
        if links:
            lines.append(wrapped(f"- **{title}**: {', '.join(links)}", "  "))
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return "\n".join((before + START, *lines, "", END + after))


def between(text: str, start: str, end: str, inner: str) -> str:
    """`text` with `inner` between two lines."""
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n\n{inner}\n\n{end}{after}"


def layouts(page: Path, *, keys: bool) -> str:
    """A page with its table of layouts written anew: their keys, or their models."""
    common = set(Keys.__struct_fields__)
    rows = []
    for name in LAYOUTS.builtin:
        layout = LAYOUTS.find(name)
        own = [f"`{key}`" for key in layout.keys.__struct_fields__ if key not in common]
        shown = (", ".join(own), layout.title)
        rows.append(
            (f"`{name}`", *(shown if keys else (layout.models, layout.title, layout.found)))
        )
    head = (
        ("kind", "keys", "tensors") if keys else ("layout", "models", "outputs", "how it is found")
    )
    text = page.read_text("utf-8")
    return between(text, LAYOUTS_START, LAYOUTS_END, table(head, rows))


def recipes(page: Path) -> str:
    """A page with its table of the recipes of `attach` written anew."""
    rows = []
    for name, path in recipe.shipped().items():
        found = recipe.load(path)
        rows.append((f"`{name}`", ", ".join(f"`{key}`" for key in found.layouts), found.summary))
    text = page.read_text("utf-8")
    return between(text, RECIPES_START, RECIPES_END, table(("recipe", "layouts", "adds"), rows))


def generate() -> dict[Path, str]:
    """Every generated file with its text."""
    pages = {
        README: listed(README.read_text("utf-8")),
        DOCS / "picture.svg": picture.draw(),
        DOCS / "ops/README.md": index(),
        DOCS / "attach.md": recipes(DOCS / "attach.md"),
        DOCS / "compare.md": layouts(DOCS / "compare.md", keys=True),
        DOCS / "detectors.md": layouts(DOCS / "detectors.md", keys=False),
        DOCS / "monitor.md": between(
            (DOCS / "monitor.md").read_text("utf-8"),
            MEASURED_START,
            MEASURED_END,
            measured.tables(),
        ),
        PACKAGE / "nn.pyi": stubs.modules(),
        PACKAGE / "ops/__init__.pyi": stubs.functions(),
    }
    for op in BUILTIN.values():
        pages[DOCS / f"ops/{op.name}.md"] = page(op)
        if op.kind == "loss" and op.name in sweeps.SWEEPS:
            x, panels = sweeps.curves(op)
            label = sweeps.SWEEPS[op.name].label
            pages[DOCS / f"ops/plots/{op.name}.svg"] = svg.plot(op.name, label, x, panels)
    return pages


def current(path: Path, text: str) -> bool:
    """Whether a file is as generated, except for digits that differ between processors."""
    if not path.exists():
        return False
    old, number = path.read_text("utf-8"), r"-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
    if re.sub(number, "", old).split() != re.sub(number, "", text).split():
        return False
    slack = 0.15 if path.suffix == ".svg" else 1e-7  # pixels; elsewhere the last digits
    pairs = zip(re.findall(number, old), re.findall(number, text), strict=False)
    return all(math.isclose(float(a), float(b), rel_tol=1e-3, abs_tol=slack) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    pages = generate()
    left_over = sorted({*(DOCS / "ops").rglob("*.*")} - set(pages))
    changed = [path for path, text in pages.items() if not current(path, text)]
    if not check:
        for path in changed:
            write_bytes(path, pages[path].encode())
        for path in left_over:
            path.unlink()
    for path in (*changed, *left_over):
        print(
            f"{path.relative_to(DOCS.parent)}: {'out of date' if check else 'brought up to date'}"
        )
    sys.exit(1 if check and (changed or left_over) else 0)


if __name__ == "__main__":
    main()

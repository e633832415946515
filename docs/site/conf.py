"""The site that `make site` makes of the pages: searchable, without a request to other hosts.

Its source is the root of the repository, so that links work as they do on a forge. Formulas become
drawings: most systems have no font from which a browser could set them.
"""

import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator
from ziamath.zmath import Latex

HOME = "README"
# Pages below a page, as the tables of contents that are added to its end: caption -> documents.
CONTENTS = {
    HOME: {
        "Guides": [
            "pytorch",
            "scoring",
            "error_bars",
            "evaluator",
            "monitor",
            "cluster",
            "diagnosis",
            "compare",
            "detectors",
            "attach",
            "deploy",
            "ci",
            "opsets",
            "c",
            "migrating",
            "pycocotools",
            "own_ops",
            "untraceable",
            "testing",
        ],
        "Ops": ["ops/README"],
        "Reference": ["parity", "precision", "plugins", "gpu", "architecture", "glossary"],
        "Project": [
            "stability",
            "/*",
            "/benchmarks/README",
            "/examples/README",
            "/examples/*/README",
        ],
    },
    "docs/ops/README": {"": ["ops/*"]},
    "benchmarks/README": {"": ["/benchmarks/results/**"]},
}

project = author = "lossexport"
extensions = ["myst_parser"]
root_doc = HOME
include_patterns = ["*.md", "docs/**.md", "benchmarks/**.md", "examples/**.md"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = project
html_math_renderer = "drawing"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_search_scorer = str(Path(__file__).with_name("search.js"))
html_show_copyright = html_show_sphinx = html_copy_source = False
pygments_style, pygments_dark_style = "friendly", "github-dark"


def add_contents(_: Sphinx, page: str, source: list[str]) -> None:
    for caption, documents in CONTENTS.get(page, {}).items():
        places = [name if name.startswith("/") else f"/docs/{name}" for name in documents]
        options = [":hidden:", ":glob:", *([f":caption: {caption}"] if caption else [])]
        source[0] += "\n".join(["", "```{toctree}", *options, "", *places, "```", ""])


def draw(page: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    formula, inline = node.astext(), isinstance(node, nodes.math)
    found = Latex(formula, size=19, color="currentColor", inline=inline, title=formula)
    tag, place = ("span", f"vertical-align: {found.getyofst()}px") if inline else ("div", "")
    page.body.append(f'<{tag} class="formula" style="{place}">{found.svg()}</{tag}>')
    raise nodes.SkipNode


def make_index(app: Sphinx, error: Exception | None) -> None:
    """Servers look for this name; links and search know the page by its own."""
    if error is None:
        shutil.copy(Path(app.outdir, f"{HOME}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("drawing", (draw, None), (draw, None))
    app.connect("source-read", add_contents)
    app.connect("build-finished", make_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

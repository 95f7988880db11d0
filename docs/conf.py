"""The documentation as a site: ``make docs`` builds it with Sphinx from the Markdown pages of this folder.

Everything a page needs is in the repository and in the environment, so that it builds without a network, and the built
site needs none either. Warnings are errors there: a broken link, an anchor that does not exist, a page of no use.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pygments.lexer import RegexLexer
from pygments.token import Comment, Keyword, Name, Number, Text

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from generated_pages import BLOCKS  # noqa: E402 - it lies beside this file, and no package does

project = "mlip"
author = copyright = "the mlip authors"  # noqa: A001 - Sphinx's name
extensions = ["myst_parser"]
exclude_patterns = ["_*"]
html_theme = "furo"
html_title = "mlip"
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False
templates_path: list[str] = []
highlight_language = "none"  # a block without a language is output
myst_heading_anchors = 4
# no mathematics in pages: Sphinx would show it with a script from a server
# the pages of a release are the same bytes whenever they are built
html_last_updated_fmt = None

# What the side bar shows, in order. A page of this folder that is not named here comes under the last heading, so that
# a new page is found at once and named here when it has its place. "*" takes what else lies in a folder.
NAVIGATION: dict[str, list[str]] = {
    "Tutorials": ["tutorials/first-model", "tutorials/metal-in-lammps", "tutorials/fine-tuning", "tutorials/frontier"],
    "How-to guides": [
        "how-to/data",
        "how-to/train",
        "how-to/evaluate",
        "how-to/compile",
        "lammps",
        "mliap",
        "ase",
        "torch-sim",
        "report",
        "acceleration",
        "import",
        "doctor",
        "stacks",
        "images",
        "spack",
        "sites",
        "sites/*",
        "other-engines",
    ],
    "Reference": [
        "reference/commands",
        "reference/configs",
        "reference/pair-styles",
        "reference/file-formats",
        "model-files",
        "reference/stacks",
        "reference/environment",
        "versions",
    ],
    "Explanation": [
        "explanation/models",
        "explanation/units",
        "explanation/precision",
        "performance",
        "decisions",
    ],
    "When something is wrong, or new": ["troubleshooting", "coming-from-nequip"],
}
FURTHER = "Further pages"


def navigation(pages: set[str]) -> dict[str, list[str]]:
    """Heading -> pages in order, of those that exist; pages nobody named come last.

    Args:
        pages: names of all pages, without suffix.
    """
    left = pages - {"index"}
    shown: dict[str, list[str]] = {}
    for heading, names in NAVIGATION.items():
        explicit = {name for listed in NAVIGATION.values() for name in listed}
        found: list[str] = []
        for name in names:
            folder = name.removesuffix("*")
            matching = [name] if name == folder else sorted(page for page in left - explicit if page.startswith(folder))
            found += [page for page in matching if page in left]
        left -= set(found)
        shown[heading] = found
    return {heading: found for heading, found in {**shown, FURTHER: sorted(left)}.items() if found}


def toctrees(pages: set[str]) -> str:
    """The navigation as hidden tables of contents of the first page."""
    return "\n".join(
        "\n".join(["```{toctree}", ":hidden:", f":caption: {heading}", "", *(f"/{page}" for page in found), "```", ""])
        for heading, found in navigation(pages).items()
    )


def complete(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put what is generated in the place of its marker, ``<!-- generated: NAME -->``, and the like."""
    source[0] = without_links_outside(source[0], HERE / f"{docname}.md")
    if docname == "index":
        source[0] += "\n" + toctrees(set(app.env.found_docs))
    for name, block in BLOCKS.items():
        marker = f"<!-- generated: {name} -->"
        if marker in source[0]:
            source[0] = source[0].replace(marker, block())


def without_links_outside(text: str, page: Path) -> str:
    """Links to files outside of this folder work in the repository; in the site they are words.

    Args:
        text: of a page.
        page: its path. What does not exist keeps its link, about which Sphinx complains.
    """

    def words(match: re.Match[str]) -> str:
        target = (page.parent / match["path"]).resolve()
        return match["words"] if HERE not in target.parents and target.exists() else match[0]

    return re.sub(r"\[(?P<words>[^\]]*)\]\((?P<path>\.\./[^)#\s]*)(#[^)]*)?\)", words, text)


class LammpsLexer(RegexLexer):
    """Colours for LAMMPS' input: comments, commands, variables and numbers."""

    name = "LAMMPS"
    aliases = ("lammps",)
    tokens = {  # noqa: RUF012 - pygments reads it from the class
        "root": [
            (r"#.*$", Comment),
            (r"^[ \t]*[a-z_]+\b", Keyword),
            (r"\$\{\w+\}|\$\w|\b[vcf]_\w+", Name.Variable),
            (r"[-+]?\b\d+(\.\d*)?(e[-+]?\d+)?\b", Number),
            (r"\s+", Text),
            (r"[^\s#$]+|\$", Text),
        ]
    }


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.add_lexer("lammps", LammpsLexer)
    app.connect("source-read", complete)

"""The pages of the documentation and the blocks of code in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Languages whose blocks are checked, and those that only show: outputs, and files of no language.
CHECKED = ("sh", "bash", "python", "yaml", "lammps", "json")
SHOWN = ("", "text", "console")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: the file it is in.
        line: of its first line of code.
        language: what the fence says.
        text: the code.
    """

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        """As an editor opens it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """What people read: the pages of the site and the first page of the repository."""
    return [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in some languages; all of them without."""
    found = [block for page in pages() for block in blocks_of(page)]
    return [block for block in found if not languages or block.language in languages]


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found = []
    for token in MarkdownIt("commonmark").parse(page.read_text()):
        if token.type in {"fence", "code_block"} and token.map:
            language = token.info.split()[0] if token.info else ""
            found.append(Block(page, token.map[0] + 1 + (token.type == "fence"), language, token.content))
    return found

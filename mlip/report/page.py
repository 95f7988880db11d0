"""A page of HTML that needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
h1 {{ font-size: 1.5rem; margin-bottom: 0; }} h2 {{ font-size: 1.15rem; margin-top: 2.2rem; }}
h3 {{ font-size: 1rem; margin-bottom: .3rem; }}
p.lead {{ margin-top: .2rem; color: #555; }} p.note {{ color: #555; font-size: .9rem; max-width: 48rem; }}
div.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; }} th, td {{ padding: .15rem .8rem; border-bottom: 1px solid #ddd; }}
th {{ text-align: left; font-weight: 600; }}
thead th {{ text-align: right; }} thead th:first-child {{ text-align: left; }}
td {{ text-align: right; font-variant-numeric: tabular-nums; }} td.text {{ text-align: left; }}
img {{ max-width: 100%; height: auto; }}
pre {{ background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: .8rem; }}
summary {{ cursor: pointer; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{body}
</body>
</html>
"""

_TEXT = '<td class="text">'
_CSS_DPI = 96  # pixels per inch on a page


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: plain text.
        content: HTML, as the functions below make it.
        note: plain text below the title.
    """

    title: str
    content: str
    note: str = ""

    def html(self) -> str:
        """The part."""
        note = f'<p class="note">{html.escape(self.note)}</p>\n' if self.note else ""
        return f"<h2>{html.escape(self.title)}</h2>\n{note}{self.content}"


def page(title: str, lead: str, sections: Iterable[Section]) -> str:
    """The whole page.

    Args:
        title: plain text.
        lead: plain text below it.
        sections: in order.
    """
    body = "\n".join(section.html() for section in sections)
    return _PAGE.format(title=html.escape(title), lead=html.escape(lead), body=body)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: Sequence[int] = ()) -> str:
    """A table of plain text; the first column names the rows.

    Args:
        head: of the columns; none for a table without a head.
        rows: cells.
        text_columns: which are text, not numbers.
    """
    lines = []
    for first, *rest in rows:
        cells = "".join(
            f"{_TEXT if column in text_columns else '<td>'}{html.escape(cell)}</td>"
            for column, cell in enumerate(rest, start=1)
        )
        lines.append(f"<tr><th>{html.escape(first)}</th>{cells}</tr>")
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    top = f"<thead><tr>{names}</tr></thead>\n" if head else ""
    return f'<div class="wide"><table>\n{top}<tbody>\n' + "\n".join(lines) + "\n</tbody>\n</table></div>"


def image(path: Path, words: str, dpi: float = 150.0) -> str:
    """A PNG, within the page, its text as large as that of the page.

    Args:
        path: of the file.
        words: what it shows, for those who cannot see it.
        dpi: pixels per inch it was drawn with.
    """
    content = path.read_bytes()
    pixels = int.from_bytes(content[16:20], "big")  # the width, in a PNG's header
    encoded = base64.b64encode(content).decode()
    width = round(pixels * _CSS_DPI / dpi)
    return f'<img alt="{html.escape(words)}" width="{width}" src="data:image/png;base64,{encoded}">'


def listing(entries: Mapping[str, str]) -> str:
    """Names and what they are."""
    return table([], list(entries.items()), text_columns=[1])


def folded(title: str, text: str) -> str:
    """Long text that opens on a click."""
    return f"<details>\n<summary>{html.escape(title)}</summary>\n<pre>{html.escape(text)}</pre>\n</details>"

"""The site as a whole: what is checked and what only shown, the troubleshooting page, and that it builds."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from docs import conf
from docs.generated_pages import BLOCKS
from tests.docs.pages import CHECKED, DOCS, ROOT, SHOWN, blocks, pages

TROUBLES = [*map(str, range(1, 11)), "10b", *map(str, range(11, 25))]
SHOWN_PER_CHECKED = 0.5


def test_every_block_says_what_it_is() -> None:
    unknown = [f"{block}: {block.language}" for block in blocks() if block.language not in (*CHECKED, *SHOWN)]
    assert not unknown, f"known are {', '.join([*CHECKED, *filter(None, SHOWN)])}"


def test_most_blocks_are_checked() -> None:
    counts = {language: len(blocks(language)) for language in (*CHECKED, *SHOWN)}
    print(", ".join(f"{number} {name or 'plain'}" for name, number in counts.items()))  # with -s, or when it fails
    checked, shown = (sum(counts[name] for name in names) for names in (CHECKED, SHOWN))
    assert shown <= SHOWN_PER_CHECKED * checked


def test_every_page_is_found_from_the_side_bar() -> None:
    names = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")}
    shown = conf.navigation(names)
    assert {page for found in shown.values() for page in found} == names - {"index"}


def test_a_page_without_a_place_comes_last_and_missing_ones_are_left_out() -> None:
    shown = conf.navigation({"index", "lammps", "sites/a", "sites/b", "new"})
    assert shown == {"How-to guides": ["lammps", "sites/a", "sites/b"], conf.FURTHER: ["new"]}


def test_links_that_leave_the_site_become_words() -> None:
    text = "[build](../lammps/README.md) [here](lammps.md#ranks) [gone](../no-such-file.md)"
    expected = "build [here](lammps.md#ranks) [gone](../no-such-file.md)"
    assert conf.without_links_outside(text, DOCS / "index.md") == expected


def test_everything_generated_has_its_place_and_content() -> None:
    markers = re.findall(r"<!-- generated: ([\w-]+) -->", "".join(page.read_text() for page in pages()))
    assert sorted(markers) == sorted(BLOCKS)


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_generated_parts_are_tables_or_help(name: str) -> None:
    text = BLOCKS[name]()
    assert text.count("\n|") > 1 or text.count("usage: ") > 5


def entries() -> dict[str, str]:
    """Number -> text of the entries of the troubleshooting page."""
    text = (DOCS / "troubleshooting.md").read_text()
    parts = re.split(r"(?m)^## (\d+b?)\. ", text)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_trouble_has_an_entry() -> None:
    assert list(entries()) == TROUBLES


@pytest.mark.parametrize("number", TROUBLES)
def test_an_entry_says_symptom_cause_cure_and_guard(number: str) -> None:
    text = entries()[number]
    assert re.findall(r"(?m)^\*\*(\w+(?: by)?)\.\*\*", text) == ["Symptom", "Cause", "Cure", "Guarded by"]
    guards = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert guards
    for path, name in guards:
        assert name in names_of_tests(ROOT / path), f"{path} has no {name}"


@cache
def names_of_tests(path: Path) -> set[str]:
    """Names of the tests in a file."""
    if not path.is_file():
        return set()
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_variable_of_the_environment_that_is_read_is_documented() -> None:
    sources = [path for folder in ("mlip", "lammps/src") for path in (ROOT / folder).rglob("*.*")]
    text = "".join(path.read_text() for path in sources if path.suffix in {".py", ".cpp", ".h"})
    read = re.findall(r'(?:environ\.get\(|environ\[|getenv\(|VARIABLE = )"(_?(?:MLIP|NEQUIP)_\w+)"', text)
    page = (DOCS / "reference/environment.md").read_text()
    assert sorted({name for name in read if f"`{name}`" not in page}) == []


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="Sphinx is not installed")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-b", "html", "-d", tmp_path / "trees"]
    done = subprocess.run([*command, DOCS, tmp_path / "site"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        elsewhere = re.findall(
            r'<(?:script|img|iframe)[^>]* src="(?:https?:)?//|<link[^>]* href="(?:https?:)?//', page.read_text()
        )
        assert not elsewhere, f"{page.name} needs a network"

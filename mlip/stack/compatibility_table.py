"""recipes/compatibility.yaml, read and checked: a rule that names what no stack has would never speak up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from string import Formatter
from typing import Any

from mlip.stack import places, schema
from mlip.stack.errors import StackError
from mlip.stack.schema import Anything, Document, Each, KeyPath, Keys, MapOf, Text
from mlip.stack.shared_recipes import DATE, SENTENCE

IMPOSSIBLE, UNTESTED = "impossible", "untested"
# What tables compare, as people call it.
LABELS = {
    "cpe": "CPE",
    "cray_mpich": "cray-mpich",
    "cuda": "CUDA",
    "mpi": "mpich",
    "python": "Python",
    "rocm": "ROCm",
    "torch": "torch",
    "torch_rocm": "ROCm",
}
# What mlip/stack/compatibility.py takes from a stack; the table `facts` adds to it.
OF_A_STACK = (
    *("cpe", "cray_mpich", "cuda", "cuda_major", "device", "gpu_arch", "gpu_count", "gpu_number", "kokkos"),
    *("kokkos_gpu", "lammps", "lammps_sources", "mpi", "mpi_package", "python", "python_packages", "rocm", "suite"),
    *("toolkit", "toolkit_image", "toolkit_kind", "torch", "torch_build", "torch_kind", "torch_rocm"),
)
CITED = {"source": SENTENCE, "date": DATE}
LEVEL = Text(choices=(IMPOSSIBLE, UNTESTED))
WORD = Text(r"[a-z0-9_-]+", "a-name")
SCHEMA = Keys(
    required={
        "facts": Each(Keys(required={**CITED, "key": WORD, "rows": Each(MapOf(SENTENCE))})),
        "tables": Each(
            Keys(
                required={
                    **CITED,
                    "id": WORD,
                    "about": SENTENCE,
                    "key": WORD,
                    "otherwise": LEVEL,
                    "rows": Each(MapOf(Anything())),
                }
            )
        ),
        "rules": Each(
            Keys(
                required={**CITED, "id": WORD, "level": LEVEL, "because": SENTENCE},
                optional={"if": MapOf(SENTENCE), "then": MapOf(SENTENCE), "instead": SENTENCE},
            )
        ),
    }
)
COMPARISON = r"[<>]=?(\d\S*|\{\w+\})"


def read(root: Path | None = None) -> dict[str, Any]:
    """The tables and rules.

    Raises:
        StackError: the file is not valid, or names something that no stack has; with line and key.
    """
    document = schema.read((root or places.checkout()) / "recipes" / "compatibility.yaml")
    SCHEMA.check(document.value, (), document.place)
    facts = set(OF_A_STACK)
    for number, table in enumerate(document.value["facts"]):
        _check_rows(document, table, ("facts", str(number)))
        facts |= {name for row in table["rows"] for name in row}
    for number, table in enumerate(document.value["tables"]):
        _check_rows(document, table, ("tables", str(number)))
        _check_cells(document, table, ("tables", str(number)))
    for number, rule in enumerate(document.value["rules"]):
        for path, name in _named(rule, ("rules", str(number)), document):
            _known(document, path, name, facts)
    return document.value


def _known(document: Document, path: KeyPath, name: str, known: set[str]) -> None:
    """Refuse a name that is not known."""
    if name in known:
        return
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(sorted(known))}"
    raise StackError(f"{document.place(path)}: {schema.dotted(path)}: no stack has a '{name}': {hint}")


def _condition(document: Document, path: KeyPath, text: str) -> None:
    """Refuse a condition that `compatibility.fits` cannot read."""
    if text[:1] in {"<", ">"} and not all(re.fullmatch(COMPARISON, word) for word in text.split()):
        words = f"{document.place(path)}: {schema.dotted(path)} is '{text}'"
        raise StackError(f"{words}, but must look like '>=5 <6': a number after each sign, and a space between two")


def _check_rows(document: Document, table: Mapping[str, Any], path: KeyPath) -> None:
    """Refuse rows without the table's key."""
    for number, row in enumerate(table["rows"]):
        inner = (*path, "rows", str(number))
        if table["key"] not in row:
            raise StackError(f"{document.place(inner)}: '{schema.dotted((*inner, table['key']))}' is missing")
        inner = (*inner, table["key"])
        Text().check(row[table["key"]], inner, document.place)
        _condition(document, inner, row[table["key"]])


def _check_cells(document: Document, table: Mapping[str, Any], path: KeyPath) -> None:
    """Refuse columns and cells that are not what tables have."""
    lists = schema.ListOf(Text())
    cell = Keys(optional={"official": lists, "tested": lists})
    for number, row in enumerate(table["rows"]):
        for column, value in row.items():
            inner = (*path, "rows", str(number), column)
            _known(document, inner, column, set(LABELS))
            if column != table["key"]:
                (cell if isinstance(value, dict) else lists).check(value, inner, document.place)
                parts = value.values() if isinstance(value, dict) else [value]
                for condition in (item for part in parts for item in part):
                    _condition(document, inner, condition)


def _named(rule: Mapping[str, Any], path: KeyPath, document: Document) -> Iterator[tuple[KeyPath, str]]:
    """What a rule names: the keys of its conditions, and what stands in braces."""
    texts: dict[KeyPath, str] = {(*path, key): rule[key] for key in ("because", "instead") if key in rule}
    for part in ("if", "then"):
        for name, text in rule.get(part, {}).items():
            inner = (*path, part, name)
            yield inner, name
            texts[inner] = text
            _condition(document, inner, text)
    for inner, text in texts.items():
        try:
            fields = [field for _, field, _, _ in Formatter().parse(text) if field is not None]
        except ValueError as error:
            raise StackError(
                f"{document.place(inner)}: {schema.dotted(inner)}: braces are for names ({error})"
            ) from None
        for field in fields:
            yield inner, field

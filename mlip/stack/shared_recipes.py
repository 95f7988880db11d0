"""What all stacks share: recipes/lammps.yaml, recipes/engines.yaml and recipes/published.yaml, each with its schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlip.stack import places, schema
from mlip.stack.errors import StackError
from mlip.stack.schema import Document, Each, Form, Keys, ListOf, MapOf, Scalar, Text, Whole

VERSION = Text(r"[0-9][0-9A-Za-z.+~:-]*", "2.13.0")
NAME = Text(r"[A-Za-z0-9][A-Za-z0-9.+_-]*", "a name of letters, digits and -")
DATE = Text(r"\d{4}-\d{2}-\d{2}", "2026-11-21")
SENTENCE = Text(r".*\S.*", "a sentence")
SUITE = Text(r"[a-z]+", "trixie")
SHA256 = Text(r"[0-9a-f]{64}", "a sha256: 64 digits 0-9a-f")
FILE = Text(r"[^/\s]+", "a file's name")

SOURCE = Keys(
    required={"version": VERSION, "sha256": SHA256, "strip": Whole()},
    optional={"url": Text(r"https?://\S+", "an address"), "package": NAME, "file": FILE},
)
LAMMPS = Keys(
    required={
        "sources": MapOf(
            Keys(
                required={"lammps": SOURCE},
                optional={
                    "suite": SUITE,
                    "kokkos": Each(Keys(required={"package": NAME, "version": VERSION, "sha256": SHA256})),
                },
            )
        ),
        "lammps": Keys(
            required={
                "packages": ListOf(NAME),
                "folders": ListOf(Text(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", "a path in LAMMPS' sources")),
                "options": MapOf(Scalar()),
                "kokkos_styles": MapOf(ListOf(NAME)),
            }
        ),
    }
)
PACKAGE = {"name": NAME, "version": VERSION, "sha256": SHA256}
ENGINES = Keys(
    required={
        "host": Keys(required={"packages": ListOf(NAME)}),
        "apptainer": Keys(
            required={
                "version": VERSION,
                "suites": ListOf(SUITE),
                "programs": ListOf(NAME),
                "packages": Each(Keys(required=PACKAGE)),
            }
        ),
        "mmdebstrap": Keys(required={**PACKAGE, "suite": SUITE, "file": FILE, "size": Whole()}),
    }
)
PUBLISHED = Keys(
    optional={
        "files": MapOf(
            Keys(required={"sha256": SHA256, "source": SENTENCE}, optional={"of": SENTENCE, "size": Whole()})
        ),
        "images": MapOf(Keys(required={"digest": Text(r"sha256:[0-9a-f]{64}", "sha256:0123..."), "source": SENTENCE})),
    }
)


def _checked(name: str, form: Form, root: Path | None) -> Document:
    """A file of recipes/ that has the form.

    Raises:
        StackError: it is missing or not valid; with line and key.
    """
    document = schema.read((root or places.checkout()) / "recipes" / name)
    form.check(document.value, (), document.place)
    return document


def lammps(root: Path | None = None) -> dict[str, Any]:
    """recipes/lammps.yaml: where LAMMPS and Kokkos come from, and what is built.

    Raises:
        StackError: it is missing or not valid; with line and key.
    """
    document = _checked("lammps.yaml", LAMMPS, root)
    for name, section in document.value["sources"].items():
        if "url" in section["lammps"]:
            continue
        needed = {("suite",): section, ("lammps", "package"): section["lammps"], ("lammps", "file"): section["lammps"]}
        for path, holder in needed.items():
            if path[-1] not in holder:
                place = document.place(("sources", name, *path))
                words = schema.dotted(("sources", name, *path))
                raise StackError(f"{place}: '{words}' is missing: LAMMPS without a url is a package of Debian's")
    return document.value


def engines(root: Path | None = None) -> dict[str, Any]:
    """recipes/engines.yaml: the programs that build and run images.

    Raises:
        StackError: it is missing or not valid; with line and key.
    """
    return _checked("engines.yaml", ENGINES, root).value


def published(root: Path | None = None) -> dict[str, Any]:
    """recipes/published.yaml: hashes that others have published.

    Raises:
        StackError: it is missing or not valid; with line and key.
    """
    return _checked("published.yaml", PUBLISHED, root).value

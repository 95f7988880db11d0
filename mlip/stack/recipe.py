"""Recipes of stacks: recipes/stacks/NAME.yaml, merged with what they extend, checked, and as frozen records."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mlip.stack import places, schema, shared_recipes
from mlip.stack.errors import StackError
from mlip.stack.schema import Document, Each, Keys, ListOf, MapOf, Text
from mlip.stack.shared_recipes import DATE, NAME, SENTENCE, SUITE, VERSION

# Each version says where it was read and when.
SOURCED = {"version": VERSION, "source": SENTENCE, "date": DATE}

SCHEMA = Keys(
    required={
        "summary": SENTENCE,
        "device": Text(choices=("cpu", "cuda", "rocm")),
        "system": Keys(
            required={"suite": SUITE, "runtime": ListOf(NAME), "toolchain": ListOf(NAME)},
            optional={"older": Keys(required={"suite": SUITE, "packages": ListOf(NAME)}, or_null=True)},
        ),
        "python": Keys(required={"version": Text(r"3\.\d+", '"3.11"'), "requirements": NAME}),
        "torch": Keys(required={**SOURCED, "build": Text(r"cpu|cu\d+|rocm\d+(\.\d+)+", "cpu, cu130 or rocm6.4")}),
        "mpi": Keys(required={**SOURCED, "package": NAME}),
        "lammps": Keys(required={"sources": NAME}),
        "kokkos": Keys(
            required={"backends": ListOf(Text(choices=("CUDA", "HIP", "OPENMP", "SERIAL")))},
            optional=SOURCED,
        ),
    },
    optional={
        "extends": Text(r"[a-z0-9_][a-z0-9._-]*", "the name of another recipe"),
        "gpu_arch": ListOf(Text(r"sm_\d+[af]?|gfx[0-9a-f]+", "sm_90 or gfx90a")),
        "toolkit": Keys(
            required={**SOURCED, "kind": Text(choices=("cuda", "rocm"))},
            optional={
                "packages": MapOf(VERSION),
                "image": Text(r"[a-z0-9./_-]+", "rocm/dev-ubuntu-24.04"),
                "tag": Text(r"[A-Za-z0-9{}._-]+", "6.4.2-complete"),
            },
            or_null=True,
        ),
        "host": Each(
            Keys(required={"what": SENTENCE, "path": Text(r"/.*", "/opt/vendor/lib/libmpi.so.12"), "why": SENTENCE})
        ),
        "site": Keys(
            required={"name": NAME, "source": SENTENCE, "date": DATE},
            optional={"cpe": VERSION, "cray_mpich": VERSION, "mpi_abi": VERSION, "notes": SENTENCE},
            or_null=True,
        ),
    },
)
# What may change without a new lock: words, and what machines bring.
WORDS = {"summary", "source", "date", "notes", "host"}
ALIAS = Keys(required={"alias": NAME}, optional={"summary": SENTENCE})


@dataclass(frozen=True)
class Older:
    """Packages of a suite before, because the system's has none."""

    suite: str
    packages: tuple[str, ...]


@dataclass(frozen=True)
class System:
    """The Debian system: packages by name; the lock gives versions."""

    suite: str
    runtime: tuple[str, ...]
    toolchain: tuple[str, ...]  # in addition to runtime
    older: Older | None = None


@dataclass(frozen=True)
class Python:
    """The interpreter and its packages."""

    version: str
    requirements: str  # requirements/NAME.txt: packages and versions


@dataclass(frozen=True)
class Torch:
    """PyTorch, of one build."""

    version: str
    build: str
    source: str
    date: str


@dataclass(frozen=True)
class Mpi:
    """The package of the Python index that brings MPI."""

    package: str
    version: str
    source: str
    date: str


@dataclass(frozen=True)
class Lammps:
    """LAMMPS: which sources of recipes/lammps.yaml, and the version there."""

    sources: str
    version: str


@dataclass(frozen=True)
class Kokkos:
    """Kokkos: backends, and the version of recipes/lammps.yaml or, inside LAMMPS, of the recipe."""

    backends: tuple[str, ...]
    version: str
    source: str
    date: str


@dataclass(frozen=True)
class Toolkit:
    """The GPU's compiler: wheels of the Python index, or a folder of a vendor's image."""

    kind: str
    version: str
    source: str
    date: str
    packages: dict[str, str] = field(default_factory=dict)
    image: str | None = None
    tag: str | None = None


@dataclass(frozen=True)
class Site:
    """The machine the stack was matched to."""

    name: str
    source: str
    date: str
    cpe: str | None = None
    cray_mpich: str | None = None
    mpi_abi: str | None = None
    notes: str | None = None


@dataclass(frozen=True)
class Stack:
    """A stack: one set of versions that fit each other."""

    name: str
    summary: str
    device: str
    gpu_arch: tuple[str, ...]
    system: System
    python: Python
    torch: Torch
    mpi: Mpi
    lammps: Lammps
    kokkos: Kokkos
    toolkit: Toolkit | None
    site: Site | None
    raw: dict[str, Any] = field(repr=False, compare=False)
    lammps_recipe: dict[str, Any] = field(repr=False, compare=False)
    document: Document = field(repr=False, compare=False)

    @property
    def digest(self) -> str:
        """The hash of all that decides what the stack contains; words about it may change."""
        section = {"sources": self.sources(), "lammps": self.lammps_recipe["lammps"]}
        text = json.dumps([_without_words(self.raw), section], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def sources(self) -> dict[str, Any]:
        """Where LAMMPS and Kokkos come from: the stack's entry of recipes/lammps.yaml."""
        found: dict[str, Any] = self.lammps_recipe["sources"][self.lammps.sources]
        return found


def _without_words(value: Any) -> Any:
    """A recipe without summaries, sources, dates, and what machines bring."""
    if isinstance(value, dict):
        return {key: _without_words(item) for key, item in value.items() if key not in WORDS}
    return value


def folder(root: Path | None = None) -> Path:
    """Where the recipes are."""
    return (root or places.checkout()) / "recipes" / "stacks"


def aliases(root: Path | None = None) -> dict[str, str]:
    """Other names of stacks."""
    files = [path for path in folder(root).glob("*.yaml") if not path.name.startswith("_")]
    documents = {path.stem: schema.read(path).value for path in sorted(files)}
    return {name: str(value["alias"]) for name, value in documents.items() if "alias" in value}


def names(root: Path | None = None) -> list[str]:
    """The stacks, without their other names."""
    others = aliases(root)
    return sorted(path.stem for path in folder(root).glob("[!_]*.yaml") if path.stem not in others)


def load(name: str, root: Path | None = None) -> Stack:
    """A stack by its name or other name.

    Args:
        name: of the recipe, recipes/stacks/NAME.yaml.
        root: the checkout; by default the one this package belongs to.

    Raises:
        StackError: there is none, or the recipe is not valid; with file, line and key.
    """
    root = root or places.checkout()
    others = aliases(root)
    if name in others:
        schema_of_alias = schema.read(folder(root) / f"{name}.yaml")
        ALIAS.check(schema_of_alias.value, (), schema_of_alias.place)
    known = names(root)
    target = others.get(name, name)
    if target not in known:
        near = get_close_matches(target, [*known, *others], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
        raise StackError(f"no such stack: {name}; {hint}")
    document = schema.extended(target, "recipes/stacks/{}.yaml", root)
    SCHEMA.check(document.value, (), document.place)
    raw = {key: value for key, value in document.value.items() if key != "extends"}
    return _record(target, raw, shared_recipes.lammps(root), document)


def _toolkit(values: dict[str, Any]) -> Toolkit:
    """The record of a toolkit; {version} in the image's tag is its version, which is then written once."""
    toolkit = Toolkit(**values)
    return replace(toolkit, tag=toolkit.tag.replace("{version}", toolkit.version)) if toolkit.tag else toolkit


def _record(name: str, raw: dict[str, Any], lammps_recipe: dict[str, Any], document: Document) -> Stack:
    """The merged recipe as records; versions of LAMMPS and Kokkos from recipes/lammps.yaml."""
    choice = raw["lammps"]["sources"]
    if choice not in lammps_recipe["sources"]:
        place = document.place(("lammps", "sources"))
        raise StackError(
            f"{place}: lammps.sources is '{choice}', but recipes/lammps.yaml has {', '.join(lammps_recipe['sources'])}"
        )
    sources = lammps_recipe["sources"][choice]
    kokkos = dict(raw["kokkos"])
    packages = sources.get("kokkos") or []
    if packages:
        if "version" in kokkos:
            place = document.place(("kokkos", "version"))
            raise StackError(
                f"{place}: kokkos.version is that of sources.{choice} in recipes/lammps.yaml; leave it out"
            )
        version = str(packages[0]["version"]).split("-")[0]
        kokkos |= {"version": version, "source": f"recipes/lammps.yaml, sources.{choice}", "date": ""}
    for key in ("version", "source", "date"):
        if key not in kokkos:
            place = document.place(("kokkos",))
            raise StackError(f"{place}: 'kokkos.{key}' is missing: sources.{choice} has Kokkos inside LAMMPS")
    system, python, toolkit, site = raw["system"], raw["python"], raw.get("toolkit"), raw.get("site")
    older = system.get("older")
    return Stack(
        name=name,
        summary=raw["summary"],
        device=raw["device"],
        gpu_arch=tuple(raw.get("gpu_arch", ())),
        system=System(
            system["suite"],
            tuple(system["runtime"]),
            tuple(system["toolchain"]),
            Older(older["suite"], tuple(older["packages"])) if older else None,
        ),
        python=Python(python["version"], python["requirements"]),
        torch=Torch(**raw["torch"]),
        mpi=Mpi(**raw["mpi"]),
        lammps=Lammps(choice, str(sources["lammps"]["version"]).split("+")[0]),
        kokkos=Kokkos(**{**kokkos, "backends": tuple(kokkos["backends"])}),
        toolkit=_toolkit(toolkit) if toolkit else None,
        site=Site(**site) if site else None,
        raw=raw,
        lammps_recipe=lammps_recipe,
        document=document,
    )

"""Profiles of sites: recipes/sites/NAME/site.yaml, merged with what they extend, and checked."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mlip.stack import places, schema
from mlip.stack.errors import StackError
from mlip.stack.schema import Document, Each, KeyPath, Keys, ListOf, MapOf, Scalar, Text, Whole
from mlip.stack.shared_recipes import DATE, NAME, SENTENCE

KINDS = ("train", "md", "compile")
RUNTIMES = ("container", "spack")
BACKENDS = ("gloo", "nccl")
ENGINES = ("apptainer", "singularity", "podman-hpc")

# What a shell reads as it stands: variables are allowed, programs and quotes are not.
VALUE = Text(r"[^`'\"\\\n]*", "text without quotes and backslashes, such as $MLIP_LOCAL/cache")
PLAIN = Text(r"(?!.*\$\()[^`'\"\\\n]*", "text without quotes and $(...), such as $MLIP_LOCAL/cache")
PATH = Text(r"[/$][^\s`'\"\\]*", "/opt/vendor or $HOME/data")
WORD = Text(r"[^\s`'\"\\$]+", "one word, such as --gpu-bind=closest")
ADDRESS = Text(r"[^\n]+", "$(hostname -i)")

WHEN = Keys(
    optional={
        "kind": ListOf(Text(choices=KINDS)),
        "runtime": ListOf(Text(choices=RUNTIMES)),
        "backend": ListOf(Text(choices=BACKENDS)),
    }
)
WHY = {"reason": SENTENCE, "source": NAME}
SETTING = Keys(required={"value": PLAIN, **WHY}, optional={"when": WHEN})
LAUNCH = Keys(required={"options": ListOf(WORD), **WHY}, optional={"environment": MapOf(WORD)})

SCHEMA = Keys(
    required={
        "summary": SENTENCE,
        "device": Text(choices=("cpu", "cuda", "rocm")),
        "stacks": ListOf(NAME),
        "backend": Text(choices=BACKENDS),
        "sources": MapOf(Keys(required={"what": SENTENCE, "date": DATE})),
        "node": Keys(required={"gpus": Whole(), "ranks": Whole(), "cores_per_rank": Whole(), **WHY}),
        "limits": Keys(
            required={"time": Text(r"(\d+-)?\d{1,2}:\d\d:\d\d", '"02:00:00"'), "stop_before": Whole(), **WHY}
        ),
        "storage": Keys(
            required={
                "local": Keys(required={"value": PATH, **WHY}),
                "scratch": Keys(required={"value": PATH, **WHY}),
                "stage_image": Scalar(),
            }
        ),
        "rendezvous": Keys(required={"address": ADDRESS, **WHY}, optional={"port": Text(r"\d+", '"3442"')}),
        "batch": MapOf(SETTING),
        "launch": Keys(required=dict.fromkeys(KINDS, LAUNCH)),
        "modules": Each(
            Keys(required={"name": Text(r"[A-Za-z0-9._/{}-]+", "rocm/{toolkit}"), **WHY}, optional={"when": WHEN})
        ),
        "environment": MapOf(SETTING),
        "caches": MapOf(Keys(required={"value": NAME, **WHY})),
        "container": Keys(
            required={
                "engine": Text(choices=ENGINES),
                "image": Text(r"[A-Za-z0-9._/:{}$-]+", "mlip-{stack}.sif"),
                "options": Each(Keys(required={"value": WORD, **WHY}, optional={"when": WHEN})),
                "binds": Each(Keys(required={"path": PATH, **WHY}, optional={"when": WHEN})),
            },
            optional={"inside": MapOf(SETTING), "host_libraries": SETTING},
        ),
        "lammps": Keys(required={"arguments": PLAIN, **WHY}),
        "checked": SENTENCE,
        "unchecked": SENTENCE,
    },
    optional={"gpu_arch": Text(r"sm_\d+[af]?|gfx[0-9a-f]+", "sm_90 or gfx90a"), "versions": MapOf(NAME)},
)


def folder(root: Path | None = None) -> Path:
    """Where the profiles are."""
    return (root or places.checkout()) / "recipes" / "sites"


def names(root: Path | None = None) -> list[str]:
    """The sites; folders whose names begin with _ are for extending only."""
    return sorted(path.parent.name for path in folder(root).glob("[!_]*/site.yaml"))


def read(name: str, root: Path | None = None) -> Document:
    """The profile of a site, merged with what it extends and checked.

    Args:
        name: of the folder, recipes/sites/NAME.
        root: the checkout; by default the one this package belongs to.

    Raises:
        StackError: there is none, or it is not valid; with file, line and key.
    """
    known = names(root)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        raise StackError(
            f"no such site: {name}; " + (f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}")
        )
    document = schema.extended(name, "recipes/sites/{}/site.yaml", root or places.checkout())
    value = {key: item for key, item in document.value.items() if key != "extends"}
    checked = Document(value, document.places)
    SCHEMA.check(value, (), checked.place)
    _check_sources(checked)
    _check_ranks(checked)
    return checked


def _check_sources(document: Document) -> None:
    """Every source that a value names is in the list.

    Raises:
        StackError: one is not.
    """
    known = document.value["sources"]

    def visit(value: Any, path: KeyPath) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key == "source" and isinstance(item, str) and item not in known:
                    near = get_close_matches(item, known, n=1)
                    hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
                    place = document.place((*path, key))
                    raise StackError(
                        f"{place}: {schema.dotted((*path, key))} is '{item}', which is not in sources: {hint}"
                    )
                visit(item, (*path, key))
        elif isinstance(value, list):
            for number, item in enumerate(value):
                visit(item, (*path, str(number)))

    visit({key: item for key, item in document.value.items() if key != "sources"}, ())


def _check_ranks(document: Document) -> None:
    """One rank for each GPU; without GPUs at least one rank.

    Raises:
        StackError: it is otherwise.
    """
    node = document.value["node"]
    place = document.place(("node", "ranks"))
    if node["gpus"] and node["ranks"] != node["gpus"]:
        raise StackError(
            f"{place}: node.ranks is {node['ranks']}, but must be node.gpus, {node['gpus']}: one rank for each GPU"
        )
    if not node["ranks"] or not node["cores_per_rank"]:
        raise StackError(f"{place}: node.ranks and node.cores_per_rank must be 1 or more")

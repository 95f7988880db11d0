"""The files of a job from a profile: recipes/sites/_templates/*.j2 become job scripts, env.sh, a module file."""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlip.jobs import profile
from mlip.jobs.job import ANY, Job, Recipes, Wishes, make
from mlip.stack import places
from mlip.stack.errors import StackError

if TYPE_CHECKING:
    import jinja2

HEADER = "rendered from recipes/sites/{site}/site.yaml by mlip job render"
VARIABLE = re.compile(r"\$(?:\{)?([A-Za-z_][A-Za-z0-9_]*)\}?")
# Files for work by hand, where the settings of all kinds of job apply.
BY_HAND = ("env.sh", "mlip.lua")


def files_of(kind: str) -> tuple[str, ...]:
    """Names of the files of a kind of job."""
    return (f"{kind}.sbatch", *(["md.in"] if kind == "md" else []), *BY_HAND)


def lua(text: str) -> str:
    """Text with variables of the shell as an expression of Lua.

    >>> lua("$HOME/cache")
    '(os.getenv("HOME") or "") .. "/cache"'
    """
    parts: list[str] = []
    end = 0
    for match in VARIABLE.finditer(text):
        if text[end : match.start()]:
            parts.append(json.dumps(text[end : match.start()]))
        parts.append("mlip_local" if match[1] == "MLIP_LOCAL" else f'(os.getenv("{match[1]}") or "")')
        end = match.end()
    if text[end:] or not parts:
        parts.append(json.dumps(text[end:]))
    return " .. ".join(parts)


def rendered(wishes: Wishes, recipes: Recipes | None = None) -> tuple[Job, dict[str, str]]:
    """A job, and its files by name.

    Args:
        wishes: what the user asks for.
        recipes: of the checkout that this package belongs to, by default.

    Raises:
        StackError: profile or stack are not valid or do not fit, or a template uses what the profile does not have.
    """
    recipes = recipes or Recipes()
    job = make(wishes, recipes)
    by_hand = make(replace(wishes, kind=ANY), recipes)
    templates = _templates(recipes.root)
    return job, {
        name: _text(templates, f"{name}.j2", by_hand if name in BY_HAND else job) for name in files_of(wishes.kind)
    }


def write(files: dict[str, str], folder: Path) -> list[Path]:
    """Write files into a folder, each whole or not at all; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in files.items():
        handle, partial = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        path = folder / name
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
        written.append(path)
    return written


def shipped() -> dict[Path, str]:
    """The files in recipes/sites/NAME/RUNTIME and what should be in them: the profiles' own settings, one node."""
    found: dict[Path, str] = {}
    recipes = Recipes()
    for site in profile.names():
        for runtime in profile.RUNTIMES:
            for kind in profile.KINDS:
                _, files = rendered(Wishes(site, kind=kind, runtime=runtime), recipes)
                found |= {profile.folder() / site / runtime / name: text for name, text in files.items()}
    return found


def _templates(root: Path | None) -> jinja2.Environment:
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader((root or places.checkout()) / "recipes" / "sites" / "_templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the files are no web pages
    )
    templates.filters["lua"] = lua
    return templates


def _text(templates: jinja2.Environment, name: str, job: Job) -> str:
    """A template with a job."""
    import jinja2

    values = {
        "job": job,
        "header": HEADER.format(site=job.wishes.site),
        "nodes": 1 if job.wishes.kind == "compile" else job.wishes.nodes,
        "ranks": 1 if job.wishes.kind == "compile" else job.ranks,
        "srun_options": "".join(f" {one.value}" for one in job.of("srun")),
        "task": "".join(f"env {one.name}={one.value} " for one in job.of("task")),
    }
    try:
        return templates.get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise StackError(f"there is no template recipes/sites/_templates/{error.name}") from None
    except jinja2.TemplateSyntaxError as error:
        raise StackError(f"recipes/sites/_templates/{error.name}:{error.lineno}: {error.message}") from None
    except jinja2.UndefinedError as error:
        raise StackError(f"recipes/sites/_templates/{name}: {error.message} (site {job.wishes.site})") from None

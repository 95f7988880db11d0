"""Files from a recipe: containers/NAME/Dockerfile and mlip.def from containers/*.j2, and spack/envs/NAME."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from mlip.stack import places, spack_environment
from mlip.stack.errors import StackError
from mlip.stack.recipe import Stack

# template -> name of the rendered file
FILES = {"Dockerfile.j2": "Dockerfile", "mlip.def.j2": "mlip.def"}
HEADER = "rendered from recipes/stacks/{name}.yaml by mlip stack render; not edited by hand"


def environment(stack: Stack) -> dict[str, str]:
    """The variables that an image sets."""
    packages = f"/opt/mlip/lib/python{stack.python.version}/site-packages"
    found = {
        "PATH": "/opt/mlip/bin:/opt/lammps/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "LAMMPS_POTENTIALS": "/opt/lammps/share/lammps/potentials",
        # the Python inside lmp is the system's: it finds the environment's packages here
        "PYTHONPATH": packages,
        # packages in a user's home folder are for the Python outside
        "PYTHONNOUSERSITE": "1",
    }
    if stack.toolkit and stack.toolkit.kind == "cuda":
        found["CUDA_HOME"] = f"{packages}/nvidia/cu{stack.toolkit.version.split('.')[0]}"
    if stack.toolkit and stack.toolkit.kind == "rocm":
        found["ROCM_PATH"] = "/opt/rocm"
    return found


def rendered(stack: Stack, root: Path | None = None) -> dict[Path, str]:
    """The files of a stack and what should be in them.

    Templates see `stack`, the record of mlip/stack/recipe.py; `header`, the words of the first line; and `environment`.

    Args:
        stack: the recipe.
        root: the checkout; by default the one this package belongs to.

    Raises:
        StackError: a template is missing, or uses something that the stack does not have; with file and line.
    """
    import jinja2

    containers = (root or places.checkout()) / "containers"
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(containers),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the files are no web pages
    )
    values = {"stack": stack, "header": HEADER.format(name=stack.name), "environment": environment(stack)}
    found = {}
    for template, name in FILES.items():
        try:
            text = templates.get_template(template).render(values)
        except jinja2.TemplateNotFound as error:
            raise StackError(f"there is no template containers/{error.name}") from None
        except jinja2.TemplateSyntaxError as error:
            raise StackError(f"containers/{error.name}:{error.lineno}: {error.message}") from None
        except jinja2.UndefinedError as error:
            line = _line(error, containers / template)
            raise StackError(f"containers/{template}:{line}: {error.message} (stack {stack.name})") from None
        found[containers / stack.name / name] = text
    return found | spack_environment.rendered(stack, root)


def write(stack: Stack, root: Path | None = None) -> list[Path]:
    """Write the files of a stack; those that changed."""
    changed = []
    for path, text in rendered(stack, root).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def drift(stack: Stack, root: Path | None = None) -> str:
    """How the files of a stack differ from what the recipe says, as a unified diff; empty where they do not."""
    root = root or places.checkout()
    return difference(rendered(stack, root), root)


def difference(files: Mapping[Path, str], root: Path) -> str:
    """How files below a folder differ from what they should be, as a unified diff; empty where they do not."""
    lines: list[str] = []
    for path, text in files.items():
        name = str(path.relative_to(root))
        there = path.read_text(encoding="utf-8") if path.is_file() else ""
        lines += difflib.unified_diff(
            there.splitlines(keepends=True),
            text.splitlines(keepends=True),
            name if path.is_file() else f"{name} (missing)",
            f"{name} (rendered)",
        )
    return "".join(lines)


def _line(error: BaseException, template: Path) -> int:
    """The line of the template that an error of jinja2 came from."""
    trace, line = error.__traceback__, 1
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(template):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line

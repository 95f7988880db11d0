"""The matrix as a GitHub workflow and a GitLab pipeline, rendered from ci/templates and committed."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mlip.stack.ci_matrix.matrix import Matrix

FILES = {".github/workflows/ci.yml": "github.yml.j2", ".gitlab-ci.yml": "gitlab.yml.j2"}


def render(matrix: Matrix, root: Path) -> dict[str, str]:
    """The text of each file, by its path in the checkout."""
    # Both systems write ${{ }} or $VARIABLE themselves, so that ours are [[ ]] and [% %].
    environment = Environment(
        loader=FileSystemLoader(root / "ci" / "templates"),
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (YAML, not HTML)
    )
    environment.filters["flow"] = lambda names: f"[{', '.join(names)}]"
    return {path: environment.get_template(name).render(matrix=matrix) for path, name in FILES.items()}


def write(matrix: Matrix, root: Path) -> list[str]:
    """Write the files; those that changed."""
    changed = []
    for path, text in render(matrix, root).items():
        target = root / path
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def drift(matrix: Matrix, root: Path) -> list[str]:
    """A sentence for each file that is not what the matrix says."""
    found = []
    for path, text in render(matrix, root).items():
        target = root / path
        if not target.is_file():
            found.append(f"{path} is missing")
            continue
        pairs = zip_longest(target.read_text(encoding="utf-8").splitlines(), text.splitlines())
        for number, (there, wanted) in enumerate(pairs, 1):
            if there != wanted:
                found.append(f"{path}:{number} is {_quoted(there)}, the matrix says {_quoted(wanted)}")
                break
    return found


def _quoted(line: str | None) -> str:
    return "the end" if line is None else f"'{line.strip()}'"

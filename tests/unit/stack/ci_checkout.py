"""A checkout with a matrix of jobs, as small as it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mlip.stack.ci_matrix.matrix import Matrix, load


def job(**changes: Any) -> dict[str, Any]:
    """A job as the file states it; None leaves a key out."""
    ordinary: dict[str, Any] = {
        "summary": "it works",
        "stage": "check",
        "stacks": ["cpu"],
        "minutes": 1,
        "runs": "always",
        "in_ci_run": True,
    }
    return {key: value for key, value in (ordinary | changes).items() if value is not None}


class Checkout:
    """A checkout with a matrix and scripts, as small as they can be."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "ci").mkdir()
        (root / "recipes" / "stacks").mkdir(parents=True)
        for stack in ("cpu", "cuda"):
            (root / "recipes" / "stacks" / f"{stack}.yaml").touch()

    def script(self, name: str, body: str = "exit 0") -> None:
        path = self.root / "ci" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def matrix(self, entries: dict[str, dict[str, Any]], **changes: Any) -> Matrix:
        """The matrix of these jobs; scripts that are not there yet are made."""
        table: dict[str, Any] = {
            "ci_run_minutes": 10,
            "machine": {"runner": "some", "image": "some", "setup_minutes": 5, "packages": ["make"]},
            "actions": {
                name: {"version": "v1", "commit": "0" * 40} for name in ("checkout", "cache", "upload-artifact")
            },
            "caches": {"blobs": ["lock.json"]},
            "stages": ["check", "images"],
            "jobs": entries,
        }
        (self.root / "ci" / "matrix.yaml").write_text(yaml.safe_dump(table | changes, sort_keys=False))
        for name, entry in entries.items():
            if "script" not in entry and not (self.root / "ci" / name).exists():
                self.script(name)
        return load(self.root)

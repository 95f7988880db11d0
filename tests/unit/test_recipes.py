"""recipes/ is the only place a version is written: it parses, every file has a hash, and no package index is named."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RECIPE = yaml.safe_load((ROOT / "recipes" / "lammps.yaml").read_text())
BUILD = [
    *(ROOT / "mlip" / "stack").glob("*.py"),
    *(ROOT / "containers" / "stages").glob("*"),
    *(ROOT / "lammps" / "cmake").glob("*.cmake"),
    ROOT / "lammps" / "CMakeLists.txt",
    ROOT / "lammps" / "enter-root",
    ROOT / "lammps" / "run-lmp",
]
TEXTS = [*(path for path in (ROOT / "recipes").rglob("*") if path.is_file()), *BUILD]
STYLES = RECIPE["lammps"]["kokkos_styles"]


def values(node: Any, key: str) -> Iterator[Any]:
    """Every value of that key in nested mappings and lists."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from values(value, key)


def files(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping that describes a file to fetch."""
    if isinstance(node, dict):
        if "version" in node:
            yield node
        for value in node.values():
            yield from files(value)
    elif isinstance(node, list):
        for value in node:
            yield from files(value)


def test_every_file_is_pinned_by_a_hash() -> None:
    found = list(files(RECIPE["sources"]))
    assert len(found) >= 5
    for file in found:
        assert re.fullmatch("[0-9a-f]{64}", file["sha256"]), file


def test_archives_come_from_the_projects_own_code_hosts() -> None:
    addresses = list(values(RECIPE, "url"))
    assert addresses
    for address in addresses:
        assert address.startswith("https://github.com/lammps/lammps/archive/"), address


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_registry_is_named(path: Path) -> None:
    # Put together here, so that this file names none either.
    hosts = [
        name + ".org" for name in ("py" + "pi", "python" + "hosted", "ana" + "conda", "py" + "torch", "de" + "bian")
    ]
    hosts += ["de" + "bian.net", "ubu" + "ntu.com"]
    assert not [host for host in hosts if host in path.read_text()]


def test_versions_are_written_in_the_recipe_only() -> None:
    # quoted versions in comments are examples for users
    for file in files(RECIPE["sources"]):
        for path in BUILD:
            lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
            assert str(file["version"]) not in "\n".join(lines), path


def test_what_users_of_learned_potentials_need_is_kept() -> None:
    assert {"nve", "nvt", "npt", "nph", "langevin", "momentum", "setforce"} <= set(STYLES["fix"])
    assert {"mliap", "zbl", "lj_cut", "coul_long", "table", "hybrid", "hybrid_overlay"} <= set(STYLES["pair"])
    assert {"cg", "fire"} <= set(STYLES["min"])
    packages = {"KOKKOS", "ML-IAP", "ML-SNAP", "MOLECULE", "KSPACE", "PLUGIN", "PYTHON"}
    assert packages <= set(RECIPE["lammps"]["packages"])


def test_no_style_is_listed_twice() -> None:
    for kind, names in STYLES.items():
        assert len(names) == len(set(names)), kind


def test_the_build_uses_what_the_recipe_says() -> None:
    used: set[str] = set()
    for path in BUILD:
        if path.suffix == ".py":
            nodes = ast.walk(ast.parse(path.read_text()))
            used |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for section in ("sources", "lammps"):
        assert set(RECIPE[section]) - {"debian", "upstream"} <= used, section

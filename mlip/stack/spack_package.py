"""Reads a package.py of Spack's without Spack: names, versions and dependencies, and what is wrong with it."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

from mlip.stack.errors import StackError

OURS = re.compile(r"spack\.package|spack_repo\.builtin\.(build_systems\.\w+|packages\.\w+\.package)|[a-z]+")


@dataclass
class Package:
    """A package.

    Attributes:
        name: as users write it, lammps-mlip.
        where: the file, as it is named in messages.
        versions: the sha256 by version; empty for sources that nobody downloads.
        dependencies: specs, conditions left out.
        problems: sentences.
    """

    name: str
    where: str
    versions: dict[str, str] = field(default_factory=dict)
    dependencies: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def class_name(folder: str) -> str:
    """The class that Spack looks for in a folder: py_e3nn has PyE3nn."""
    return "".join(word.capitalize() for word in folder.split("_"))


def constants(tree: ast.Module) -> dict[str, str]:
    """A module's names for texts."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found |= {target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)}
    return found


def read(file: Path) -> Package:
    """What a package.py says.

    Raises:
        StackError: it is missing, is no Python, or has no class of the folder's name.
    """
    where = "/".join(file.parts[-3:])
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StackError(f"{where}: {error.strerror}") from None
    except SyntaxError as error:
        raise StackError(f"{where}:{error.lineno}: {error.msg}") from None
    wanted = class_name(file.parent.name)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == wanted]
    if not classes:
        raise StackError(f"{where}: there is no class {wanted}, which Spack looks for in {file.parent.name}/")
    package = Package(name=file.parent.name.replace("_", "-"), where=where)
    package.problems += [
        f"{where}:{node.lineno}: imports {node.module}, which Spack may change: take it from spack.package"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not OURS.fullmatch(node.module or "")
    ]
    _read_class(classes[0], constants(tree), package)
    return package


def _read_class(node: ast.ClassDef, names: dict[str, str], package: Package) -> None:
    """Add what the class says."""
    if not ast.get_docstring(node):
        package.problems.append(
            f"{package.where}:{node.lineno}: {node.name} has no docstring, which `spack info` shows"
        )
    no_code = any(isinstance(line, ast.Assign) and ast.unparse(line) == "has_code = False" for line in node.body)
    for call in [found for found in ast.walk(node) if isinstance(found, ast.Call) and isinstance(found.func, ast.Name)]:
        first = _text(call.args[0], names) if call.args else ""
        if call.func.id == "depends_on":  # type: ignore[attr-defined] # chosen above
            package.dependencies.append(first)
        elif call.func.id == "version":  # type: ignore[attr-defined] # chosen above
            hashes = {word.arg: _text(word.value, names) for word in call.keywords if word.arg}
            package.versions[first] = hashes.get("sha256", "")
            if not no_code and not re.fullmatch(r"[0-9a-f]{64}", hashes.get("sha256", "")):
                package.problems.append(f"{package.where}:{call.lineno}: version {first} has no sha256")
    if not package.versions:
        package.problems.append(f"{package.where}: has no version")
    tests = [line for line in node.body if isinstance(line, ast.FunctionDef) and line.name.startswith("test_")]
    package.problems += [
        f"{package.where}:{test.lineno}: {test.name} has no docstring, which `spack test` shows"
        for test in tests
        if not ast.get_docstring(test)
    ]


def _text(node: ast.expr, names: dict[str, str]) -> str:
    """A text, written out or by its name."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    return names.get(node.id, "") if isinstance(node, ast.Name) else ""

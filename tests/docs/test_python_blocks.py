"""Python in the documentation: names exist, and functions take the arguments that are shown."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docs.pages import Block, blocks

PYTHON = blocks("python")
UNKNOWN = object()  # of a package that is not installed here, or of a value that only a run knows


@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON}), ids=lambda page: page.stem)
def test_names_and_arguments_are_right(page: Any) -> None:
    names: dict[str, object] = {}  # later blocks of a page go on with the names of earlier ones
    wrong = [f"{block}: {problem}" for block in PYTHON if block.page == page for problem in problems_of(block, names)]
    assert not wrong, "\n".join(wrong)


def problems_of(block: Block, names: dict[str, object]) -> Iterator[str]:
    """What does not fit the code that is installed."""
    tree = ast.parse(block.text, filename=str(block))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, value in named_by(node):
                names[name] = value
                if value is None:
                    yield f"line {node.lineno}: {ast.unparse(node)}: there is no {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = value_of(node.func, names)
            if function is None:
                yield f"line {node.lineno}: there is no {ast.unparse(node.func)}"
            elif function is not UNKNOWN:
                yield from misfit(function, node)


def named_by(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, object]]:
    """Names that an import makes, and what they stand for."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            first = alias.name.partition(".")[0]
            yield alias.asname or first, imported(alias.name if alias.asname else first)
        else:
            module = node.module or ""
            yield alias.asname or alias.name, member(imported(module), alias.name, module)


def imported(name: str) -> object:
    """A module; UNKNOWN where its package is not installed."""
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        return UNKNOWN
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if lacks_a_package(error):
            return UNKNOWN  # a module of ours that needs it
        raise


def lacks_a_package(error: BaseException | None) -> bool:
    """Whether an import failed for want of a package."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return importlib.util.find_spec(error.name.partition(".")[0]) is None
        error = error.__cause__ or error.__context__
    return False


def member(owner: object, name: str, path: str) -> object:
    """An attribute or a submodule; None if there is none."""
    if owner is UNKNOWN:
        return UNKNOWN
    if hasattr(owner, name):
        return getattr(owner, name)
    if inspect.ismodule(owner) and importlib.util.find_spec(f"{path}.{name}"):
        return imported(f"{path}.{name}")
    return None


def value_of(node: ast.expr, names: dict[str, object]) -> object:
    """What an expression of names and dots stands for; UNKNOWN for values of a run, None for what is not there."""
    if isinstance(node, ast.Name):
        return names.get(node.id, UNKNOWN)
    if isinstance(node, ast.Attribute):
        owner = value_of(node.value, names)
        if owner is UNKNOWN or owner is None or not (inspect.ismodule(owner) or inspect.isclass(owner)):
            return UNKNOWN
        return member(owner, node.attr, getattr(owner, "__name__", ""))
    return UNKNOWN


def misfit(function: object, call: ast.Call) -> Iterator[str]:
    """A call that the function's signature refuses."""
    if any(isinstance(argument, ast.Starred) for argument in call.args) or any(k.arg is None for k in call.keywords):
        return
    try:
        signature = inspect.signature(function)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return  # written in C
    try:
        signature.bind(*itertools.repeat(None, len(call.args)), **{str(k.arg): None for k in call.keywords})
    except TypeError as error:
        yield f"line {call.lineno}: {ast.unparse(call.func)}: {error}"

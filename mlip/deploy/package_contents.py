"""What is in a package: its members, their differences from other files, and a package with some of them replaced."""

from __future__ import annotations

import difflib
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mlip.deploy.container import (
    PACKAGE_DOCUMENT,
    PACKAGE_TENSORS,
    damaged,
    member_bytes,
    read_document,
    require_file,
)
from mlip.deploy.errors import PackageError, StoredModelError, raised_as
from mlip.deploy.example import example_graph
from mlip.deploy.package import Package, from_document, read_package
from mlip.deploy.rebuild import RebuildError
from mlip.models.nequip import NequIP

if TYPE_CHECKING:
    from mlip.models import Potential

MEMBERS = (PACKAGE_DOCUMENT, PACKAGE_TENSORS)
_TOLERANCES = {torch.float32: 5e-5, torch.float64: 1e-12}  # relative to the largest number, as of compiled models
_SIZES = (5, 11, 23)  # atoms


def members(path: str | Path) -> list[tuple[int, str]]:
    """(bytes, name) of what is in a package, ours or the NequIP framework's; of those the raw tensors are left out.

    Raises:
        PackageError: no such file, or no zip.
    """
    path = Path(path)
    with raised_as(PackageError):
        require_file(path, "package")
    try:
        with zipfile.ZipFile(path) as archive:
            return [(info.file_size, info.filename) for info in archive.infolist() if ".storage" not in info.filename]
    except zipfile.BadZipFile as error:
        raise PackageError(damaged(path)) from error


def differences(path: str | Path, name: str, other: str | Path) -> Iterator[str]:
    """How a member differs from a file, or from the member of that name in another package.

    Args:
        path: a package.
        name: of the member; ``weights.safetensors`` is compared tensor by tensor.
        other: a file, or a package.

    Yields:
        Lines of a unified diff, or a line for each tensor that differs; none where there is no difference.

    Raises:
        PackageError: no such member, or a file that cannot be read.
    """
    path, other = Path(path), Path(other)
    with raised_as(PackageError):
        require_file(path, "package")
        require_file(other, "file")
        packed = member_bytes(path, _member_name(path, name))
        local = member_bytes(other, _member_name(other, name)) if zipfile.is_zipfile(other) else other.read_bytes()
    if name.endswith(".safetensors"):
        yield from _tensor_differences(_tensors(packed, path), _tensors(local, other))
        return
    try:
        texts = [content.decode().splitlines(keepends=True) for content in (packed, local)]
    except UnicodeDecodeError:
        if packed != local:
            yield f"{name} differs from {other}\n"
        return
    yield from difflib.unified_diff(texts[0], texts[1], f"{path.name}/{name}", str(other))


def _member_name(path: Path, name: str) -> str:
    """The whole name of a member: packages of the NequIP framework have everything in one folder."""
    with zipfile.ZipFile(path) as archive:
        return next((whole for whole in archive.namelist() if whole == name or whole.partition("/")[2] == name), name)


def _tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load

    try:
        return load(content)
    except Exception as error:  # safetensors has an error of its own, and raises others
        raise PackageError(damaged(path)) from error


def _tensor_differences(packed: Mapping[str, Tensor], local: Mapping[str, Tensor]) -> Iterator[str]:
    for name in sorted(packed.keys() | local.keys()):
        if name not in local or name not in packed:
            yield f"{'-' if name in packed else '+'}{name}\n"
            continue
        one, two = packed[name], local[name]
        if one.shape != two.shape or one.dtype != two.dtype:
            yield f"!{name}: {_kind(one)} and {_kind(two)}\n"
        elif not torch.equal(one, two):
            yield f"!{name}: differs by up to {float((one - two).abs().max()):.3g}\n"


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def replaced(path: str | Path, replacements: Mapping[str, str | Path]) -> Package:
    """A package with members replaced by files, whose predictions are still the same.

    Args:
        path: the package.
        replacements: member -> file.

    Raises:
        PackageError: no such member, a file that does not fit, or other predictions.
    """
    before = read_package(path)
    document, weights = read_document(Path(path), PACKAGE_DOCUMENT), dict(before.weights)
    where: str | Path = path
    for name, file in replacements.items():
        with raised_as(PackageError):
            require_file(Path(file), "file")
        if name == PACKAGE_DOCUMENT:
            document, where = _json(Path(file)), file
        else:
            weights = _tensors(Path(file).read_bytes(), Path(file))
    after = from_document(document, where)
    after.weights.update(weights)
    try:
        deviation, tolerance = largest_deviation(before.potential(), after.potential())
    except RebuildError as error:
        raise PackageError(f"the replacement for {', '.join(replacements)} does not fit {path}: {error}") from error
    if not deviation <= tolerance:
        raise PackageError(
            f"with {', '.join(map(str, replacements.values()))} the model gives other energies or forces (by "
            f"{deviation:.2g}, more than {tolerance:.2g}): nothing was written; to change a model use nequip-package "
            "modify"
        )
    return after


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PackageError(f"{path} is no valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise PackageError(f"{path} is no {PACKAGE_DOCUMENT} of a package")
    return document


def largest_deviation(before: Potential, after: Potential) -> tuple[float, float]:
    """Of energies and forces of two potentials on random crystals, eV and eV/Å, and what rounding may cause."""
    if before.type_names != after.type_names or before.r_max != after.r_max:
        return float("inf"), 0.0
    largest, scale = 0.0, 1.0
    for seed, num_atoms in enumerate(_SIZES):
        generator = torch.Generator().manual_seed(seed)
        graph = example_graph(len(before.type_names), before.r_max, num_atoms, generator)
        if isinstance(before.architecture, NequIP):
            fields = {c.field: torch.full((1, 1), c.minimum) for c in before.architecture.categories}
            graph = replace(graph, graph_fields=fields)
        one, two = before(graph, derivatives=True).tensors(), after(graph, derivatives=True).tensors()
        for name in ("atomic_energy", "forces"):
            largest = max(largest, float((one[name] - two[name]).abs().max()))
            scale = max(scale, float(one[name].abs().max()))
    return largest, _TOLERANCES[before.model_dtype] * scale


def refuse_same_file(source: str | Path, target: str | Path) -> None:
    """Refuse to write a package over the one it is made from.

    Raises:
        StoredModelError: both are one file.
    """
    one, two = Path(source), Path(target)
    if one.exists() and two.exists() and one.samefile(two):
        raise StoredModelError(f"{target} is the package it is made from: give another name for the new one")

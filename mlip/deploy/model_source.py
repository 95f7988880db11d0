"""What commands and configs take as a model: a checkpoint, a package, or a name, ours or the NequIP framework's."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip.deploy.checkpoint import read_checkpoint
from mlip.deploy.container import FileKind, kind_of, require_file
from mlip.deploy.errors import CheckpointError, PackageError, StoredModelError
from mlip.deploy.nequip_net import PREFIX, is_model_id, model_file
from mlip.deploy.package import SUFFIX, Package, package_of_checkpoint, read_package
from mlip.deploy.rebuild import RebuildError

if TYPE_CHECKING:
    from mlip.models import Potential

SOURCES = f"checkpoint (.ckpt), package ({SUFFIX}) or name ({PREFIX}GROUP/NAME:VERSION)"
SOLE_MODEL = "sole_model"
_REFERENCE_IMPORT = "mlip.deploy.reference_import"


def load_model(source: str | Path, model: str = SOLE_MODEL) -> Potential:
    """The potential of a source on the CPU, in evaluation mode, with averaged weights where there are any.

    Args:
        source: path of a checkpoint or package, or ``nequip.net:GROUP/NAME:VERSION``.
        model: which model, for files of the NequIP framework that hold several.

    Raises:
        StoredModelError: it is none of these, or cannot be used; one sentence with the cure.
    """
    return _potential(open_model(source, model), source)


def open_model(source: str | Path, model: str = SOLE_MODEL) -> Package:
    """A source as a package; nothing is written.

    Args:
        source: as for :func:`load_model`.
        model: as for :func:`load_model`.

    Raises:
        StoredModelError: as :func:`load_model`.
    """
    with _file(source) as path:
        kind = _kind(path)
        reference = _reference_package(path, kind, model)
        if reference is not None:
            return reference
        if model != SOLE_MODEL:
            raise StoredModelError(f"{source} holds one model, {SOLE_MODEL}; there is no {model!r}")
        if kind is FileKind.PACKAGE:
            return read_package(path)
        try:
            return package_of_checkpoint(read_checkpoint(path), path.name)
        except RebuildError as error:
            raise CheckpointError(f"{path}: {error}; use another checkpoint") from error
        except KeyError as error:
            raise CheckpointError(f"{path}: the model in it cannot be rebuilt: it lacks {error}") from error


def describe_model(source: str | Path) -> Package:
    """As :func:`open_model`; of our packages the weights are not read.

    Raises:
        StoredModelError: as :func:`load_model`.
    """
    with _file(source) as path:
        if _kind(path) is FileKind.PACKAGE:
            return read_package(path, with_weights=False)
    return open_model(source)


def type_names_of(source: str | Path) -> list[str]:
    """The names of the atom types of a model, in the order of ``atom_types``."""
    return list(describe_model(source).type_names)


def cutoff_radius_of(source: str | Path) -> float:
    """The cutoff radius of a model, Å."""
    return describe_model(source).r_max


def source_name(source: str | Path) -> str:
    """The name of a source for the record, without the folders of this machine."""
    return str(source) if is_model_id(str(source)) else Path(source).name


def _potential(package: Package, source: str | Path) -> Potential:
    try:
        return package.potential()
    except RebuildError as error:
        raise PackageError(f"{source}: {error}; make it again from its checkpoint") from error


@contextlib.contextmanager
def _file(source: str | Path) -> Iterator[Path]:
    if is_model_id(str(source)):
        with model_file(str(source)) as path:
            yield path
        return
    path = Path(source)
    require_file(path, "package" if path.name.endswith(SUFFIX) else "checkpoint")
    yield path


def _kind(path: Path) -> FileKind:
    """What a file is.

    Raises:
        StoredModelError: no model, or damaged.
    """
    kind = kind_of(path)
    is_package = path.name.endswith(SUFFIX)
    if is_package and kind not in {FileKind.PACKAGE, FileKind.REFERENCE_PACKAGE, FileKind.CHECKPOINT}:
        named = "" if kind is FileKind.OTHER else f" but {kind.value}"
        raise PackageError(f"{path} is not a package{named}: make one with nequip-package build CHECKPOINT {path.name}")
    if kind in {FileKind.OTHER, FileKind.PICKLE, FileKind.COMPILED}:
        named = "" if kind is FileKind.OTHER else f" but {kind.value}"
        raise CheckpointError(
            f"{path} is not a checkpoint or package{named}: give a .ckpt file of nequip-train or a {SUFFIX} file"
        )
    return kind


def _reference_package(path: Path, kind: FileKind, model: str) -> Package | None:
    """A file of the NequIP framework as a package; None if it is ours."""
    if kind in {FileKind.PACKAGE, FileKind.CHECKPOINT}:
        return None
    if find_spec(_REFERENCE_IMPORT) is None:
        if kind is FileKind.REFERENCE_PACKAGE:
            raise PackageError(f"{path} is {kind.value}, which this installation of mlip cannot read")
        return None
    importer: Any = importlib.import_module(_REFERENCE_IMPORT)
    if kind is FileKind.TORCH_SAVE and not importer.is_reference_checkpoint(path):
        return None
    found: Package = importer.reference_package(path, model)
    return found

"""Packages: one model with what it needs to be used, compared and trained further, and nothing of the run it is from.

A ``.nequip.zip`` is a zip of ``model.json`` and ``weights.safetensors``. It holds no code: the model is built by the
mlip that reads it, from its config. docs/model-files.md describes the fields of ``model.json``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip.deploy.container import (
    PACKAGE_DOCUMENT,
    PACKAGE_TENSORS,
    FileKind,
    kind_of,
    read_document,
    read_tensors,
    require_file,
    tensor_bytes,
    write_container,
)
from mlip.deploy.errors import PackageError, raised_as
from mlip.deploy.plain_values import PlainValueError, from_plain, to_plain
from mlip.deploy.rebuild import RebuildError, rebuild
from mlip.deploy.upgrades import PACKAGE_UPGRADES, PACKAGE_VERSION, UNITS, upgraded

if TYPE_CHECKING:
    from torch import Tensor

    from mlip.models import Potential

SUFFIX = ".nequip.zip"
FORMAT = "mlip.package"
_HEADER = ("format", "format_version", "weights")


@dataclass(frozen=True)
class Package:
    """A model and what is known about it.

    Attributes:
        model: config of :func:`mlip.models.build_model`, complete.
        type_names: names of the atom types, in the order of ``atom_types``.
        r_max: cutoff radius, Å.
        model_dtype: ``float32`` or ``float64``.
        units: of lengths, energies and their derivatives.
        modifiers: changes that were made to the model after training, in order: ``{modifier: NAME, ...arguments}``.
        provenance: versions of what wrote it, the seed, and the name of the file it was made from.
        data: what it was trained on: data module, names of files, numbers of frames, statistics.
        training: epoch, step and errors of the weights.
        weights: under the names of the potential's ``state_dict``.
    """

    model: dict[str, Any]
    type_names: list[str]
    r_max: float
    model_dtype: str
    units: dict[str, str] = field(default_factory=lambda: dict(UNITS))
    modifiers: list[dict[str, Any]] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        potential: Potential,
        *,
        source: str = "",
        provenance: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        modifiers: Sequence[Mapping[str, Any]] = (),
    ) -> Package:
        """The package of a potential.

        Args:
            potential: on any device; its weights are shared, not copied.
            source: name of the file it was made from.
            provenance: what else is known of where it comes from.
            data: what it was trained on.
            training: how far it was trained.
            modifiers: changes that were made to it.
        """
        import torch

        import mlip

        versions = {"mlip": mlip.__version__, "torch": str(torch.__version__)}
        return cls(
            model=dict(potential.config),
            type_names=list(potential.type_names),
            r_max=potential.r_max,
            model_dtype=str(potential.model_dtype).removeprefix("torch."),
            modifiers=[dict(modifier) for modifier in modifiers],
            provenance={**versions, "seed": potential.config.get("seed"), "source": source, **(provenance or {})},
            data=dict(data or {}),
            training=dict(training or {}),
            weights=dict(potential.state_dict()),
        )

    def document(self) -> dict[str, Any]:
        """All but the weights, as ``model.json`` has it."""
        described = {name: value for name, value in asdict(self._without_weights()).items() if name != "weights"}
        try:
            plain, tensors = to_plain(described)
        except PlainValueError as error:
            raise PackageError(f"a package cannot hold this: {error}") from error
        if tensors:
            raise PackageError(f"a package holds tensors as weights only, but {next(iter(tensors))} is one")
        stored = {
            "file": PACKAGE_TENSORS,
            "sha256": hashlib.sha256(tensor_bytes(self.weights)).hexdigest(),
            "tensors": len(self.weights),
            "numbers": sum(tensor.numel() for tensor in self.weights.values()),
        }
        return {"format": FORMAT, "format_version": PACKAGE_VERSION, **plain, "weights": stored}

    def _without_weights(self) -> Package:
        return Package(**{f.name: getattr(self, f.name) for f in fields(self) if f.name != "weights"})

    def potential(self) -> Potential:
        """The model on the CPU, in evaluation mode.

        Raises:
            RebuildError: config and weights do not fit each other.
        """
        return rebuild(self.model, self.weights)


def check_target(path: str | Path) -> Path:
    """The path, if a package can be called that and its folder is there.

    Raises:
        PackageError: wrong suffix, or no such folder.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIX):
        raise PackageError(f"the name of a package must end with {SUFFIX}: {path}")
    if not path.parent.is_dir():
        raise PackageError(f"there is no folder {path.parent}")
    return path


def write_package(package: Package, path: str | Path) -> None:
    """Write a package; the file appears whole or not at all, and only if it gives its own model back.

    Raises:
        PackageError: wrong suffix, no such folder, no room, or a model that cannot be packed.
    """
    from mlip.data.atomic_file import atomic_file
    from mlip.data.errors import DataError

    path = check_target(path)
    document = package.document()
    try:
        package.potential()
        with atomic_file(path) as partial, partial.open("wb") as file:
            write_container(file, PACKAGE_DOCUMENT, document, PACKAGE_TENSORS, package.weights)
    except RebuildError as error:
        raise PackageError(f"{path} was not written: {error}") from error
    except DataError as error:
        raise PackageError(str(error)) from error


def read_package(path: str | Path, *, with_weights: bool = True) -> Package:
    """A package in the newest version's form.

    Args:
        path: a ``.nequip.zip`` file.
        with_weights: without them a package can be described but gives no model.

    Raises:
        PackageError: no such file, not a package of ours, damaged, of a newer version, or with an unknown key.
    """
    path = Path(path)
    with raised_as(PackageError):
        require_file(path, "package")
        kind = kind_of(path)
        if kind is not FileKind.PACKAGE:
            raise PackageError(f"{path} is not a package{_instead(kind)}: make one with nequip-package build")
        document = read_document(path, PACKAGE_DOCUMENT)
        package = from_document(document, path)
        if not with_weights:
            return package
        weights = read_tensors(path, PACKAGE_TENSORS)
    stored = document["weights"].get("sha256") if isinstance(document["weights"], dict) else None
    if stored != hashlib.sha256(tensor_bytes(weights)).hexdigest():
        raise PackageError(
            f"the weights in {path} are not those it was made with (another sha256): copy it again or use another file"
        )
    package.weights.update(weights)
    return package


def _instead(kind: FileKind) -> str:
    return "" if kind is FileKind.OTHER else f" of mlip but {kind.value}"


def from_document(document: Mapping[str, Any], path: str | Path) -> Package:
    """A package without weights from its ``model.json``.

    Args:
        document: the JSON.
        path: of the file, for messages.

    Raises:
        PackageError: of a newer version, an unknown key, or one that is missing.
    """
    version = document.get("format_version")
    if document.get("format") != FORMAT or not isinstance(version, int) or version < 1:
        raise PackageError(f"{path} is not a package of mlip: its {PACKAGE_DOCUMENT} does not say so")
    if version > PACKAGE_VERSION:
        raise PackageError(
            f"{path} has package format {version}, written by a newer mlip; this version reads up to "
            f"{PACKAGE_VERSION}: update mlip"
        )
    contents = upgraded(dict(document), version, PACKAGE_UPGRADES)
    known = [f.name for f in fields(Package) if f.name != "weights"]
    for key in contents:
        if key not in known and key not in _HEADER:
            near = get_close_matches(key, known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else f"; known are {', '.join(known)}"
            raise PackageError(f"{path} has an unknown key {key!r} in its {PACKAGE_DOCUMENT}{hint}")
    missing = [key for key in (*known, *_HEADER) if key not in contents]
    if missing:
        raise PackageError(f"{path} lacks {', '.join(missing)} in its {PACKAGE_DOCUMENT}: make it again")
    try:
        package = Package(**{key: from_plain(contents[key], {}) for key in known})
    except PlainValueError as error:
        raise PackageError(f"{path} has a damaged {PACKAGE_DOCUMENT}: {error}") from error
    _check_kinds(package, path)
    return package


def _check_kinds(package: Package, path: str | Path) -> None:
    """Refuse values of another kind than they should be, and ones that contradict the model's config."""
    kinds = {"model": dict, "type_names": list, "units": dict, "modifiers": list}
    kinds |= dict.fromkeys(("provenance", "data", "training"), dict)
    for name, kind in kinds.items():
        if not isinstance(getattr(package, name), kind):
            words = "an object" if kind is dict else "a list"
            raise PackageError(f"{path} has a {name} that is not {words} in its {PACKAGE_DOCUMENT}")
    for name in ("type_names", "r_max", "model_dtype"):
        stated, meant = getattr(package, name), package.model.get(name)
        if stated != meant:
            raise PackageError(f"{path} contradicts itself: {name} is {stated!r}, but {meant!r} in its model config")


def load_package(path: str | Path) -> Potential:
    """The potential of a package on the CPU, in evaluation mode.

    Raises:
        PackageError: as :func:`read_package`, or weights that do not fit the model config.
    """
    try:
        return read_package(path).potential()
    except RebuildError as error:
        raise PackageError(f"{path}: {error}; make it again from its checkpoint") from error


def package_of_checkpoint(contents: Mapping[str, Any], source: str) -> Package:
    """The package of a checkpoint, with averaged weights where it has them.

    Args:
        contents: of :func:`mlip.deploy.checkpoint.read_checkpoint`.
        source: name of its file.

    Raises:
        RebuildError: config and weights do not fit each other.
    """
    from mlip.deploy.checkpoint import inference_weights, info_of

    parameters = contents["hyper_parameters"]
    potential = rebuild(parameters["model"], inference_weights(contents["state_dict"]))
    info, run = info_of(contents), parameters.get("info_dict") or {}
    data = run.get("data") if isinstance(run.get("data"), Mapping) else {}
    summary = dict(run.get("data_summary") or {})
    if data:
        summary = {"data_module": data.get("_target_"), "seed": data.get("seed"), "files": _file_names(data)} | summary
    written = {"mlip": info["mlip_version"], "torch": info["torch_version"]}
    training = {
        "module": info["training_module"],
        "epoch": info["epoch"],
        "global_step": info["global_step"],
        "averaged_weights": info["has_averaged_weights"],
        "metrics": {name: errors for name, errors in info["metrics"].items() if errors},
    }
    return Package.of(potential, source=source, provenance={"trained_with": written}, data=summary, training=training)


def _file_names(section: Any, *, named: bool = False) -> list[str]:
    """Names of the data files in a config, without the folders of the machine they were on."""
    if isinstance(section, str):
        return [Path(section).name] if named else []
    if isinstance(section, Mapping):
        found = [
            name
            for key, item in section.items()
            for name in _file_names(item, named=named or "file_path" in str(key) or key == "file_name")
        ]
    elif isinstance(section, (list, tuple)):
        found = [name for item in section for name in _file_names(item, named=named)]
    else:
        found = []
    return list(dict.fromkeys(found))

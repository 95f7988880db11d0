"""Models of the reference implementation (nequip 0.7 to 0.19, nequip-allegro 0.5 to 0.8) as models of ours.

Its checkpoints and packages are read without running or importing anything they hold: a package consists of pickled
modules and their source code, see reference_import_pickle.py. What comes out is a potential with the same energies, and
a config from which it can be built again.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mlip.deploy.checkpoint import describe, write_checkpoint
from mlip.deploy.package import Package
from mlip.deploy.reference_import_config import ReferenceImportError, base_file, existing_base, model_parameters
from mlip.deploy.reference_import_files import BUFFERS, SOLE_MODEL, StoredModel, is_reference_checkpoint, read_reference
from mlip.deploy.reference_weights import load_reference_state_dict

if TYPE_CHECKING:
    from mlip.models import Potential

__all__ = [
    "ReferenceImportError",
    "import_reference",
    "is_reference_checkpoint",
    "reference_package",
    "write_as_checkpoint",
]

# modules of NequIP and Allegro models that have weights or constants
_MODULES = re.compile(
    r"layer\d+_convnet|type_embed|edge_norm|bessel_encode|factor|cutoff|per_atom_energy_readout|radial_chemical_embed|"
    r"scalar_embed_mlp|tensor_embed|allegro|edge_readout|edge_eng_sum|per_type_energy_scale_shift|pair_potential"
)
# parameters in one program may be constants in the other
_EITHER = re.compile(r"bessel_weights|frequencies|scale_shift|pair_potential")


def reference_package(path: str | Path, model: str = SOLE_MODEL, base: str | Path | None = None) -> Package:
    """A checkpoint or package of the reference as a package of ours; nothing is written.

    Args:
        path: the file.
        model: which model of it.
        base: as for :func:`import_reference`.

    Raises:
        ReferenceImportError: it cannot be imported; the message says why and what to do.
    """
    path = Path(path)
    potential, stored = import_reference(path, model, base)
    training = {"module": stored.training_module, "epoch": stored.epoch, "global_step": stored.global_step}
    return Package.of(
        potential,
        source=path.name,
        provenance={"imported_from": stored.kind, "trained_with": dict(stored.versions)},
        training=training if stored.kind == "checkpoint" else {"module": stored.training_module},
    )


def import_reference(
    path: str | Path, model: str = SOLE_MODEL, base: str | Path | None = None
) -> tuple[Potential, StoredModel]:
    """The potential in a checkpoint or package of the reference, and what its file holds.

    The weights are those the reference itself would compile: averaged ones where its training averaged.

    Args:
        path: the file.
        model: which model of it.
        base: for a model that was trained further from another file, that file, if it is no longer where it was.

    Raises:
        ReferenceImportError: it cannot be imported; the message says why and what to do.
    """
    from mlip.models import build_model

    path = Path(path)
    stored = read_reference(path, model)
    _refuse_extensions(path, stored)
    try:
        config = model_parameters(stored.config, stored.weights, _base_config(path, stored, base))
        potential = build_model(config)
        load_reference_state_dict(potential, {f"func.{name}": tensor for name, tensor in stored.weights.items()})
        _compare_constants(potential, stored)
    except (ReferenceImportError, KeyError, TypeError, ValueError) as error:
        raise ReferenceImportError(f"{path} cannot be imported: {_sentence(error)}") from error
    if not all(bool(tensor.isfinite().all()) for tensor in potential.state_dict().values()):
        raise ReferenceImportError(f"{path} has weights that are not finite: its training diverged; use an earlier one")
    return potential.eval(), stored


def _sentence(error: Exception) -> str:
    return f"its config lacks {error}" if isinstance(error, KeyError) else str(error)


def _base_config(path: Path, stored: StoredModel, base: str | Path | None, depth: int = 0) -> dict[str, Any] | None:
    """The section of the model that this one began as, through any number of files."""
    named = base_file(stored.config)
    if named is None:
        return None
    found = existing_base(named, None if base is None else Path(base), path)
    if found is None or depth > 10:
        raise ReferenceImportError(
            f"it was trained further from {named or 'another file'}, which says how the model is built and is not "
            "there: put that file beside it, or name it: mlip import --base FILE"
        )
    earlier = read_reference(found)
    before = _base_config(found, earlier, None, depth + 1)
    if before is None:
        return earlier.config
    return {"_target_": "nequip.model.modify", "modifiers": _modifiers(earlier.config), "model": before}


def _modifiers(config: dict[str, Any]) -> list[Any]:
    inner = _modifiers(config["model"]) if isinstance(config.get("model"), dict) else []
    return [*inner, *(config.get("modifiers") or [])]


def _refuse_extensions(path: Path, stored: StoredModel) -> None:
    tops = {name.split(".", 1)[0] for name, tensor in stored.weights.items() if tensor.numel()}
    unknown = sorted(top for top in tops if not _MODULES.fullmatch(top))
    if unknown:
        raise ReferenceImportError(
            f"{path} cannot be imported: its model has the modules {', '.join(unknown)} of an extension, which has no "
            "counterpart here; NequIP, Allegro and ZBL models can be imported"
        )


def _compare_constants(potential: Potential, stored: StoredModel) -> None:
    """What is no weight but in the file all the same must be what the config says, and no weight may be left over."""
    theirs = sum(t.numel() for n, t in stored.weights.items() if not (BUFFERS.search(n) or _EITHER.search(n)))
    ours = sum(p.numel() for n, p in potential.named_parameters() if not _EITHER.search(n))
    if theirs != ours:
        raise ReferenceImportError(f"it has {theirs} weights, but its config describes a model with {ours}")
    stated = stored.weights.get("edge_norm._rmax_recip")
    if stated is not None and not _equal(stated.flatten(), potential.cutoff_reciprocal.flatten()):
        raise ReferenceImportError("its cutoff radii are not those of its config")
    architecture = potential.architecture
    for name, constant in stored.constants.items():
        if name.endswith("norm_const") and architecture is not None:
            norm = 1.0 / constant.double() ** 2
            expected = _neighbours(potential.config["avg_num_neighbors"], potential.type_names)
            if not _equal(norm.flatten(), expected, 1e-5):
                raise ReferenceImportError("its normalisation by the number of neighbours is not that of its config")


def _neighbours(value: Any, type_names: list[str]) -> Tensor:
    import torch

    numbers = [value[name] for name in type_names] if isinstance(value, dict) else [value]
    return torch.tensor(numbers, dtype=torch.float64)


def _equal(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> bool:
    if a.numel() != b.numel() and 1 not in (a.numel(), b.numel()):
        return False
    return bool(((a.double() - b.double()).abs() <= tolerance * b.double().abs()).all())


def write_as_checkpoint(package: Package, output: str | Path) -> None:
    """Write an imported model as a checkpoint of ours: it appears whole or not at all.

    Args:
        package: the model, see :func:`reference_package`.
        output: a ``.ckpt`` file.

    Raises:
        ReferenceImportError: it cannot be written.
    """
    from mlip.data.atomic_file import atomic_file
    from mlip.data.errors import DataError
    from mlip.models import Potential

    contents = {
        "epoch": package.training.get("epoch", 0),
        "global_step": package.training.get("global_step", 0),
        "state_dict": {f"model.{name}": tensor for name, tensor in package.weights.items()},
        "hyper_parameters": {"model": package.model},
        "mlip": {**describe(Potential), "imported": package.provenance},
    }
    try:
        with atomic_file(output) as partial, partial.open("wb") as file:
            write_checkpoint(contents, file)
    except DataError as error:
        raise ReferenceImportError(str(error)) from error

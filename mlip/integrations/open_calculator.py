"""A calculator from any file of a model: compiled, or a checkpoint or package that is run as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mlip.deploy.load import CompiledModel
from mlip.deploy.metadata import ModelMetadata
from mlip.deploy.model_source import SOLE_MODEL, load_model, source_name
from mlip.deploy.targets import TARGETS
from mlip.graph import Graph
from mlip.integrations.ase import NequIPCalculator
from mlip.integrations.species import SpeciesMap

_COMPILED = (".pt2", ".pth")


def open_calculator(
    source: str | Path, device: str = "cpu", species_map: SpeciesMap = True, **kwargs: Any
) -> NequIPCalculator:
    """A calculator of a model.

    Args:
        source: a file that was compiled for the target ``ase``, or a checkpoint, package or ``nequip.net:`` name.
        device: where it runs.
        species_map: see :class:`NequIPCalculator`.
        **kwargs: see :class:`NequIPCalculator`.

    Raises:
        ModelFileError: a compiled file that cannot be used here.
        StoredModelError: another file that cannot be used.
    """
    if Path(source).name.endswith(_COMPILED):
        return NequIPCalculator.from_compiled_model(source, device, species_map, **kwargs)
    return NequIPCalculator(eager_model(source, device), species_map, **kwargs)


def eager_model(
    source: str | Path, device: str = "cpu", model: str = SOLE_MODEL, *, allow_tf32: bool = False
) -> CompiledModel:
    """A checkpoint or package in Python, with the interface of a file compiled for the target ``ase``.

    Args:
        source: path of a checkpoint or package, or a ``nequip.net:`` name.
        device: where it runs.
        model: which model, for files that hold several.
        allow_tf32: what the metadata say of matrix products.

    Raises:
        StoredModelError: it cannot be used.
    """
    potential = load_model(source, model).to(device).requires_grad_(requires_grad=False)
    metadata = ModelMetadata.of(
        potential, TARGETS["ase"], str(device), allow_tf32=allow_tf32, threads=0, source=source_name(source)
    )

    def run(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        fields: dict[str, Any] = dict(inputs)
        return dict(potential(Graph(**fields), derivatives=True).tensors())

    return CompiledModel(metadata, torch.device(device), run)

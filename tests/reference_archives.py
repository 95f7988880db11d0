"""Archives laid out as the reference's packages are, with code of our own that must never run."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

# The code that lies in a package: running any of it leaves a file behind.
_SOURCE = """
import pathlib
import torch

pathlib.Path({witness!r}).write_text("the code of the package ran")


class Part(torch.nn.Module):
    def __setstate__(self, state):
        pathlib.Path({witness!r}).write_text("a method of the package ran")
        self.__dict__.update(state)
"""


def write_reference_package(
    path: Path,
    checkpoint: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    witness: Path,
    *,
    constants: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a stand-in for what the reference's ``nequip-package build`` makes of a checkpoint.

    Args:
        path: the ``.nequip.zip``.
        checkpoint: contents of the checkpoint.
        weights: by their names in it, without ``model.``.
        witness: file that appears when code of the package runs.
        constants: buffers by name that are not in the ``state_dict``.
    """
    from torch.package import PackageExporter

    source = path.parent / "stand_in_source"
    source.mkdir(exist_ok=True)
    name = f"stand_in_{path.stem.partition('.')[0]}"
    (source / f"{name}.py").write_text("import torch\n\n\nclass Part(torch.nn.Module):\n    pass\n")
    sys.path.insert(0, str(source))
    try:
        module = importlib.import_module(name)
        models = _tree(module.Part, weights, constants or {})
        info = checkpoint["hyper_parameters"]["info_dict"]
        metadata = {
            "package_version_id": 2,
            "available_models": ["eager"],
            "atom_types": dict(enumerate(checkpoint["hyper_parameters"]["model"].get("type_names", []))),
            "versions": info["versions"],
        }
        with warnings.catch_warnings(), PackageExporter(str(path)) as exporter:
            warnings.filterwarnings("ignore", message="TypedStorage is deprecated")  # torch's own affair
            exporter.extern(["torch", "torch.**", "collections", "sys", "io"])
            exporter.save_source_string(name, _SOURCE.format(witness=str(witness)))
            exporter.save_pickle("model", "eager_model.pkl", models)
            described = {key: value for key, value in info.items() if key != "versions"}
            exporter.save_text("model", "config.yaml", yaml.safe_dump(described))
            exporter.save_text("model", "package_metadata.txt", yaml.safe_dump(metadata))
    finally:
        sys.path.remove(str(source))


def _tree(part: type[nn.Module], weights: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> nn.Module:
    """Modules within modules whose ``state_dict`` has these names."""
    root: nn.Module = nn.ModuleDict()
    for name, tensor in {**weights, **constants}.items():
        *path, last = name.split(".")
        owner = root
        for step in path:
            if step not in dict(owner.named_children()):
                owner.add_module(step, part())
            owner = dict(owner.named_children())[step]
        if name.endswith(".weight") and tensor.is_floating_point() and tensor.numel():
            owner.register_parameter(last, nn.Parameter(tensor.clone()))
        else:
            owner.register_buffer(last, tensor.clone(), persistent=name in weights)
    return root


class RunsCode:
    """A pickle of it writes a file when a careless reader loads it."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.witness, "the pickle ran code")


def model_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a reference checkpoint by the names a package has."""
    return {
        name.removeprefix("model."): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith("model.") and isinstance(tensor, torch.Tensor)
    }

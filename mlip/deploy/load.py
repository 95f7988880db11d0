"""Compiled model files, called from Python by field names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.jit._fuser import optimized_execution

from mlip.deploy.memory import keep_freed_memory
from mlip.deploy.metadata import ModelMetadata
from mlip.deploy.padding import run_padded

_STORED_KEYS = (
    "r_max",
    "type_names",
    "num_types",
    "model_dtype",
    "allow_tf32",
    "per_edge_type_cutoff",
    "nequip_aoti_inputs",
    "nequip_aoti_outputs",
    "AOTI_DEVICE_KEY",
    "num_threads",
    "mlip_target",
    "mlip_provenance",
)


class ModelFileError(ValueError):
    """A model file cannot be used; the message says which file, why, and the cure."""


@dataclass(frozen=True)
class CompiledModel:
    """A compiled model in memory.

    Attributes:
        metadata: what its file says of it.
        device: where it runs.
    """

    metadata: ModelMetadata
    device: torch.device
    _run: Callable[[dict[str, Tensor]], dict[str, Tensor]]

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by field name -> tensors by field name, for any number of atoms; further inputs are ignored.

        Raises:
            ModelFileError: an input that the model takes is missing.
        """
        missing = [name for name in self.metadata.inputs if name not in inputs]
        if missing:
            raise ModelFileError(f"the compiled model also needs the input {missing[0]!r}")
        taken = {name: inputs[name].to(self.device).contiguous() for name in self.metadata.inputs}
        return run_padded(self._run, taken, self.metadata.r_max)


def load_compiled(path: str | Path, device: str = "cpu", *, needs: Sequence[str] = ()) -> CompiledModel:
    """Load a ``.nequip.pt2`` or ``.nequip.pth``.

    Args:
        path: the file.
        device: where it will run; the device it was compiled for.
        needs: outputs that the caller wants.

    Raises:
        ModelFileError: no such file, wrong suffix, damaged, another device, or made for another target.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"no such model file: {path} (relative paths start at {Path.cwd()})")
    if path.name.endswith(".pt2"):
        strings, run = _load_package(path, device)
    elif path.name.endswith(".pth"):
        strings, run = _load_torchscript(path, device)
    else:
        raise ModelFileError(
            f"{path} is no compiled model: those end with .nequip.pt2 or .nequip.pth; nequip-compile makes them from a "
            "checkpoint"
        )
    if "type_names" not in strings or "r_max" not in strings:
        raise ModelFileError(f"{path} is not a model of this framework: it lacks type names and cutoff radius")
    metadata = ModelMetadata.from_strings(strings)
    wanted = torch.device(device)
    if metadata.device and metadata.device != wanted.type:
        raise ModelFileError(
            f"{path} was compiled for {metadata.device} and cannot run on {wanted.type}: "
            f"compile it again with --device {wanted.type}"
        )
    if wanted.type == "cpu":
        keep_freed_memory()
    lacking = [name for name in needs if name not in metadata.outputs]
    if lacking:
        raise ModelFileError(
            f"{path} was compiled for target {metadata.target or 'unknown'} and does not give {lacking[0]}: "
            "compile it again with the --target of the program that calls it"
        )
    return CompiledModel(metadata, wanted, run(metadata))


_Runner = Callable[[ModelMetadata], Callable[[dict[str, Tensor]], dict[str, Tensor]]]


def _load_package(path: Path, device: str) -> tuple[dict[str, str], _Runner]:
    wanted = torch.device(device)
    try:
        package: Any = torch._inductor.aoti_load_package(
            str(path), device_index=-1 if wanted.index is None else wanted.index
        )
        strings = dict(package.loader.get_metadata())
    except Exception as error:  # the loader raises RuntimeError, OSError, ... for anything wrong with the file
        raise ModelFileError(
            f"{path} cannot be loaded: it is damaged, or was compiled with another torch than {torch.__version__} or "
            f"for another machine; compile it again here ({str(error).splitlines()[0][:200]})"
        ) from error

    def runner(metadata: ModelMetadata) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            outputs = package.loader.run([inputs[name] for name in metadata.inputs])
            return dict(zip(metadata.outputs, outputs, strict=True))

        return run

    return strings, runner


def _load_torchscript(path: Path, device: str) -> tuple[dict[str, str], _Runner]:
    stored: dict[str, Any] = dict.fromkeys(_STORED_KEYS, "")
    try:
        program = torch.jit.load(str(path), map_location="cpu", _extra_files=stored)
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(
            f"{path} cannot be loaded as TorchScript: it is damaged or cut off; compile it again"
        ) from error
    strings = {key: value.decode() if isinstance(value, bytes) else value for key, value in stored.items()}

    def runner(_: ModelMetadata) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        # the device is known to be right only now; constants of a frozen program move when it is loaded, not later
        placed = program if device == "cpu" else torch.jit.load(str(path), map_location=device)

        def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            # profiling would compile anew for every size of input
            with optimized_execution(should_optimize=False):
                outputs: dict[str, Tensor] = placed(inputs)
            return outputs

        return run

    return {key: value for key, value in strings.items() if value}, runner

"""Compiled model files, called from Python by field names."""

from __future__ import annotations

import importlib
import io
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
from mlip.deploy.stages import NamedFunction, stage_targets
from mlip.deploy.targets import Target
from mlip.deploy.torchscript import STAGE_PREFIX
from mlip.torch_versions import package_loader, package_metadata

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
    "mlip_num_layers",
    "mlip_layer_widths",
    "mlip_ghost_types",
    "mlip_stages",
    "mlip_libraries",
    "mlip_memory",
    "mlip_two_body_tables",
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
    _run: NamedFunction

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


def load_compiled(
    path: str | Path, device: str = "cpu", *, gives: Sequence[str] | None = None, needs: Sequence[str] = ()
) -> CompiledModel:
    """Load a ``.nequip.pt2`` or ``.nequip.pth``.

    Args:
        path: the file.
        device: where it will run; the device it was compiled for.
        gives: inputs that the caller can give; None for any.
        needs: outputs that the caller wants.

    Raises:
        ModelFileError: no such file, wrong suffix, damaged, another device, or made for another target.
    """
    metadata, device_, opened = _open(Path(path), device, gives, needs)
    return CompiledModel(metadata, device_, opened("model", metadata.inputs, metadata.outputs))


def load_stages(path: str | Path, device: str = "cpu") -> dict[str, NamedFunction]:
    """The pieces of a model, see stages.py, by name: functions of tensors by name, for any number of atoms and edges.

    Raises:
        ModelFileError: as :func:`load_compiled`, or the file has no pieces.
    """
    metadata, device_, opened = _open(Path(path), device, None, ())
    if not metadata.stages:
        raise ModelFileError(f"{path} holds the model in one piece only: compile it again with --stages")

    def piece(target: Target) -> NamedFunction:
        run = opened(target.name, target.inputs, target.outputs)

        def call(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            taken = {name: inputs[name].to(device_).contiguous() for name in target.inputs}
            return run_padded(run, taken, metadata.r_max)

        return call

    return {target.name: piece(target) for target in stage_targets(metadata.num_layers)}


def _open(
    path: Path, device: str, gives: Sequence[str] | None, needs: Sequence[str]
) -> tuple[ModelMetadata, torch.device, _Opener]:
    if not path.is_file():
        raise ModelFileError(f"no such model file: {path} (relative paths start at {Path.cwd()})")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ModelFileError(f"unknown device {device!r}: use cpu or cuda") from error
    if path.name.endswith(".pt2"):
        strings, opened = _open_package(path, wanted)
    elif path.name.endswith(".pth"):
        strings, opened = _open_torchscript(path, wanted)
    else:
        raise ModelFileError(
            f"{path} is no compiled model: those end with .nequip.pt2 or .nequip.pth; nequip-compile makes them from a "
            "checkpoint"
        )
    if "type_names" not in strings or "r_max" not in strings:
        raise ModelFileError(f"{path} is not a model of this framework: it lacks type names and cutoff radius")
    metadata = ModelMetadata.from_strings(strings)
    _check_fit(path, metadata, strings, wanted, gives, needs)
    _import_libraries(path, metadata)
    if wanted.type == "cpu":
        keep_freed_memory()
    return metadata, wanted, opened


def _import_libraries(path: Path, metadata: ModelMetadata) -> None:
    """Code that calls kernels of another package can be loaded only once these are known to torch."""
    try:
        for name in metadata.libraries:
            importlib.import_module(name)
    except Exception as error:  # such packages also build code when they are imported
        raise ModelFileError(
            f"{path} was compiled with kernels of {' '.join(metadata.libraries)}, which cannot be imported here "
            f"({error}): install that, or compile the model again without the modifier"
        ) from error


def _check_fit(
    path: Path,
    metadata: ModelMetadata,
    strings: Mapping[str, str],
    wanted: torch.device,
    gives: Sequence[str] | None,
    needs: Sequence[str],
) -> None:
    if metadata.device and metadata.device != wanted.type:
        raise ModelFileError(
            f"{path} was compiled for {metadata.device} and cannot run on {wanted.type}: "
            f"compile it again with --device {wanted.type}"
        )
    if wanted.type == "cpu":
        instructions = strings.get("AOTI_CPU_ISA", "").split()
        here = torch.backends.cpu.get_cpu_capability()
        for name, enough in (("AVX512", ("AVX512",)), ("AVX2", ("AVX512", "AVX2"))):
            if name in instructions and here not in enough:
                raise ModelFileError(
                    f"{path} was compiled for a processor with {name}, which this one lacks: compile it again here"
                )
    lacking = [name for name in needs if name not in metadata.outputs]
    asked = [] if gives is None else [name for name in metadata.inputs if name not in gives]
    if lacking or asked:
        mismatch = f"does not give {lacking[0]}" if lacking else f"asks for {asked[0]}"
        raise ModelFileError(
            f"{path} was compiled for target {metadata.target or 'unknown'} and {mismatch}: "
            "compile it again with the --target of the program that calls it"
        )


# name of a program, its inputs and outputs -> a function of tensors by name
_Opener = Callable[[str, Sequence[str], Sequence[str]], NamedFunction]


def _open_package(path: Path, device: torch.device) -> tuple[dict[str, str], _Opener]:
    """Metadata now, code only once the metadata have been found to fit."""
    try:
        strings = package_metadata(str(path))
    except Exception as error:  # RuntimeError, OSError, ... for anything wrong with the file
        raise _damaged_package(path, error) from error

    def opener(name: str, input_names: Sequence[str], output_names: Sequence[str]) -> NamedFunction:
        try:
            package = package_loader(str(path), name, -1 if device.index is None else device.index)
        except Exception as error:  # as above
            raise _damaged_package(path, error) from error

        def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            outputs = package.run([inputs[name] for name in input_names])
            return dict(zip(output_names, outputs, strict=True))

        return run

    return strings, opener


def _damaged_package(path: Path, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"{path} cannot be loaded: it is damaged, or was compiled with another torch than {torch.__version__} or "
        f"for another machine; compile it again here ({str(error).splitlines()[0][:200]})"
    )


def _open_torchscript(path: Path, device: torch.device) -> tuple[dict[str, str], _Opener]:
    stored: dict[str, Any] = dict.fromkeys(_STORED_KEYS, "")
    try:
        program = torch.jit.load(str(path), map_location="cpu", _extra_files=stored)
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(
            f"{path} cannot be loaded as TorchScript: it is damaged or cut off; compile it again"
        ) from error
    strings = {key: value.decode() if isinstance(value, bytes) else value for key, value in stored.items()}

    def opener(name: str, _: Sequence[str], __: Sequence[str]) -> NamedFunction:
        # the device is known to be right only now; constants of a frozen program move when it is loaded, not later
        if name != "model":
            piece: dict[str, Any] = {STAGE_PREFIX + name: b""}
            torch.jit.load(str(path), map_location="cpu", _extra_files=piece)
            if not piece[STAGE_PREFIX + name]:
                raise ModelFileError(f"{path} lacks the piece {name}: compile it again")
            placed = torch.jit.load(io.BytesIO(piece[STAGE_PREFIX + name]), map_location=device)
        else:
            placed = program if device.type == "cpu" else torch.jit.load(str(path), map_location=device)

        def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            # profiling would compile anew for every size of input
            with optimized_execution(should_optimize=False):
                outputs: dict[str, Tensor] = placed(inputs)
            return outputs

        return run

    return {key: value for key, value in strings.items() if value}, opener

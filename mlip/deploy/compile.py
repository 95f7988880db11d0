"""A potential becomes a file that runs without Python or the training code, checked against the potential itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mlip.deploy.aotinductor import CompilerSettings, write_package
from mlip.deploy.check import check_compiled
from mlip.deploy.errors import CompileError
from mlip.deploy.gpu_memory import measure_memory, store_memory
from mlip.deploy.metadata import ModelMetadata
from mlip.deploy.parallel import compile_programs
from mlip.deploy.programs import model_program, stage_programs
from mlip.deploy.targets import Target
from mlip.deploy.torchscript import compile_torchscript
from mlip.models import Potential
from mlip.models.nequip import NequIP

SUFFIXES = {"torchscript": ".nequip.pth", "aotinductor": ".nequip.pt2"}


def compile_potential(
    potential: Potential,
    output: Path,
    *,
    mode: str,
    device: str,
    target: Target,
    threads: int = 1,
    allow_tf32: bool = False,
    inductor_configs: Mapping[str, Any] | None = None,
    stages: bool | None = None,
    source: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> float:
    """Compile, write and check a potential.

    Args:
        potential: what to compile.
        output: where to write; a file that is there is replaced only by one that passed the check.
        mode: "aotinductor" or "torchscript".
        device: device to compile for, e.g. "cpu" or "cuda".
        target: the program that will call it.
        threads: threads per process on the CPU: 1 for MPI ranks.
        allow_tf32: let matrix products on NVIDIA GPUs use TF32.
        inductor_configs: further settings for AOTInductor.
        stages: whether the file also holds the model in pieces, see stages.py; None for where LAMMPS can use them.
        source: where the weights come from, stored for the record.
        progress: called with a word at the start of each stage.

    Returns:
        The largest deviation from the potential itself over all outputs of the check, in eV, eV/Å or eV/Å^3.

    Raises:
        CompileError: the target does not suit the model, the device is missing, or the check failed.
    """
    if target.suited_to_ghosts and isinstance(potential.architecture, NequIP):
        raise CompileError(
            f"--target {target.name} needs a strictly local model, but NequIP passes messages between atoms; "
            "use --target pair_nequip"
        )
    if isinstance(potential.architecture, NequIP) and potential.architecture.categories:
        fields = ", ".join(category.field for category in potential.architecture.categories)
        raise CompileError(f"the model embeds a number of each frame ({fields}), which compiled models cannot be given")
    in_pieces = target.ghost_types and potential.num_layers > 1
    if stages and not in_pieces:
        raise CompileError("only models of several layers that pass messages come in pieces, for --target pair_nequip")
    stages = in_pieces if stages is None else stages
    if not output.name.endswith(SUFFIXES[mode]):
        raise CompileError(f"the output of mode {mode} must end with {SUFFIXES[mode]}, got {output.name}")
    _check_device(device)
    if mode == "torchscript" and inductor_configs:
        raise CompileError("--inductor-configs and --constant-fold are for --mode aotinductor only")
    if not output.parent.is_dir():
        raise CompileError(f"there is no folder {output.parent}")
    potential = potential.to(device).eval().requires_grad_(False)
    metadata = ModelMetadata.of(
        potential,
        target,
        device,
        allow_tf32=allow_tf32,
        threads=threads if mode == "aotinductor" else 0,
        source=source,
        stages=stages,
    ).to_strings()
    programs = {"model": model_program(potential, target, device)}
    if stages:
        programs |= stage_programs(potential, device)
    unchecked = output.with_name(f".unchecked-{os.getpid()}-{output.name}")
    try:
        progress("compiling")
        if mode == "aotinductor":
            settings = CompilerSettings(metadata, threads, dict(inductor_configs or {}))
            write_package(compile_programs(programs, potential, device, settings), unchecked)
        else:
            compile_torchscript(programs, metadata, unchecked)
        progress("checking")
        deviation = check_compiled(potential, unchecked, target, device, stages=stages, allow_tf32=allow_tf32)
        if torch.device(device).type == "cuda":
            progress("measuring memory of")
            store_memory(unchecked, measure_memory(unchecked, device))
        with unchecked.open("rb") as written:
            os.fsync(written.fileno())
        unchecked.replace(output)
    finally:
        unchecked.unlink(missing_ok=True)
    return deviation


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise CompileError(f"unknown device {device!r}: use cpu or cuda") from error
    if kind not in ("cpu", "cuda"):
        raise CompileError(f"models are compiled for cpu or cuda (cuda also for AMD GPUs), not {kind}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise CompileError(
            f"device {device!r} was asked for, but torch {torch.__version__} finds no GPU here: compile on a machine "
            "with the GPU the model will run on, or use --device cpu"
        )


def _is_inductor_setting(key: str) -> bool:
    return key in torch._inductor.config.get_config_copy()


def inductor_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``key=value`` words as settings, numbers and truth values recognised.

    Raises:
        CompileError: not of that form, or a key that is set by other means.
    """
    words: dict[str, Any] = {"true": True, "false": False, "none": None}
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise CompileError(f"--inductor-configs takes key=value, got {pair!r}")
        if key in ("aot_inductor.metadata", "aot_inductor.output_path"):
            raise CompileError(f"--inductor-configs: {key} is set by nequip-compile itself")
        if not _is_inductor_setting(key):
            raise CompileError(f"--inductor-configs: torch {torch.__version__} has no setting {key!r}")
        if value.lower() in words:
            settings[key] = words[value.lower()]
        else:
            settings[key] = int(value) if value.lstrip("-").isdigit() else value
    return settings

"""A potential becomes a file that runs without Python or the training code, checked against the potential itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlip.deploy.aotinductor import compile_aotinductor
from mlip.deploy.example import example_inputs
from mlip.deploy.metadata import ModelMetadata
from mlip.deploy.targets import Target
from mlip.deploy.torchscript import compile_torchscript
from mlip.deploy.tracing import tensor_function
from mlip.models import Potential
from mlip.models.nequip import NequIP

SUFFIXES = {"torchscript": ".nequip.pth", "aotinductor": ".nequip.pt2"}
_CHECK_SIZES = (11, 5, 40, 23, 17)
_TOLERANCE_VARIABLES = {"float64": ("NEQUIP_FLOAT64_MODEL_TOL", 1e-12), "float32": ("NEQUIP_FLOAT32_MODEL_TOL", 5e-5)}
_TF32_TOLERANCE = ("NEQUIP_TF32_MODEL_TOL", 2e-3)


class CompileError(ValueError):
    """The model cannot be compiled as asked; the message says why and what to do."""


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
    ).to_strings()
    function = tensor_function(potential, target)
    unchecked = output.with_name(f".unchecked-{os.getpid()}-{output.name}")
    try:
        progress("compiling")
        example = _inputs(potential, target, _CHECK_SIZES[0], 0, device)
        if mode == "aotinductor":
            compile_aotinductor(
                function,
                target,
                example,
                metadata,
                unchecked,
                threads=threads,
                inductor_configs=inductor_configs or {},
            )
        else:
            compile_torchscript(function, target, example, metadata, unchecked)
        progress("checking")
        deviation = _check(potential, unchecked, target, device, allow_tf32=allow_tf32)
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


def _inputs(potential: Potential, target: Target, num_atoms: int, seed: int, device: str) -> list[Tensor]:
    tensors = example_inputs(target, len(potential.type_names), potential.r_max, num_atoms, seed)
    return [tensor.to(device) for tensor in tensors]


def _check(potential: Potential, path: Path, target: Target, device: str, *, allow_tf32: bool) -> float:
    from mlip.deploy.load import load_compiled

    if "NEQUIP_SKIP_AOTI_MODEL_CHECK" in os.environ:
        return float("nan")
    dtype = str(potential.model_dtype).removeprefix("torch.")
    variable, default = _TF32_TOLERANCE if allow_tf32 else _TOLERANCE_VARIABLES[dtype]
    try:
        tolerance = float(os.environ.get(variable, default))
    except ValueError:
        raise CompileError(f"{variable} is {os.environ[variable]!r}: it must be a number") from None
    compiled = load_compiled(path, device)
    function = tensor_function(potential, target)
    largest = 0.0
    for seed, num_atoms in enumerate(_CHECK_SIZES):
        inputs = _inputs(potential, target, num_atoms, seed, device)
        found = compiled(dict(zip(target.inputs, inputs, strict=True)))
        for name, expected in zip(target.outputs, function(*inputs), strict=True):
            _compare(name, found[name], expected, tolerance, f"{variable} (now {tolerance:g})")
            largest = max(largest, float((found[name] - expected).abs().max()))
    return largest


def _compare(name: str, found: Tensor, expected: Tensor, tolerance: float, setting: str) -> None:
    # errors scale with the largest number that went into a sum, not with the sum itself
    scale = max(1.0, float(expected.abs().max()))
    deviation = float((found - expected).abs().max())
    if not deviation <= tolerance * scale:
        raise CompileError(
            f"the compiled model is wrong: its {name} deviates by {deviation:.2e} from the model itself, more than "
            f"{tolerance * scale:.2e}. Report this with the versions of torch and of the compiler; {setting} sets the "
            "tolerance"
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

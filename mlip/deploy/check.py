"""Compiled files against the potential they come from, on random graphs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mlip.deploy.errors import CompileError
from mlip.deploy.example import example_inputs
from mlip.deploy.load import load_compiled, load_stages
from mlip.deploy.stages import run_stages
from mlip.deploy.targets import Target
from mlip.deploy.tracing import tensor_function
from mlip.models import Potential

_SIZES = (11, 5, 40, 23, 17)
_TOLERANCE_VARIABLES = {"float64": ("NEQUIP_FLOAT64_MODEL_TOL", 1e-12), "float32": ("NEQUIP_FLOAT32_MODEL_TOL", 5e-5)}
_TF32_TOLERANCE = ("NEQUIP_TF32_MODEL_TOL", 2e-3)
# a model in pieces has neither a cell nor sums over the frame
_IN_PIECES = Target("pieces", ("pos", "edge_index", "atom_types"), ("atomic_energy", "edge_forces"), ghost_types=True)


def check_compiled(
    potential: Potential, path: Path, target: Target, device: str, *, stages: bool, allow_tf32: bool
) -> float:
    """Compare all outputs of a compiled file with the potential's, and those of its pieces put together.

    Returns:
        The largest deviation, in eV, eV/Å or eV/Å^3; not a number if the user has switched the check off.

    Raises:
        CompileError: a deviation is larger than the tolerance.
    """
    if "NEQUIP_SKIP_AOTI_MODEL_CHECK" in os.environ:
        return float("nan")
    dtype = str(potential.model_dtype).removeprefix("torch.")
    variable, default = _TF32_TOLERANCE if allow_tf32 else _TOLERANCE_VARIABLES[dtype]
    try:
        tolerance = float(os.environ.get(variable, default))
    except ValueError:
        raise CompileError(f"{variable} is {os.environ[variable]!r}: it must be a number") from None
    compiled = load_compiled(path, device)
    pieces = load_stages(path, device) if stages else {}
    largest = 0.0
    for seed, num_atoms in enumerate(_SIZES):
        inputs = _inputs(potential, target, num_atoms, seed, device)
        results = [(compiled(inputs), _expected(potential, target, inputs), "")]
        if pieces:
            inputs = _inputs(potential, _IN_PIECES, num_atoms, seed, device)
            found = run_stages(pieces, inputs, potential.num_layers)
            results.append((found, _expected(potential, _IN_PIECES, inputs), " in pieces"))
        for found, expected, how in results:
            for name, value in expected.items():
                _compare(name + how, found[name], value, tolerance, f"{variable} (now {tolerance:g})")
                largest = max(largest, float((found[name] - value).abs().max()))
    return largest


def _inputs(potential: Potential, target: Target, num_atoms: int, seed: int, device: str) -> dict[str, Tensor]:
    tensors = example_inputs(target, len(potential.type_names), potential.r_max, num_atoms, seed)
    return {name: tensor.to(device) for name, tensor in zip(target.inputs, tensors, strict=True)}


def _expected(potential: Potential, target: Target, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    outputs = tensor_function(potential, target)(*[inputs[name] for name in target.inputs])
    return dict(zip(target.outputs, outputs, strict=True))


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

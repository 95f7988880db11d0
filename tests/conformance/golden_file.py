"""Reading the files that make_golden.py writes, as models, graphs and expected numbers of ours."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlip.deploy.reference_weights import load_reference_state_dict
from mlip.graph import Graph
from mlip.models import build_model

SYSTEMS = ("crystal", "molecule", "batch")
DTYPES = ("float32", "float64")
GRAPH_FIELDS = {field.name for field in fields(Graph)}


@dataclass(frozen=True)
class Golden:
    """One variant: its config, the reference's weights, inputs and outputs."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    inputs: dict[str, dict[str, Tensor]]
    outputs: dict[str, dict[str, dict[str, Tensor]]]

    @classmethod
    def read(cls, path: Path) -> Golden:
        """Read one ``.npz`` file."""
        with np.load(path, allow_pickle=False) as content:
            config = json.loads(str(content["config"]))
            tensors = {k: torch.as_tensor(content[k]) for k in content.files if "/" in k}
        below = {
            root: {k.removeprefix(f"{root}/"): v for k, v in tensors.items() if k.startswith(f"{root}/")}
            for root in ("weights", "input", "output")
        }
        inputs: dict[str, dict[str, Tensor]] = {s: {} for s in SYSTEMS}
        for key, value in below["input"].items():
            system, field = key.split("/")
            inputs[system][field] = value
        outputs: dict[str, dict[str, dict[str, Tensor]]] = {s: {d: {} for d in DTYPES} for s in SYSTEMS}
        for key, value in below["output"].items():
            system, dtype, field = key.split("/")
            outputs[system][dtype][field] = value
        return cls(config, below["weights"], inputs, outputs)

    def model(self, dtype: str, **overrides: Any) -> torch.nn.Module:
        """Our model of this config with the reference's weights."""
        potential = build_model(self.config | {"model_dtype": dtype, "seed": 0} | overrides)
        load_reference_state_dict(potential, self.weights)
        return potential

    def graph(self, system: str) -> Graph:
        """The input of one system, with the edges of the file."""
        present = {k: v for k, v in self.inputs[system].items() if k in GRAPH_FIELDS}
        if "graph_fields" in GRAPH_FIELDS:
            present["graph_fields"] = {"charge": self.inputs[system]["charge"]}
        return Graph(**present)

    def without_shifts(self, system: str, atomic_energy: Tensor) -> Tensor:
        """Atomic energies (N, 1) in eV less the constant per type, which would hide the error of the network."""
        shifts = next((v for k, v in self.weights.items() if k.endswith("per_type_energy_scale_shift.shifts")), None)
        if shifts is None or shifts.numel() == 0:
            return atomic_energy
        names = self.config["type_names"]
        return atomic_energy - shifts.expand(len(names), 1)[self.inputs[system]["atom_types"]]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what is expected."""
    difference = (actual.detach().double() - expected.double()).norm()
    return float(difference / expected.double().norm().clamp_min(1e-300))


def errors(golden: Golden, system: str, outputs: dict[str, Tensor]) -> dict[str, float]:
    """Relative errors of outputs against the float64 reference, by field; energies without the constant shift."""
    expected = golden.outputs[system]["float64"]
    found = {}
    for field, value in expected.items():
        if field == "total_energy":
            continue  # the sum of the atomic energies, which are held against theirs more sharply
        if field == "atomic_energy":
            pair = (golden.without_shifts(system, outputs[field]), golden.without_shifts(system, value))
        else:
            pair = (outputs[field], value)
        found[field] = relative_error(*pair)
    return found


def tolerance(golden: Golden, dtype: str) -> float:
    """The relative error that is allowed.

    float64: 1e-10. float32: 1e-6, or three times the largest error of the reference's own float32 model where that is
    larger (with weights drawn at random the terms of forces and stress cancel, so rounding alone can exceed 1e-6).
    """
    if dtype == "float64":
        return 1e-10
    own = [error for system in SYSTEMS for error in errors(golden, system, golden.outputs[system]["float32"]).values()]
    return max(1e-6, 3 * max(own))


def check(golden: Golden, potential: torch.nn.Module, system: str, dtype: str) -> None:
    """Assert that our prediction is the reference's."""
    prediction = potential(golden.graph(system), derivatives=True).tensors()
    allowed = tolerance(golden, dtype)
    exceeding = {k: v for k, v in errors(golden, system, prediction).items() if not v <= allowed}
    assert not exceeding, f"relative errors above {allowed:.1e} on {system} in {dtype}: {exceeding}"
    whole = relative_error(prediction["atomic_energy"], golden.outputs[system]["float64"]["atomic_energy"])
    assert whole <= {"float32": 1e-6, "float64": 1e-10}[dtype], f"atomic energies on {system} in {dtype}: {whole:.1e}"
    total = torch.zeros_like(prediction["total_energy"])
    batch = golden.inputs[system].get("batch", torch.zeros(len(prediction["atomic_energy"]), dtype=torch.long))
    total.index_add_(0, batch, prediction["atomic_energy"])
    torch.testing.assert_close(prediction["total_energy"], total, rtol=1e-13, atol=1e-12)

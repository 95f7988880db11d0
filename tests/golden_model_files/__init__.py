"""One small file per version of each format of ours, and what they must give.

``checkpoint-V.ckpt`` and ``package-V.nequip.zip`` are written by ``make.py`` when version V is the newest, and never
again. Their weights follow a formula; ``expected.json`` has energies and forces of the model with those weights.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlip.graph import Graph
from mlip.models import Potential

FOLDER = Path(__file__).parent
MODEL: dict[str, Any] = {
    "_target_": "allegro.model.AllegroModel",
    "seed": 0,
    "model_dtype": "float64",
    "type_names": ["Cu", "Au"],
    "r_max": 3.2,
    "l_max": 1,
    "num_layers": 1,
    "num_scalar_features": 4,
    "num_tensor_features": 2,
    "scalar_embed_mlp_hidden_layers_width": 4,
    "allegro_mlp_hidden_layers_width": 4,
    "readout_mlp_hidden_layers_width": 4,
    "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed"},
    "avg_num_neighbors": 12.0,
    "per_type_energy_shifts": {"Cu": -1.0, "Au": -2.0},
    "per_type_energy_scales": {"Cu": 0.5, "Au": 1.0},
}


def formula(name: str, tensor: Tensor) -> Tensor:
    """What a weight of that name and shape is in the golden files."""
    count = torch.arange(tensor.numel(), dtype=torch.float64)
    if name.endswith("frequencies"):
        values = count + 1
    elif name.endswith("scales"):
        values = 0.5 + 0.5 * count
    elif name.endswith("shifts"):
        values = -1 - count
    else:
        values = torch.sin(1 + 0.7 * count + 0.1 * len(name.rpartition("ema.model.")[2]))
        values *= 2.0 if name.startswith("ema.") else 1.5
    return values.view(tensor.shape).to(tensor.dtype) if tensor.is_floating_point() else tensor


def example() -> Graph:
    """Three atoms in the range of each other, no cell."""
    pos = torch.tensor([[0.0, 0.0, 0.0], [2.1, 0.3, 0.0], [0.4, 1.9, 1.1]], dtype=torch.float64)
    edges = torch.tensor([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]])
    return Graph(pos=pos, atom_types=torch.tensor([0, 1, 1]), edge_index=edges)


def expected() -> dict[str, Any]:
    """Atomic energies, eV, and forces, eV/Å, of the model with the weights of the formula."""
    return json.loads((FOLDER / "expected.json").read_text())


def deviation(potential: Potential) -> float:
    """The largest difference from the expected energies and forces, eV and eV/Å."""
    found = potential(example(), derivatives=True)
    energies, forces = (torch.tensor(expected()[key], dtype=torch.float64) for key in ("atomic_energy", "forces"))
    differences = (found.atomic_energy.flatten() - energies).abs().max(), (found.forces - forces).abs().max()
    return max(map(float, differences), default=math.nan)

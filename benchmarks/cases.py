"""The systems and models that are timed: plain data and numpy, read by both environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

ACETYLACETONE = "HHHHHHHHCCCCCOO"


@dataclass(frozen=True)
class Case:
    """A model config in the public schema (without seed and dtype), one frame to infer and one batch to train on.

    ``small_batch`` has the same fields: a training step is compiled with it, for any size, because the reference runs
    its eager model while it compiles, which for the larger batch would take 20 GB.
    """

    config: dict[str, Any]
    frame: Arrays
    batch: Arrays
    small_batch: Arrays
    dtype: str = "float32"

    @property
    def strictly_local(self) -> bool:
        """Whether forces are the sum of those from the edges of each centre."""
        return "Allegro" in self.config["_target_"]


def allegro_config(
    type_names: list[str], r_max: float, scalars: int, tensors: int, neighbors: float, l_max: int = 2
) -> dict[str, Any]:
    """An Allegro config with two layers."""
    return {
        "_target_": "allegro.model.AllegroModel",
        "type_names": type_names,
        "r_max": r_max,
        "l_max": l_max,
        "parity": True,
        "num_layers": 2,
        "num_scalar_features": scalars,
        "num_tensor_features": tensors,
        "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8},
        "scalar_embed_mlp_hidden_layers_depth": 1,
        "scalar_embed_mlp_hidden_layers_width": scalars,
        "allegro_mlp_hidden_layers_depth": 1,
        "allegro_mlp_hidden_layers_width": 64,
        "readout_mlp_hidden_layers_depth": 1,
        "readout_mlp_hidden_layers_width": 32,
        "avg_num_neighbors": neighbors,
        "per_type_energy_scales": 1.0,
        "per_type_energy_shifts": 0.0,
    }


def edges(positions: np.ndarray, cell: np.ndarray | None, r_max: float) -> tuple[np.ndarray, np.ndarray]:
    """All directed pairs closer than r_max, sorted by centre: edge_index (2, E) and cell shifts (E, 3)."""
    shifts = np.array([[0, 0, 0]])
    if cell is not None:
        heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        counts = np.ceil(r_max / heights).astype(int)
        shifts = np.array(list(np.ndindex(*(2 * counts + 1)))) - counts
    found = []
    for shift in shifts:
        offset = 0.0 if cell is None else shift @ cell
        vectors = positions[None] + offset - positions[:, None]
        close = np.einsum("ijk,ijk->ij", vectors, vectors) < r_max**2
        if not shift.any():
            np.fill_diagonal(close, False)
        centre, neighbour = np.nonzero(close)
        found.append(np.column_stack([centre, neighbour, np.broadcast_to(shift, (len(centre), 3))]))
    rows = np.concatenate(found)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    return np.ascontiguousarray(rows[:, :2].T), rows[:, 2:].astype(np.float64)


def frame(positions: np.ndarray, types: np.ndarray, cell: np.ndarray | None, r_max: float) -> Arrays:
    """The graph fields of one frame."""
    edge_index, shifts = edges(positions, cell, r_max)
    fields = {"pos": positions, "atom_types": types.astype(np.int64), "edge_index": edge_index.astype(np.int64)}
    if cell is None:
        cell = 50.0 * np.eye(3)  # vacuum: both sides run their path for periodic input
    return fields | {"cell": cell[None], "edge_cell_shift": shifts}


def joined(frames: list[Arrays]) -> Arrays:
    """Several frames as one graph."""
    sizes = np.array([len(f["pos"]) for f in frames])
    offsets = np.cumsum(sizes) - sizes
    batch = {k: np.concatenate([f[k] for f in frames]) for k in frames[0] if k != "edge_index"}
    batch["edge_index"] = np.concatenate([f["edge_index"] + o for f, o in zip(frames, offsets, strict=True)], axis=1)
    return batch | {"batch": np.repeat(np.arange(len(frames)), sizes), "num_atoms": sizes}


def water_like(counts: tuple[int, int, int], r_max: float, rng: np.random.Generator) -> Arrays:
    """A periodic frame of O and H at 0.1 atoms per Å^3: a jittered cubic lattice, two H for each O."""
    spacing = 10.0 ** (1 / 3)
    grid = np.array(list(np.ndindex(*counts)), dtype=float)
    positions = spacing * (grid + rng.uniform(-0.2, 0.2, grid.shape))
    types = np.arange(len(grid)) % 3 > 0  # O H H O H H ...
    return frame(positions, types, spacing * np.diag(counts).astype(float), r_max)


def molecule(rng: np.random.Generator) -> Arrays:
    """Fifteen atoms of acetylacetone's composition in a blob of a molecule's density, no pair closer than 1 Å."""
    names = "CHO"
    types = np.array([names.index(symbol) for symbol in ACETYLACETONE])
    positions: list[np.ndarray] = []
    while len(positions) < len(types):
        trial = rng.uniform(0.0, 1.0, 3) * np.array([7.0, 4.5, 3.5])
        if all(np.linalg.norm(trial - other) > 1.0 for other in positions):
            positions.append(trial)
    return frame(np.array(positions), types, None, 5.0)


def nequip_config(type_names: list[str], preset: str, r_max: float, neighbors: float) -> dict[str, Any]:
    """A NequIP config of a preset size."""
    sizes = {"s": (2, 1, [128, 64]), "m": (4, 2, [128, 64, 32])}
    num_layers, l_max, num_features = sizes[preset]
    return {
        "_target_": "nequip.model.NequIPGNNModel",
        "type_names": type_names,
        "r_max": r_max,
        "l_max": l_max,
        "parity": False,
        "num_layers": num_layers,
        "num_features": num_features,
        "type_embed_num_features": 32,
        "radial_mlp_depth": 1,
        "radial_mlp_width": 128,
        "avg_num_neighbors": neighbors,
        "per_type_energy_scales": 1.0,
        "per_type_energy_shifts": 0.0,
    }


def make_case(name: str) -> Case:
    """The systems and models by name.

    ``acac``: 15-atom molecules, Allegro 32/16, r_max 5 Å. ``water``: 512 atoms, Allegro 64/64, r_max 6 Å, l_max 2.
    ``water-l3``: 125 atoms, the same with l_max 3. ``nequip-s``, ``nequip-m``: 125 atoms, r_max 6 Å, presets S and M.
    """
    rng = np.random.default_rng(2026)
    if name == "water":
        config = allegro_config(["O", "H"], 6.0, 64, 64, 90.0)
        # Training in two frames of 256: the reference compiles its training step from two frames on.
        training = [water_like((8, 8, 4), 6.0, rng) for _ in range(2)]
        small = [water_like((4, 4, 4), 6.0, rng) for _ in range(2)]
        return Case(config, water_like((8, 8, 8), 6.0, rng), joined(training), joined(small))
    if name == "acac":
        config = allegro_config(["C", "H", "O"], 5.0, 32, 16, 12.0)
        training = [molecule(rng) for _ in range(5)]
        return Case(config, molecule(rng), joined(training), joined(training))
    configs = {
        "water-l3": allegro_config(["O", "H"], 6.0, 64, 64, 90.0, l_max=3),
        "nequip-s": nequip_config(["O", "H"], "s", 6.0, 90.0),
        "nequip-m": nequip_config(["O", "H"], "m", 6.0, 90.0),
    }
    small = joined([water_like((3, 3, 3), 6.0, rng) for _ in range(2)])
    return Case(configs[name], water_like((5, 5, 5), 6.0, rng), small, small)

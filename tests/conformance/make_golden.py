"""Write the golden files: weights, inputs and outputs of small models of the reference implementation.

Run by the Python of the peer environment (``make golden``), which has nequip, nequip-allegro, torch and numpy, and
nothing of this project but ``variants.py`` beside this file. One compressed ``.npz`` per variant:

    config                        JSON text of the model config, without seed and model_dtype
    versions                      JSON text: packages that computed the numbers
    weights/<key>                 the reference's state dict (float32 where the model has model_dtype)
    input/<system>/<field>        graph fields
    output/<system>/<dtype>/<field>   what the reference computed with model_dtype <dtype>, stored as float64

The float64 model holds the float32 weights, converted. Left out of the weights are tensors that no importer needs:
the Wigner 3j constants, e3nn's output masks and its empty placeholders.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list

sys.path.insert(0, str(Path(__file__).parent))
from variants import R_MAX, VARIANTS

DTYPES = {"float32": torch.float32, "float64": torch.float64}
OUTPUTS = ("atomic_energy", "total_energy", "forces", "stress", "virial")
PACKAGES = ("nequip", "nequip-allegro", "torch", "e3nn", "numpy")
MIN_DISTANCE = 0.85  # Å, closest pair of atoms

System = dict[str, np.ndarray]


def spread_positions(rng: np.random.Generator, count: int, cell: np.ndarray, pbc: bool) -> np.ndarray:
    """Random positions (count, 3) in Å inside the cell with no pair closer than MIN_DISTANCE."""
    for _ in range(100_000):
        atoms = Atoms(numbers=[1] * count, cell=cell, pbc=pbc, scaled_positions=rng.random((count, 3)))
        if len(neighbor_list("i", atoms, MIN_DISTANCE)) == 0:
            return atoms.positions
    raise RuntimeError("no configuration without close pairs found: make the cell larger")


def graph(positions: np.ndarray, types: np.ndarray, cell: np.ndarray | None, charge: int) -> System:
    """The graph fields of one frame; edges sorted by centre."""
    atoms = Atoms(numbers=[1] * len(types), positions=positions, cell=cell, pbc=cell is not None)
    centre, neighbour, shift = neighbor_list("ijS", atoms, R_MAX)
    order = np.lexsort((neighbour, centre))
    fields = {
        "pos": positions,
        "atom_types": types.astype(np.int64),
        "edge_index": np.stack([centre, neighbour])[:, order].astype(np.int64),
        "charge": np.array([[charge]], dtype=np.int64),
    }
    if cell is not None:
        fields["cell"] = cell[None]
        fields["edge_cell_shift"] = shift[order].astype(np.float64)
    return fields


def batched(frames: list[System]) -> System:
    """Several frames as one graph."""
    sizes = np.array([len(f["pos"]) for f in frames])
    offsets = np.cumsum(sizes) - sizes
    joined = {k: np.concatenate([f[k] for f in frames]) for k in frames[0] if k != "edge_index"}
    joined["edge_index"] = np.concatenate([f["edge_index"] + o for f, o in zip(frames, offsets, strict=True)], axis=1)
    joined["batch"] = np.repeat(np.arange(len(frames)), sizes)
    joined["num_atoms"] = sizes
    return joined


def systems(rng: np.random.Generator) -> dict[str, System]:
    """A triclinic cell, a molecule beside an isolated atom, and a batch of two periodic frames."""
    triclinic = np.array([[5.1, 0.0, 0.0], [1.2, 4.4, 0.0], [-0.9, 0.8, 3.9]])
    positions = spread_positions(rng, 6, triclinic, True)
    positions[2] += triclinic[0] - 2 * triclinic[2]  # outside the cell: nobody wraps for the model
    crystal = graph(positions, np.array([0, 1, 2, 2, 0, 1]), triclinic, 1)

    positions = spread_positions(rng, 7, 4.0 * np.eye(3), False)
    positions[3] += 40.0  # no neighbour, and not the last atom
    molecule = graph(positions, np.array([2, 1, 0, 1, 0, 0, 1]), None, -1)

    small = triclinic[[1, 2, 0]] * 0.9
    first = graph(spread_positions(rng, 4, small, True), np.array([1, 0, 2, 1]), small, 0)
    wide = np.diag([9.0, 10.0, 11.0])
    positions = np.array([[0.1, 0.2, 0.3], [5.0, 5.0, 5.0], [1.0, 0.9, 0.1]])  # the second has no neighbour
    second = graph(positions, np.array([2, 0, 1]), wide, 2)
    return {"crystal": crystal, "molecule": molecule, "batch": batched([first, second])}


def is_needed(key: str, value: torch.Tensor) -> bool:
    """Whether an importer needs this tensor: constants of the algebra and placeholders it does not."""
    return value.numel() > 0 and "w3j" not in key and not key.endswith("output_mask")


class ColumnParameter(torch.nn.Module):
    """Gives a looked-up pair parameter (E,) the column shape (E, 1) its user needs."""

    def __init__(self, lookup: torch.nn.Module) -> None:
        super().__init__()
        self.lookup = lookup

    def forward(self, parameter: torch.Tensor, index1: torch.Tensor, index2: torch.Tensor) -> torch.Tensor:
        """The parameter of every edge, (E, 1)."""
        return self.lookup(parameter, index1, index2)[:, None]


def mend_lennard_jones(module: torch.nn.Module) -> None:
    """Let nequip 0.19.1's LennardJones run: as released it broadcasts its (E, 1) columns to (E, E) and fails."""
    module._param = ColumnParameter(module._param)
    module.register_forward_pre_hook(lambda _, args: (args[0] | {"edge_lengths": args[0]["edge_lengths"].view(-1)},))


def build(config: dict[str, Any], dtype: str, seed: int) -> torch.nn.Module:
    """A model of the reference from a config in the public schema."""
    from hydra.utils import get_method
    from nequip.utils.global_state import global_state_initialized, set_global_state

    if not global_state_initialized():
        set_global_state(allow_tf32=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_method(config["_target_"])(
            seed=seed, model_dtype=dtype, **{k: v for k, v in config.items() if k != "_target_"}
        )
    for module in model.modules():
        if type(module).__name__ == "LennardJones":
            mend_lennard_jones(module)
    return model.eval()


def predict(model: torch.nn.Module, system: System) -> System:
    """The outputs of the reference, as float64 arrays."""
    data = model({k: torch.as_tensor(np.ascontiguousarray(v)) for k, v in system.items()})
    return {k: data[k].detach().double().numpy() for k in OUTPUTS if k in data and data[k].numel()}


def golden(config: dict[str, Any], seed: int, complete: bool = False) -> dict[str, np.ndarray]:
    """Everything that goes into the file of one variant; ``complete`` keeps every tensor of the state dict."""
    inputs = systems(np.random.default_rng(seed))
    single = build(config, "float32", seed)
    double = build(config, "float64", seed)
    state = single.state_dict()
    weights = {k: v for k, v in state.items() if complete or is_needed(k, v)}
    converted = {k: state[k].to(v.dtype) if is_needed(k, v) else v for k, v in double.state_dict().items()}
    double.load_state_dict(converted)

    content = {
        "config": np.array(json.dumps(config)),
        "versions": np.array(json.dumps({p: importlib.metadata.version(p) for p in PACKAGES})),
    }
    content |= {f"weights/{k}": v.numpy() for k, v in weights.items()}
    for name, system in inputs.items():
        content |= {f"input/{name}/{k}": v for k, v in system.items()}
        for dtype, model in (("float32", single), ("float64", double)):
            content |= {f"output/{name}/{dtype}/{k}": v for k, v in predict(model, system).items()}
    return content


def main() -> None:
    """Write the files of all variants, or of those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", default=list(VARIANTS), help="names from variants.py (all)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "golden", help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="added to the seed of every variant (0)")
    parser.add_argument("--complete", action="store_true", help="keep the tensors that no importer needs")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    total = 0
    for name in args.variants:
        path = args.output / f"{name}.npz"
        seed = args.seed + list(VARIANTS).index(name)
        np.savez_compressed(path, **golden(VARIANTS[name], seed, args.complete))
        total += path.stat().st_size
        print(f"{name:50s} {path.stat().st_size / 1e3:7.1f} kB", flush=True)
    print(f"{len(args.variants)} files, {total / 1e3:.1f} kB")


if __name__ == "__main__":
    main()

"""How much memory an evaluation takes on the GPU, as a line in the file, so that its callers can plan ahead."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from mlip.deploy.load import load_compiled
from mlip.deploy.metadata import MEMORY_KEY

# (atoms, edges per atom): large enough that rounding by the allocator does not matter, small enough for any GPU
_SIZES = ((2000, 12), (1000, 48), (2000, 36))


def measure_memory(path: Path, device: str) -> list[float]:
    """Bytes per atom and bytes per edge of a compiled model: a linear fit to the peaks of a few evaluations.

    Weights and inputs are not in it.
    """
    model = load_compiled(path, device)
    peaks = []
    for num_atoms, degree in _SIZES:
        inputs = {
            name: tensor.to(device) for name, tensor in random_graph(num_atoms, degree, model.metadata.r_max).items()
        }
        model(inputs)  # what is allocated once and kept does not count
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        model(inputs)
        torch.cuda.synchronize(device)
        peaks.append(float(torch.cuda.max_memory_allocated(device) - before))
    return fit_memory([(atoms, atoms * degree) for atoms, degree in _SIZES], peaks)


def fit_memory(sizes: list[tuple[int, int]], peaks: list[float]) -> list[float]:
    """Bytes per atom and per edge, neither below zero.

    Args:
        sizes: (atoms, edges) of each evaluation.
        peaks: bytes that each took.
    """
    matrix = torch.tensor(sizes, dtype=torch.float64)
    wanted = torch.tensor(peaks, dtype=torch.float64).unsqueeze(1)
    per_atom, per_edge = torch.linalg.lstsq(matrix, wanted).solution.flatten().tolist()
    if per_atom < 0:
        per_atom, per_edge = 0.0, float((matrix[:, 1:] * wanted).sum() / matrix[:, 1].square().sum())
    return [round(per_atom, 1), round(per_edge, 1)]


def random_graph(num_atoms: int, degree: int, r_max: float) -> dict[str, Tensor]:
    """All that any target asks for: atoms of the first type at random places, each with as many random neighbours."""
    generator = torch.Generator().manual_seed(0)
    side = 2.0 * r_max
    neighbour = torch.randint(num_atoms - 1, (num_atoms, degree), generator=generator)
    centre = torch.arange(num_atoms).unsqueeze(1).expand(-1, degree)
    neighbour = neighbour + (neighbour >= centre)
    return {
        "pos": side * torch.rand(num_atoms, 3, generator=generator, dtype=torch.float64),
        "edge_index": torch.stack([centre.flatten(), neighbour.flatten()]),
        "atom_types": torch.zeros(num_atoms, dtype=torch.int64),
        "cell": torch.eye(3, dtype=torch.float64).unsqueeze(0) * side,
        "edge_cell_shift": torch.zeros(num_atoms * degree, 3, dtype=torch.float64),
        "batch": torch.zeros(num_atoms, dtype=torch.int64),
        "num_atoms": torch.tensor([num_atoms]),
    }


def store_memory(path: Path, memory: list[float]) -> None:
    """Add what was measured to the metadata of a file, as ``bytes_per_atom bytes_per_edge``."""
    value = " ".join(repr(size) for size in memory)
    if path.name.endswith(".pth"):
        with zipfile.ZipFile(path, "a") as archive:
            root = archive.namelist()[0].split("/")[0]
            archive.writestr(f"{root}/extra/{MEMORY_KEY}", value)
        return
    changed = path.with_name(f"{path.name}.measured")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(changed, "w", zipfile.ZIP_STORED) as rewritten:
        for entry in archive.infolist():
            content = archive.read(entry)
            if entry.filename.endswith("_metadata.json"):
                content = json.dumps(json.loads(content) | {MEMORY_KEY: value}).encode()
            rewritten.writestr(entry, content)
    changed.replace(path)

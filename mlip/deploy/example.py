"""Random inputs of the right kind, to record a model with and to check what comes out; no data set is needed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from mlip.deploy.targets import Target
from mlip.graph import Graph

# typical distance of neighbouring atoms in condensed matter, Å: keeps steep pair terms in their usual range
_SPACING = 2.2
# Frames of a batch, by seed. Recording takes equal sizes for the same size, so the first is no other size of an input,
# neither 2 (rows of edge_index) nor 3 (dimensions of space).
_FRAMES = (4, 2, 1, 3, 5)


def example_graph(num_types: int, r_max: float, num_atoms: int, generator: torch.Generator, images: int = 1) -> Graph:
    """A rattled cubic crystal of random types with periodic images in a range of cells around it.

    Args:
        num_types: number of atom types.
        r_max: cutoff radius, Å.
        num_atoms: N.
        generator: source of randomness.
        images: cells in each direction whose atoms count as neighbours.
    """
    side = max(2, round(num_atoms ** (1 / 3) + 0.49))
    spacing = min(_SPACING, 0.9 * r_max)
    axis = torch.arange(side, dtype=torch.float64)
    sites = torch.cartesian_prod(axis, axis, axis)[torch.randperm(side**3, generator=generator)[:num_atoms]]
    pos = (sites + 0.2 * (torch.rand(num_atoms, 3, generator=generator, dtype=torch.float64) - 0.5)) * spacing
    cell = torch.eye(3, dtype=torch.float64) + 0.05 * torch.rand(3, 3, generator=generator, dtype=torch.float64)
    cell = cell * (side * spacing)
    steps = torch.arange(-images, images + 1, dtype=torch.float64)
    shifts = torch.cartesian_prod(steps, steps, steps)
    vectors = pos[None, :, None] - pos[:, None, None] + (shifts @ cell)[None, None]
    distance = vectors.norm(dim=-1)
    centre, neighbour, shift = ((distance < r_max) & (distance > 1e-6)).nonzero(as_tuple=True)
    return Graph(
        pos=pos,
        atom_types=torch.randint(num_types, (num_atoms,), generator=generator),
        edge_index=torch.stack([centre, neighbour]),
        cell=cell.unsqueeze(0),
        edge_cell_shift=shifts[shift],
    )


def example_inputs(
    target: Target,
    num_types: int,
    r_max: float,
    num_atoms: int,
    seed: int,
    widths: Mapping[str, int] = MappingProxyType({}),
) -> list[Tensor]:
    """Input tensors of a target: one frame, some for a batch, an open cluster where there is no cell.

    Args:
        target: names the inputs.
        num_types: number of atom types T; where the target knows types of ghosts, some atoms are ghosts.
        r_max: cutoff radius, Å.
        num_atoms: N, of the first frame.
        seed: of the random numbers.
        widths: columns of the inputs that are (N, columns) of random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    if target.is_batched:
        sizes = [num_atoms + frame for frame in range(_FRAMES[seed % len(_FRAMES)])]
        graph = _join([example_graph(num_types, r_max, size, generator) for size in sizes])
    else:
        images = 1 if "cell" in target.inputs else 0
        graph = example_graph(num_types, r_max, num_atoms, generator, images)
    tensors = graph.tensors()
    if target.ghost_types:
        tensors["atom_types"] = torch.randint(2 * num_types, graph.atom_types.shape, generator=generator)
    for name, columns in widths.items():
        tensors[name] = torch.randn(num_atoms, columns, generator=generator, dtype=torch.float64)
    return [tensors[name] for name in target.inputs]


def _join(graphs: list[Graph]) -> Graph:
    counts = torch.tensor([graph.pos.shape[0] for graph in graphs])
    starts = counts.cumsum(0) - counts
    return Graph(
        pos=torch.cat([graph.pos for graph in graphs]),
        atom_types=torch.cat([graph.atom_types for graph in graphs]),
        edge_index=torch.cat([g.edge_index + start for g, start in zip(graphs, starts, strict=True)], dim=1),
        cell=torch.cat([graph.cell for graph in graphs if graph.cell is not None]),
        edge_cell_shift=torch.cat([graph.edge_cell_shift for graph in graphs if graph.edge_cell_shift is not None]),
        batch=torch.repeat_interleave(torch.arange(len(graphs)), counts),
        num_atoms=counts,
    )

"""Energies of atoms and their derivative by each edge vector, operation by operation or compiled where it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.fx.experimental import _config as symbolic_shapes
from torch.fx.experimental.proxy_tensor import make_fx

from mlip.graph import Graph
from mlip.integrations.ghost_exchange import exchange
from mlip.models import Potential
from mlip.nn.kernels import fusible_kernels
from mlip.nn.tiles import EdgeTiles, tile_height

_HEIGHT = 8  # of tiles in compiled code, which is made once for all numbers of neighbours
# Compilers treat small sizes specially, and would compile again for them: at least so many tiles and atoms.
_LEAST = 64
# Sizes to record with: equal sizes would be taken for the same size, so these are no size of any layer.
_ATOMS, _TILES = 10007, 10009


class PairDerivative:
    """What a step of LAMMPS needs of a potential.

    Args:
        potential: in evaluation mode, on the CPU.
        compiled: compile on first use, for any number of atoms and edges.
    """

    def __init__(self, potential: Potential, *, compiled: bool) -> None:
        self.potential, self._compiled = potential, compiled
        self.device = torch.device("cpu")
        self._function: Callable[..., tuple[Tensor, Tensor]] | None = None

    def move(self, device: torch.device) -> None:
        """Compute on this device from now on."""
        if device != self.device:
            self.potential.to(device)
            self.device = device
            self._function = None

    def __call__(
        self, edge_index: Tensor, vectors: Tensor, atom_types: Tensor, counted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Energies (N,), eV, and the derivative of those that count by the edge vectors, (E, 3), eV/Å; both float64.

        Args:
            edge_index: (2, E) int64, rows (centre, neighbour), sorted by centre.
            vectors: (E, 3) float64, Å, from centre to neighbour.
            atom_types: (N,) int64, at least two atoms.
            counted: (N,) float64, one for atoms whose energy counts and zero for others.
        """
        num_edges, num_atoms = vectors.shape[0], atom_types.shape[0]
        height = _HEIGHT if self._compiled else tile_height(num_edges, num_atoms)
        tiles = EdgeTiles.build(edge_index, num_atoms, height, exact=True)
        inputs = [tiles.place(vectors, padding=self.potential.r_max), tiles.centre, tiles.neighbour, tiles.occupied]
        if not self._compiled:
            energies, gradient = self._evaluate([*inputs, atom_types, counted])
        else:
            energies, gradient = self._run_compiled(inputs, atom_types, counted)
        return energies, tiles.take(gradient, num_edges)

    def _run_compiled(self, tiles: list[Tensor], atom_types: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        num_tiles, num_atoms = tiles[0].shape[0], atom_types.shape[0]
        filler = (self.potential.r_max, 0, 0, False)
        tiles = [_filled(tensor, value) for tensor, value in zip(tiles, filler, strict=True)]
        if self._function is None:
            self._function = self._compile()
        for tensor in tiles[2:]:
            torch._dynamo.mark_static(tensor, 1)
        torch._dynamo.mark_static(tiles[0], [1, 2])
        # sizes that are equal in the first step are not the same size
        with symbolic_shapes.patch(use_duck_shape=False):  # type: ignore[attr-defined]
            energies, gradient = self._function(*tiles, _filled(atom_types, 0), _filled(counted, 0))
        return energies[:num_atoms], gradient[:num_tiles]

    def _evaluate(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Edge vectors in tiles (tiles, height, 3) -> energies (N,) and the derivative in the same layout."""
        vectors, centre, neighbour, occupied, atom_types, counted = inputs
        num_atoms = atom_types.shape[0]
        tiles = EdgeTiles(centre, neighbour, neighbour, occupied, num_atoms)
        graph = Graph(pos=vectors.new_zeros(num_atoms, 3), atom_types=atom_types, edge_index=neighbour)
        # in this thread: on a GPU other threads would call MPI
        with torch.enable_grad(), torch.autograd.set_multithreading_enabled(False):  # type: ignore[no-untyped-call]
            vectors = vectors.detach().requires_grad_()
            across = exchange if self.potential.num_layers > 1 else None
            energies = self.potential.atomic_energies(vectors, graph, tiles, across).squeeze(1)
            (gradient,) = torch.autograd.grad((energies * counted).sum(), vectors)
        return energies.detach(), gradient

    def _compile(self) -> Callable[..., tuple[Tensor, Tensor]]:
        # other processes would start this program, which is LAMMPS, as if it were Python
        torch._inductor.config.compile_threads = 1

        def whole(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=self.device)

        inputs = [
            torch.ones(_TILES, _HEIGHT, 3, dtype=torch.float64, device=self.device),
            whole(_TILES),
            whole(_TILES, _HEIGHT),
            whole(_TILES, _HEIGHT).bool(),
            whole(_ATOMS),
            whole(_ATOMS).double(),
        ]

        def function(*tensors: Tensor) -> tuple[Tensor, Tensor]:  # recording takes no bound methods
            return self._evaluate(tensors)

        with fusible_kernels(), torch.no_grad():
            recorded = make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*inputs)
        recorded.graph.eliminate_dead_code()
        recorded.recompile()
        return torch.compile(recorded, dynamic=True)


def _filled(tensor: Tensor, value: float) -> Tensor:
    """Rows added up to the least number."""
    missing = max(0, _LEAST - tensor.shape[0])
    return torch.cat([tensor, tensor.new_full((missing, *tensor.shape[1:]), value)])

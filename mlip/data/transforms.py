"""Transforms of one frame: types, edges, and conventions of stress. Each takes a frame and returns a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from mlip.cutoffs import PerEdgeTypeCutoff, cutoff_matrix
from mlip.data.errors import DataError
from mlip.data.fields import STRESS, VIRIAL
from mlip.data.frame import Frame
from mlip.data.neighborlist import find_backend, neighbor_list

Transform = Callable[[Frame], Frame]


class ChemicalSpeciesToAtomTypeMapper:
    """Sets ``atom_types`` from the atomic numbers.

    Args:
        model_type_names: the model's type names, in its order.
        chemical_species_to_atom_type_map: chemical symbol -> type name; by default a type is named like its element.
        chemical_symbols: the older keyword for ``model_type_names``.
    """

    def __init__(
        self,
        model_type_names: Sequence[str] | None = None,
        chemical_species_to_atom_type_map: Mapping[str, str] | None = None,
        chemical_symbols: Sequence[str] | None = None,
    ) -> None:
        from ase.data import atomic_numbers
        from ase.data import chemical_symbols as periodic_table

        if (model_type_names is None) == (chemical_symbols is None):
            raise DataError(
                "ChemicalSpeciesToAtomTypeMapper takes model_type_names (or its old name chemical_symbols), "
                "exactly one of them"
            )
        names = list(model_type_names if model_type_names is not None else chemical_symbols or [])
        species = dict(chemical_species_to_atom_type_map or {name: name for name in names})
        self._symbols = periodic_table
        self._type_names = names
        self._table = torch.full((len(periodic_table),), -1, dtype=torch.int64)
        for symbol, name in species.items():
            if symbol not in atomic_numbers:
                raise DataError(
                    f"{symbol!r} is not a chemical symbol: name the element of each type with "
                    "chemical_species_to_atom_type_map"
                )
            if name not in names:
                raise DataError(
                    f"chemical_species_to_atom_type_map maps {symbol} to {name!r}, which is not among "
                    f"model_type_names {names}"
                )
            self._table[atomic_numbers[symbol]] = names.index(name)

    def __call__(self, frame: Frame) -> Frame:
        """The frame with types."""
        if frame.atom_types is not None and not frame.atomic_numbers.any():
            raise DataError(
                "the data hold atom types and no elements to make types of: take ChemicalSpeciesToAtomTypeMapper out "
                "of `transforms`"
            )
        types = self._table[frame.atomic_numbers]
        if (types < 0).any():
            unknown = sorted({self._symbols[z] for z in frame.atomic_numbers[types < 0].tolist()})
            raise DataError(
                f"the data contain {', '.join(unknown)}, which the model has no type for: add to "
                f"model_type_names (now {self._type_names})"
            )
        return replace(frame, atom_types=types)


class NeighborListTransform:
    """Sets ``edge_index`` and ``edge_cell_shift``; edges are sorted by centre, then neighbour.

    Args:
        r_max: cutoff radius, Å.
        per_edge_type_cutoff: shorter cutoffs by types of centre and neighbour; then types must be set before this.
        type_names: needed with ``per_edge_type_cutoff``.
        backend: ``matscipy``, ``ase``, ``vesin``, ``alchemiops``, or one that was registered.
        backend_kwargs: settings of the backend; only ``alchemiops`` has one, ``max_neighbors``.
    """

    def __init__(
        self,
        r_max: float,
        per_edge_type_cutoff: PerEdgeTypeCutoff | None = None,
        type_names: Sequence[str] | None = None,
        backend: str = "matscipy",
        backend_kwargs: Mapping[str, object] | None = None,
    ) -> None:
        find_backend(backend)
        if backend_kwargs and backend in ("matscipy", "ase", "vesin"):
            raise DataError(f"the {backend} neighbour list takes no backend_kwargs; remove {sorted(backend_kwargs)}")
        self.r_max = float(r_max)
        self.backend = backend
        self._backend_kwargs = dict(backend_kwargs or {})
        self._cutoffs = None
        if per_edge_type_cutoff is not None:
            if type_names is None:
                raise DataError("NeighborListTransform needs type_names together with per_edge_type_cutoff")
            self._cutoffs = _cutoffs(per_edge_type_cutoff, type_names, self.r_max)

    def __call__(self, frame: Frame) -> Frame:
        """The frame with edges."""
        cell = None if frame.cell is None else frame.cell.numpy()
        edges, shifts = neighbor_list(
            frame.pos.numpy(), self.r_max, cell, frame.pbc, self.backend, self._backend_kwargs
        )
        frame = replace(
            frame,
            edge_index=torch.from_numpy(edges),
            edge_cell_shift=None if cell is None else torch.from_numpy(shifts).to(torch.float64),
        )
        return frame if self._cutoffs is None else prune_edges(frame, self._cutoffs)


class SortedNeighborListTransform(NeighborListTransform):
    """The same as :class:`NeighborListTransform`: edges are sorted here anyway, and models need no transposed order."""


class NeighborListPruneTransform:
    """Keeps the edges within the cutoff of their types.

    Args:
        r_max: cutoff radius of pairs that are not named, Å.
        per_edge_type_cutoff: cutoffs by types of centre and neighbour.
        type_names: the model's type names.
    """

    def __init__(self, r_max: float, per_edge_type_cutoff: PerEdgeTypeCutoff, type_names: Sequence[str]) -> None:
        self._cutoffs = _cutoffs(per_edge_type_cutoff, type_names, r_max)

    def __call__(self, frame: Frame) -> Frame:
        """The frame with fewer edges."""
        return prune_edges(frame, self._cutoffs)


def _cutoffs(per_edge_type_cutoff: PerEdgeTypeCutoff, type_names: Sequence[str], r_max: float) -> torch.Tensor:
    try:
        return cutoff_matrix(per_edge_type_cutoff, type_names, r_max)
    except ValueError as error:
        raise DataError(str(error)) from error


def prune_edges(frame: Frame, cutoffs: torch.Tensor) -> Frame:
    """The frame without edges longer than ``cutoffs[type of centre, type of neighbour]`` ((T, T), Å).

    Raises:
        DataError: types or edges have not been made yet.
    """
    if frame.atom_types is None:
        raise DataError(
            "per_edge_type_cutoff needs atom types: put ChemicalSpeciesToAtomTypeMapper before the "
            "neighbour list in `transforms`"
        )
    graph = frame.graph()
    centre, neighbour = graph.edge_index
    vectors = graph.pos[neighbour] - graph.pos[centre]
    if graph.cell is not None and graph.edge_cell_shift is not None:
        vectors = vectors + graph.edge_cell_shift @ graph.cell
    keep = vectors.norm(dim=1) <= cutoffs[graph.atom_types[centre], graph.atom_types[neighbour]]
    shift = graph.edge_cell_shift
    return replace(frame, edge_index=graph.edge_index[:, keep], edge_cell_shift=None if shift is None else shift[keep])


class VirialToStressTransform:
    """Sets ``stress = -virial / volume``."""

    def __call__(self, frame: Frame) -> Frame:
        """The frame with a stress."""
        if VIRIAL not in frame.labels:
            raise DataError("VirialToStressTransform: the frame has no `virial`; map it with key_mapping")
        if frame.cell is None:
            raise DataError("VirialToStressTransform: the frame has no cell, so no volume to divide the virial by")
        stress = -frame.labels[VIRIAL] / torch.linalg.det(frame.cell).abs()
        return replace(frame, labels={**frame.labels, STRESS: stress})


class StressSignFlipTransform:
    """Sets ``stress = -stress``, for codes whose pressure-like sign is opposite to ASE's."""

    def __call__(self, frame: Frame) -> Frame:
        """The frame with the stress of opposite sign."""
        if STRESS not in frame.labels:
            raise DataError("StressSignFlipTransform: the frame has no `stress`")
        return replace(frame, labels={**frame.labels, STRESS: -frame.labels[STRESS]})


class AddNaNStressTransform:
    """Gives frames without a stress a stress of NaN; train with ``ignore_nan: {stress: true}``."""

    def __call__(self, frame: Frame) -> Frame:
        """The frame with a stress."""
        if STRESS in frame.labels:
            return frame
        nan = torch.full((1, 3, 3), torch.nan, dtype=torch.float64)
        return replace(frame, labels={**frame.labels, STRESS: nan})


class NonPeriodicCellTransform:
    """Gives a molecule an orthorhombic cell around it; pbc stays False. Goes before the neighbour list.

    Args:
        padding: Å between the molecule and each face.
        override_cell: also replace a cell that is there.
    """

    def __init__(self, padding: float = 10.0, override_cell: bool = False) -> None:
        self._padding = padding
        self._override_cell = override_cell

    def __call__(self, frame: Frame) -> Frame:
        """The frame with a cell."""
        if any(frame.pbc):
            raise DataError("NonPeriodicCellTransform: the frame is periodic")
        if frame.edge_index is not None:
            raise DataError("NonPeriodicCellTransform must stand before the neighbour list in `transforms`")
        if frame.cell is not None and not self._override_cell:
            return frame
        extent = frame.pos.max(dim=0).values - frame.pos.min(dim=0).values
        return replace(frame, cell=torch.diag(extent + 2.0 * self._padding))


class DatasetIndexTransform:
    """Sets ``dataset``, the index of the data set a frame comes from.

    Args:
        dataset_index: the index.
    """

    def __init__(self, dataset_index: int) -> None:
        self._index = torch.tensor([[dataset_index]])

    def __call__(self, frame: Frame) -> Frame:
        """The frame with the index."""
        return replace(frame, labels={**frame.labels, "dataset": self._index})

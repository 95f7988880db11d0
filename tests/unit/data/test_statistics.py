"""Statistics against numpy, however the values come in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlip.data.errors import DataError
from mlip.data.frame import Frame, collate
from mlip.data.modifiers import EdgeLengths, NumNeighbors, PerAtomModifier
from mlip.data.read_ase import from_ase
from mlip.data.statistics import Count, Max, Mean, MeanAbsolute, Min, RootMeanSquare, StandardDeviation
from mlip.data.stats_manager import (
    CommonDataStatisticsManager,
    DataStatisticsManager,
    EnergyOnlyDataStatisticsManager,
)
from mlip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform

BY_NUMPY = [
    (Mean(), np.mean),
    (MeanAbsolute(), lambda x: np.mean(np.abs(x))),
    (RootMeanSquare(), lambda x: np.sqrt(np.mean(x * x))),
    (StandardDeviation(), lambda x: np.std(x, ddof=1)),
    (StandardDeviation(unbiased=False), np.std),
    (StandardDeviation(squared=True), lambda x: np.var(x, ddof=1)),
    (Max(), np.max),
    (Max(abs=True), lambda x: np.max(np.abs(x))),
    (Min(), np.min),
    (Min(abs=True), lambda x: np.min(np.abs(x))),
    (Count(), np.size),
]


@pytest.mark.parametrize("statistic, expected", BY_NUMPY)
@given(
    values=hnp.arrays(np.float64, st.integers(2, 30), elements=st.floats(-1e3, 1e3, width=32)),
    cut=st.integers(0, 30),
)
def test_equals_numpy_in_any_batches(statistic: Any, expected: Any, values: np.ndarray, cut: int) -> None:
    fresh = statistic.fresh()
    for part in (values[:cut], values[cut:]):
        fresh.update(torch.from_numpy(part))
    np.testing.assert_allclose(fresh.compute(), expected(values), rtol=1e-9, atol=1e-6)


def test_nothing_seen_is_nan() -> None:
    assert all(np.isnan(s.fresh().compute()) for s, _ in BY_NUMPY[:-1])
    assert Count().compute() == 0


def frame(atoms: Atoms, energy: float = -3.0) -> Frame:
    atoms.info["energy"] = energy
    atoms.arrays["forces"] = np.arange(3.0 * len(atoms)).reshape(-1, 3)
    return NeighborListTransform(1.2)(ChemicalSpeciesToAtomTypeMapper(["H", "O"])(from_ase(atoms)))


def with_an_isolated_atom_first() -> Frame:
    """O alone at the origin, then a water molecule far away: neighbours O 0, O 2, H 1, H 1."""
    water = molecule("H2O")
    water.positions += 50.0
    return frame(Atoms("O", [[0, 0, 0]]) + water)


def test_neighbours_belong_to_their_atoms_also_beside_isolated_ones() -> None:
    found = CommonDataStatisticsManager(type_names=["H", "O"]).get_statistics(
        [collate([with_an_isolated_atom_first()])]
    )
    assert found["num_neighbors_mean"] == 1.0
    assert found["per_type_num_neighbors_mean"] == {"H": 1.0, "O": 1.0}
    assert found["per_type_num_neighbors_mean_O"] == 1.0
    counts = NumNeighbors()({}, collate([with_an_isolated_atom_first()]).graph)
    assert counts.tolist() == [0, 2, 1, 1]


def test_the_names_configs_use() -> None:
    batches = [collate([frame(molecule("H2O"), -3.0)]), collate([frame(molecule("H2O"), -9.0)])]
    common = CommonDataStatisticsManager(type_names=["H", "O"]).get_statistics(batches)
    assert common["per_atom_energy_mean"] == -2.0
    forces = np.arange(9.0)
    assert common["forces_rms"] == pytest.approx(np.sqrt(np.mean(forces**2)))
    assert common["per_type_forces_rms"]["O"] == pytest.approx(np.sqrt(np.mean(forces[:3] ** 2)))
    energies = EnergyOnlyDataStatisticsManager().get_statistics(batches)
    assert energies["per_atom_energy_std"] == pytest.approx(np.std([-1.0, -3.0], ddof=1))
    assert energies["total_energy_std"] == pytest.approx(np.std([-3.0, -9.0], ddof=1))


def test_edge_statistics_by_centre_and_neighbour() -> None:
    entry = {"field": EdgeLengths(), "metric": Count(), "per_type": True}
    found = DataStatisticsManager([entry], type_names=["H", "O"]).get_statistics([collate([frame(molecule("OH"))])])
    assert found["edge_lengths_count"] == {"HH": 0, "HO": 1, "OH": 1, "OO": 0}
    asymmetric = ChemicalSpeciesToAtomTypeMapper(["H", "O"])(from_ase(molecule("OH")))
    only_h_sees = NeighborListTransform(1.2, {"O": 0.1}, ["H", "O"])(asymmetric)
    found = DataStatisticsManager([entry], type_names=["H", "O"]).get_statistics([collate([only_h_sees])])
    assert found["edge_lengths_count"] == {"HH": 0, "HO": 1, "OH": 0, "OO": 0}


def test_nan_may_be_ignored() -> None:
    labelled = frame(molecule("H2O"), np.nan)
    entry = {"field": "total_energy", "metric": Mean(), "ignore_nan": True}
    found = DataStatisticsManager([entry]).get_statistics([collate([labelled, frame(molecule("H2O"), 2.0)])])
    assert found == {"total_energy_mean": 2.0}


def test_per_atom() -> None:
    batch = collate([frame(molecule("H2O"), -3.0)])
    assert PerAtomModifier("total_energy", factor=2.0)(batch.labels, batch.graph).tolist() == [[-2.0]]
    with pytest.raises(DataError, match="per-frame"):
        PerAtomModifier("forces")


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"field": "forces", "metric": Mean(), "per_type": True}, "give the statistics manager type_names"),
        ({"field": "forces", "metric": Mean(), "per_typ": True}, "unknown key"),
    ],
)
def test_entries_that_cannot_be(entry: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        DataStatisticsManager([entry])

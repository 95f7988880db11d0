"""Energies per type by least squares: exact where the data decide, said where they do not."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip.config.resolvers import register_training_data_stats
from mlip.data.atomic_energies import AtomicEnergies
from mlip.data.errors import DataError
from mlip.data.frame import Frame, collate
from mlip.data.stats_manager import CommonDataStatisticsManager, DataStatisticsManager
from mlip.data.transforms import NeighborListTransform

TRUE = torch.tensor([-13.6, -1029.5, -2041.8], dtype=torch.float64)
NAMES = ["H", "C", "O"]


def fitted(compositions: torch.Tensor, energies: torch.Tensor, ridge: float = 0.0, size: int = 7) -> torch.Tensor:
    fit = AtomicEnergies(ridge).fresh()
    for start in range(0, len(compositions), size):
        fit.update(compositions[start : start + size], energies[start : start + size])
    return torch.tensor(list(fit.compute(NAMES).values()), dtype=torch.float64)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(1, 50))
def test_sums_of_atomic_energies_are_found_in_any_batches(seed: int, size: int) -> None:
    counts = (
        torch.randint(0, 20, (40, 3), generator=torch.Generator().manual_seed(seed)) + torch.eye(3).repeat(14, 1)[:40]
    )
    torch.testing.assert_close(fitted(counts, counts.double() @ TRUE, size=size), TRUE, rtol=1e-9, atol=1e-7)


def test_noise_averages_as_in_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(1, 20, (200, 3), generator=generator).double()
    energies = counts @ TRUE + torch.randn(200, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(fitted(counts, energies), torch.linalg.lstsq(counts, energies[:, None]).solution[:, 0])


def test_isolated_atoms_are_taken_as_they_are() -> None:
    counts = torch.tensor([[1, 0, 0], [0, 1, 0], [2, 0, 1], [4, 1, 0]])
    energies = torch.tensor([-13.0, -1000.0, -2080.0, -1060.0])
    found = fitted(counts, energies)
    assert found[:2].tolist() == [-13.0, -1000.0], "not fitted to the molecules"
    assert found[2].item() == pytest.approx(-2080.0 + 26.0)


def test_one_stoichiometry_gives_right_sums_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    counts = torch.tensor([[2, 0, 1], [4, 0, 2], [8, 0, 4]])
    with caplog.at_level(logging.WARNING):
        found = fitted(counts, counts.double() @ TRUE)
    assert "do not determine the energies of H, O one by one (1 independent compositions for 2 types)" in caplog.text
    assert (2 * found[0] + found[2]).item() == pytest.approx(float(2 * TRUE[0] + TRUE[2]))
    assert found[1].isnan(), "there is no carbon"


def test_only_the_types_that_are_not_determined_are_named(caplog: pytest.LogCaptureFixture) -> None:
    counts = torch.tensor([[2, 0, 1], [4, 0, 2], [8, 1, 4], [2, 3, 1]])
    found = fitted(counts, counts.double() @ TRUE)
    assert "energies of H, O one by one" in caplog.text
    assert found[1].item() == pytest.approx(TRUE[1].item())


def test_a_ridge_pulls_towards_the_mean() -> None:
    counts = torch.tensor([[3, 1, 0], [1, 3, 0], [2, 0, 5]])
    energies = counts.double() @ TRUE
    mean = energies.sum() / counts.sum()
    loose, tight = fitted(counts, energies, 1.0), fitted(counts, energies, 1e9)
    assert ((loose - mean).abs() < (TRUE - mean).abs()).all()
    torch.testing.assert_close(tight, mean.expand(3), rtol=1e-5, atol=0)
    with pytest.raises(DataError, match="must not be negative"):
        AtomicEnergies(-1.0)


def test_frames_without_an_energy_are_left_out() -> None:
    counts = torch.tensor([[1, 1, 0], [2, 1, 0], [0, 1, 1], [5, 5, 5]])
    energies = torch.cat([counts[:3].double() @ TRUE, torch.tensor([torch.nan])])
    torch.testing.assert_close(fitted(counts, energies), TRUE)


def frames() -> list[Frame]:
    found = []
    for types in ([0, 0, 2], [0, 2], [1, 2, 2], [2]):
        frame = Frame(
            pos=torch.arange(3.0 * len(types), dtype=torch.float64).reshape(-1, 3),
            atomic_numbers=torch.tensor([1, 6, 8])[types],
            atom_types=torch.tensor(types),
            labels={"total_energy": TRUE[types].sum().reshape(1, 1), "forces": torch.ones(len(types), 3).double()},
        )
        found.append(NeighborListTransform(2.0)(frame))
    return found


def test_the_usual_statistics_have_them_and_warn_of_one_mean_for_all(caplog: pytest.LogCaptureFixture) -> None:
    found = CommonDataStatisticsManager(type_names=NAMES).get_statistics([collate(frames()[:2]), collate(frames()[2:])])
    assert found["per_type_energy_shifts"] == pytest.approx(dict(zip(NAMES, TRUE.tolist(), strict=True)))
    assert found["per_type_energy_shifts_O"] == pytest.approx(TRUE[2].item())
    assert not caplog.records
    register_training_data_stats(found)
    from omegaconf import OmegaConf

    assert OmegaConf.create({"a": "${training_data_stats:per_atom_energy_mean}"}).a < -1000
    assert "one number for 3 types of atoms" in caplog.text
    assert "${training_data_stats:per_type_energy_shifts}" in caplog.text


def test_a_mean_for_one_element_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    found = CommonDataStatisticsManager(type_names=NAMES).get_statistics([collate(frames()[3:])])
    assert found["per_atom_energy_mean"] == TRUE[2].item()
    assert not caplog.records


def test_a_manager_may_have_its_own() -> None:
    entry = {"field": "total_energy", "metric": AtomicEnergies(ridge=1e-6), "name": "shifts"}
    found = DataStatisticsManager([entry], type_names=NAMES).get_statistics([collate(frames())])
    assert found["shifts"] == pytest.approx(dict(zip(NAMES, TRUE.tolist(), strict=True)), rel=1e-4)
    with pytest.raises(DataError, match="type_names"):
        DataStatisticsManager([entry])

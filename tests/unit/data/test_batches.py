"""Batches by a budget of atoms or edges, and the sharing of frames among processes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase.data import chemical_symbols
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, Subset

from mlip.data.batch_budget import BatchBudget, BudgetSampler, Size
from mlip.data.datamodule import NequIPDataModule
from mlip.data.errors import DataError
from mlip.data.frame import collate
from mlip.data.frame_dataset import FrameDataset
from mlip.data.sampler import EpochSampler, PartialSampler
from mlip.data.splits import random_split
from mlip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from tests.unit.data.some_frames import molecule

sizes_of_frames = st.lists(st.integers(1, 300), min_size=1, max_size=60)


@settings(deadline=None)
@given(atoms=sizes_of_frames, extra=st.integers(0, 500), seed=st.integers(0, 9), shuffle=st.booleans())
def test_batches_keep_to_the_budget_and_hold_every_frame_once(
    atoms: list[int], extra: int, seed: int, shuffle: bool
) -> None:
    limit = max(atoms) + extra
    sampler = BudgetSampler([Size("atoms", "max_atoms", limit, atoms)], seed, shuffle)
    for epoch in range(3):
        batches = sampler.order(epoch)
        assert sorted(index for batch in batches for index in batch) == list(range(len(atoms)))
        assert max(sum(atoms[i] for i in batch) for batch in batches) <= limit
        assert len(batches) == len(sampler), "Lightning counts the batches once"


def test_the_budget_is_used() -> None:
    atoms = torch.randint(10, 200, (2000,), generator=torch.Generator().manual_seed(0)).tolist()
    sampler = BudgetSampler([Size("atoms", "max_atoms", 4000, atoms)], seed=0, shuffle=True)
    fill = [sum(atoms[i] for i in batch) for batch in sampler.order(1)]
    assert sum(fill) / len(fill) > 0.9 * 4000


def test_order_depends_on_seed_and_epoch_only() -> None:
    atoms = [3, 5, 3, 3, 8, 8, 2, 5] * 4
    first, second = (BudgetSampler([Size("atoms", "max_atoms", 16, atoms)], 1, shuffle=True) for _ in range(2))
    list(first)
    first.set_epoch(3)
    assert list(first) == second.order(3) != second.order(2)
    second.resume_at(3, 2)
    assert list(second) == first.order(3)[2:]
    assert BudgetSampler([Size("atoms", "max_atoms", 16, atoms)], 2, shuffle=True).order(3) != first.order(3)


def data_set(counts: list[int]) -> FrameDataset:
    elements = ["H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne"]
    frames = [molecule(i, count) for i, count in enumerate(counts)]
    for frame in frames:
        frame.atomic_numbers.clamp_(max=len(elements))
    return FrameDataset(frames, [ChemicalSpeciesToAtomTypeMapper(elements), NeighborListTransform(3.0)])


def test_a_config_may_ask_for_it() -> None:
    budget = {"_target_": "mlip.data.batch_budget.BatchBudget", "max_atoms": 12, "max_edges": 60}
    frames = data_set([2, 7, 3, 5, 4, 6])
    data = NequIPDataModule(
        seed=1,
        train_dataset=frames,
        val_dataset=[Subset(frames, [1, 3])],
        train_dataloader={"batch_sampler": budget, "num_workers": 0},
        val_dataloader={"batch_sampler": budget},
    )
    loader = data.train_dataloader()
    seen = []
    for batch in loader:
        assert batch.graph.pos.shape[0] <= 12
        assert batch.graph.edge_index.shape[1] <= 60
        seen += batch.labels["total_energy"].flatten().tolist()
    assert sorted(seen) == sorted(frame.labels["total_energy"].item() for frame in frames)
    assert [batch.graph.num_atoms.tolist() for batch in data.val_dataloader()[0]] == [[7, 5]]


def test_sizes_come_from_subsets_and_concatenations() -> None:
    whole = ConcatDataset([Subset(data_set([2, 7, 3]), [2, 0]), data_set([5])])
    assert BatchBudget(max_atoms=7).sampler(whole, 0).order(0) == [[0, 1], [2]]


@pytest.mark.parametrize(
    "make, message",
    [
        (BatchBudget, "set max_atoms, max_edges, or both"),
        (lambda: BatchBudget(max_atoms=0), "from 1 on"),
        (
            lambda: BatchBudget(max_atoms=6).sampler(data_set([2, 7]), 0),
            "frame 1 has 7 atoms, .*max_atoms is 6; raise it",
        ),
        (
            lambda: NequIPDataModule(
                0, data_set([2]), train_dataloader={"batch_size": 2, "batch_sampler": BatchBudget(9)}
            ).train_dataloader(),
            "either batch_size or a BatchBudget",
        ),
        (
            lambda: NequIPDataModule(0, data_set([2]), train_dataloader={"batch_sampler": [[0]]}).train_dataloader(),
            "must be mlip.data.batch_budget.BatchBudget",
        ),
    ],
)
def test_budgets_that_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


@pytest.mark.parametrize("size, processes", [(12, 3), (10, 4), (1, 2), (3, 8)])
def test_processes_see_together_what_one_would(monkeypatch: pytest.MonkeyPatch, size: int, processes: int) -> None:
    whole = EpochSampler(size, seed=1).order(2)
    shares = []
    for rank in range(processes):
        monkeypatch.setattr("mlip.data.sampler._processes", lambda rank=rank: (rank, processes))
        sampler = EpochSampler(size, seed=1)
        sampler.set_epoch(2)
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler)
    steps = [index for step in zip(*shares, strict=True) for index in step]
    assert steps[:size] == whole
    assert set(steps) == set(whole)


def test_partial_epochs_go_round_the_data_set() -> None:
    generator = torch.Generator().manual_seed(3)
    sampler = PartialSampler(range(10), num_samples_per_epoch=4, generator=generator)
    seen = []
    for epoch in range(5):
        sampler.step_epoch(epoch)
        assert len(sampler) == 4
        seen += list(sampler)
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    sampler.step_epoch(3)
    assert list(sampler) == seen[12:16]
    with pytest.raises(ValueError, match="from 1 to 10"):
        PartialSampler(range(10), num_samples_per_epoch=11)


def test_frames_of_a_batch_know_their_place_in_the_file_after_a_split() -> None:
    transforms = [ChemicalSpeciesToAtomTypeMapper(list(chemical_symbols[1:])), NeighborListTransform(r_max=2.0)]
    dataset = FrameDataset([molecule(seed) for seed in range(9)], transforms)
    part = random_split(dataset, {"train": 5, "val": 4}, seed=3)["val"]
    batch = collate([part[i] for i in range(4)])
    assert batch.frame_index is not None
    assert batch.frame_index.tolist() == list(part.indices)
    assert batch.to("cpu").frame_index is not None

"""Transforms, batches, splits and the order of training frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given
from hypothesis import strategies as st

from mlip.data.datasets import EMTTestDataset
from mlip.data.errors import DataError
from mlip.data.fields import Kind, deregister_fields, register_fields
from mlip.data.frame import Frame, collate
from mlip.data.frame_dataset import FrameDataset
from mlip.data.frame_dict import frame_from_dict, frame_to_dict
from mlip.data.modifiers import MappedFieldModifier
from mlip.data.read_ase import from_ase
from mlip.data.sampler import EpochSampler
from mlip.data.splits import RandomSplitAndIndexDataset, SubsetByRandomSlice, part_sizes, random_split
from mlip.data.transforms import (
    AddNaNStressTransform,
    ChemicalSpeciesToAtomTypeMapper,
    DatasetIndexTransform,
    NeighborListPruneTransform,
    NeighborListTransform,
    NonPeriodicCellTransform,
    StressSignFlipTransform,
    VirialToStressTransform,
)

WATER = [ChemicalSpeciesToAtomTypeMapper(["H", "O"]), NeighborListTransform(2.0)]


def prepared(atoms: Atoms, transforms: Any = WATER) -> Frame:
    frame = from_ase(atoms)
    for transform in transforms:
        frame = transform(frame)
    return frame


def test_types_by_element_by_map_and_by_the_old_keyword() -> None:
    water = from_ase(molecule("H2O"))
    assert ChemicalSpeciesToAtomTypeMapper(["H", "O"])(water).atom_types.tolist() == [1, 0, 0]
    assert ChemicalSpeciesToAtomTypeMapper(chemical_symbols=["O", "H"])(water).atom_types.tolist() == [0, 1, 1]
    mapped = ChemicalSpeciesToAtomTypeMapper(["light", "heavy"], {"H": "light", "O": "heavy"})
    assert mapped(water).atom_types.tolist() == [1, 0, 0]


def test_the_heaviest_element_has_a_type() -> None:
    assert ChemicalSpeciesToAtomTypeMapper(["Og"])(from_ase(Atoms("Og"))).atom_types.tolist() == [0]


def test_an_element_without_a_type_is_named() -> None:
    with pytest.raises(DataError, match="contain O, which the model has no type for"):
        ChemicalSpeciesToAtomTypeMapper(["H"])(from_ase(molecule("H2O")))


def test_cutoffs_by_edge_type_are_those_of_centre_and_neighbour() -> None:
    frame = prepared(
        molecule("H2O"),
        [WATER[0], NeighborListTransform(2.0, {"H": {"H": 1.0}, "O": 0.5}, ["H", "O"])],
    )
    assert frame.edge_index.tolist() == [[1, 2], [0, 0]]  # H sees O at 0.97 Å; O sees nothing; H-H is 1.5 Å apart
    pruned = NeighborListPruneTransform(2.0, {"H": {"H": 1.0}, "O": 0.5}, ["H", "O"])(prepared(molecule("H2O")))
    assert torch.equal(pruned.edge_index, frame.edge_index)


@pytest.mark.parametrize(
    "cutoffs, message",
    [({"X": 1.0}, "names the type 'X'"), ({"H": 3.0}, "must be in"), ({"H": {"O": 0}}, "must be in")],
)
def test_impossible_cutoffs_are_refused(cutoffs: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        NeighborListTransform(2.0, cutoffs, ["H", "O"])


def test_stress_from_virial_flipped_and_missing() -> None:
    crystal = from_ase(bulk("Cu"))
    volume = torch.linalg.det(crystal.cell).abs()
    crystal = replace(crystal, labels={"virial": torch.eye(3, dtype=torch.float64)[None]})
    with_stress = VirialToStressTransform()(crystal)
    torch.testing.assert_close(with_stress.labels["stress"], -crystal.labels["virial"] / volume)
    torch.testing.assert_close(StressSignFlipTransform()(with_stress).labels["stress"], -with_stress.labels["stress"])
    assert AddNaNStressTransform()(with_stress) is with_stress
    assert AddNaNStressTransform()(crystal).labels["stress"].isnan().all()
    with pytest.raises(DataError, match="no `stress`"):
        StressSignFlipTransform()(crystal)
    with pytest.raises(DataError, match="no cell"):
        VirialToStressTransform()(replace(crystal, cell=None))


def test_a_cell_around_a_molecule() -> None:
    water = from_ase(molecule("H2O"))
    boxed = NonPeriodicCellTransform(padding=5.0)(water)
    torch.testing.assert_close(boxed.cell.diagonal(), water.pos.max(0).values - water.pos.min(0).values + 10.0)
    assert boxed.pbc == (False, False, False)
    with pytest.raises(DataError, match="periodic"):
        NonPeriodicCellTransform()(from_ase(bulk("Cu")))


def test_a_batch_is_the_frames_end_to_end() -> None:
    frames = [prepared(molecule("H2O")), prepared(molecule("O2")), prepared(Atoms("H"))]
    frames = [replace(DatasetIndexTransform(i)(f)) for i, f in enumerate(frames)]
    batch = collate(frames)
    assert batch.graph.num_atoms.tolist() == [3, 2, 1]
    assert batch.graph.batch.tolist() == [0, 0, 0, 1, 1, 2]
    assert (batch.graph.edge_index[0].diff() >= 0).all()
    assert batch.graph.edge_index[:, -2:].tolist() == [[3, 4], [4, 3]]
    assert batch.graph.cell is None
    assert batch.graph.edge_cell_shift is None
    assert batch.labels["dataset"].tolist() == [[0], [1], [2]]
    assert batch.to("cpu").graph.num_frames == 3


def test_a_frame_without_a_cell_has_zeros_beside_one_with() -> None:
    box = prepared(molecule("H2O", cell=[5, 5, 5], pbc=True))
    batch = collate([prepared(molecule("H2O")), box])
    assert batch.graph.cell[0].abs().max() == 0
    assert batch.graph.cell[1].diagonal().tolist() == [5, 5, 5]
    assert batch.graph.edge_cell_shift.shape == (batch.graph.edge_index.shape[1], 3)


def test_whole_numbers_per_frame_are_categories_a_model_may_embed() -> None:
    frames = []
    for charge in (-1, 2):
        ion = molecule("OH")
        ion.info["charge"] = charge
        frames.append(prepared(ion))
    assert {name: t.tolist() for name, t in collate(frames).graph.graph_fields.items()} == {"charge": [[-1], [2]]}
    assert frames[0].graph().graph_fields["charge"].tolist() == [[-1]]


def test_labels_of_some_frames_only_are_refused() -> None:
    labelled = replace(prepared(molecule("H2O")), labels={"total_energy": torch.zeros(1, 1)})
    with pytest.raises(DataError, match="1 of the 2 frames of a batch have no 'total_energy'"):
        collate([labelled, prepared(molecule("H2O"))])


@pytest.mark.parametrize(
    "transforms, cure", [(WATER[1:], "ChemicalSpeciesToAtomTypeMapper"), (WATER[:1], "NeighborListTransform")]
)
def test_a_missing_transform_is_named(transforms: Any, cure: str) -> None:
    with pytest.raises(DataError, match=cure):
        collate([prepared(molecule("H2O"), transforms)])


def test_a_data_set_names_the_frame_a_transform_refuses() -> None:
    with pytest.raises(DataError, match=r"here, frame 1: .* contain Cu"):
        FrameDataset([from_ase(molecule("H2O")), from_ase(bulk("Cu"))], WATER, "here")


def test_emt_test_dataset_is_reproducible() -> None:
    first, second = (EMTTestDataset(supercell=(1, 1, 1), num_frames=2, seed=5) for _ in range(2))
    assert len(first) == 2
    assert torch.equal(first[1].pos, second[1].pos)
    assert set(first[0].labels) == {"total_energy", "forces", "stress"}
    assert first[0].labels["forces"].sum(0).abs().max() < 1e-10


@given(size=st.integers(3, 40), seed=st.integers(0, 99))
def test_a_split_is_disjoint_and_depends_on_the_seed_only(size: int, seed: int) -> None:
    parts = {"train": size - 2, "val": 1}
    first, second = random_split(range(size), parts, seed), random_split(range(size), parts, seed)
    assert {n: list(s.indices) for n, s in first.items()} == {n: list(s.indices) for n, s in second.items()}
    used = [i for subset in first.values() for i in subset.indices]
    assert len(set(used)) == len(used) == size - 1


def test_splits_agree_with_torch() -> None:
    expected = torch.utils.data.random_split(range(10), [7, 2, 1], torch.Generator().manual_seed(3))
    ours = random_split(range(10), {"train": 7, "val": 2}, 3)
    assert list(ours["train"].indices) == list(expected[0].indices)
    assert list(ours["val"].indices) == list(expected[1].indices)


def test_fractions() -> None:
    assert part_sizes({"train": 0.8, "val": 0.1, "test": 0.1}, 10) == {"train": 8, "val": 1, "test": 1}
    assert sum(part_sizes({"train": 0.34, "val": 0.33, "test": 0.33}, 11).values()) == 11
    assert part_sizes({"train": 0.5}, 11) == {"train": 5}


@pytest.mark.parametrize(
    "parts, message",
    [
        ({}, "at least one"),
        ({"train": 20}, "needs 20 frames; the data set has 10"),
        ({"train": 0.9, "val": 0.3}, "at most 1"),
        ({"train": 5, "val": 0.3}, "not both"),
        ({"train": 5, "val": 0}, "empty part"),
    ],
)
def test_impossible_splits(parts: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        random_split(range(10), parts, 0)


def test_random_slices_of_one_seed_do_not_overlap() -> None:
    whole = range(10)
    first, second = (SubsetByRandomSlice(whole, start, 5, seed=1) for start in (0, 5))
    assert sorted([*first.indices, *second.indices]) == list(whole)
    with pytest.raises(DataError, match="do not fit 10 frames"):
        SubsetByRandomSlice(whole, 8, 5, seed=1)


def test_order_depends_on_seed_and_epoch_only() -> None:
    sampler = EpochSampler(20, seed=1)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[0] != orders[1] != orders[2]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert EpochSampler(20, seed=1).order(2) == orders[2] != EpochSampler(20, seed=2).order(2)
    assert list(EpochSampler(4, seed=1, shuffle=False)) == [0, 1, 2, 3]


def test_a_resumed_epoch_goes_on_where_it_stopped_once() -> None:
    sampler = EpochSampler(10, seed=1)
    sampler.resume_at(3, 4)
    iterator = iter(sampler)
    sampler.set_epoch(3)
    assert list(iterator) == sampler.order(3)[4:]
    sampler.set_epoch(4)
    assert list(sampler) == sampler.order(4)


def test_data_with_types_and_no_elements() -> None:
    frame = frame_from_dict({"pos": [[0.0, 0, 0], [0, 0, 1]], "atom_types": [1, 0], "edge_index": [[1, 0], [0, 1]]})
    batch = collate([frame])
    assert batch.graph.atom_types.tolist() == [1, 0]
    assert batch.atomic_numbers is None
    with pytest.raises(DataError, match="take ChemicalSpeciesToAtomTypeMapper out"):
        WATER[0](frame)


def test_dictionaries_of_any_precision_and_shape_become_frames() -> None:
    values = {
        "pos": np.zeros((2, 3), dtype=np.float32),
        "atomic_numbers": np.array([1, 8], dtype=np.uint8),
        "cell": np.eye(3)[None],
        "pbc": True,
        "total_energy": np.float32(1.5),
        "stress": np.arange(6.0),
        "edge_lengths": np.zeros(7),
        "mine": np.zeros(2),
        "other": 3,
    }
    frame = frame_from_dict(values, exclude_keys=["other"])
    assert frame.pbc == (True, True, True)
    assert frame.labels["total_energy"].tolist() == [[1.5]]
    assert frame.labels["stress"][0, 0].tolist() == [0, 5, 4]
    assert set(frame.labels) == {"total_energy", "stress", "mine"}
    assert frame.extra_kinds == {"mine": Kind.NODE}
    back = frame_from_dict(frame_to_dict(frame), frame.extra_kinds)
    assert all(
        torch.equal(a, b) for a, b in zip(frame_to_dict(back).values(), frame_to_dict(frame).values(), strict=True)
    )


@pytest.mark.parametrize(
    "values, message",
    [
        ({"R": 1}, "there is no `pos` here, only R"),
        ({"pos": [[0, 0, 0]]}, "neither `atomic_numbers` nor `atom_types`"),
        ({"pos": [[0, 0, 0]], "atomic_numbers": [1], "cell": np.eye(3)}, "no `pbc`"),
        ({"pos": [[0, 0, 0]], "atomic_numbers": [1], "pbc": [True] * 3}, "vector is zero: give the cell"),
        (
            {"pos": [[0, 0, 0]], "atomic_numbers": [1], "forces": [1, 2]},
            r"'forces' has shape \(2,\); expected \(1, 3\)",
        ),
        ({"pos": [[0, 0, 0]], "atomic_numbers": [1], "name": "text"}, "exclude_keys: .name."),
        ({"pos": [[0, 0, 0]] * 2, "atomic_numbers": [1, 1], "num_atoms": [1, 1]}, "batch of several frames"),
    ],
)
def test_dictionaries_that_are_no_frames(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        frame_from_dict(values)


def test_further_fields_may_be_registered() -> None:
    single = {"pos": [[0.0, 0, 0]], "atomic_numbers": [1], "mine": np.zeros((1, 2))}
    register_fields(node_fields=["mine"])
    try:
        assert frame_from_dict(single).extra_kinds == {"mine": Kind.NODE}
        with pytest.raises(ValueError, match="per node already"):
            register_fields(graph_fields=["mine"])
        with pytest.raises(ValueError, match="'forces' is per node already"):
            register_fields(graph_fields=["forces"])
        with pytest.raises(TypeError, match="takes lists"):
            register_fields("mine")
    finally:
        deregister_fields("mine")
    assert frame_from_dict(single).extra_kinds == {"mine": Kind.GRAPH}


def test_one_part_of_a_split_by_name() -> None:
    parts = {"train": 7, "val": 3}
    for name, subset in random_split(range(10), parts, 3).items():
        assert list(RandomSplitAndIndexDataset(range(10), parts, name, 3).indices) == list(subset.indices)
    with pytest.raises(DataError, match="no part 'test', only train, val"):
        RandomSplitAndIndexDataset(range(10), parts, "test", 3)


def test_a_label_of_another_name_stands_for_what_is_predicted() -> None:
    batch = collate(
        [replace(prepared(molecule("H2O")), labels={"dft": torch.tensor([3.0])}, extra_kinds={"dft": Kind.GRAPH})]
    )
    modifier = MappedFieldModifier("total_energy", "dft")
    assert modifier(batch.labels, batch.graph).tolist() == [[3.0]]
    assert modifier({"total_energy": torch.tensor([[4.0]])}, batch.graph).tolist() == [[4.0]]
    with pytest.raises(DataError, match="models predict 'forces' themselves"):
        MappedFieldModifier("total_energy", "forces")

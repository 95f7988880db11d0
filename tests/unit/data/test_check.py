"""What `mlip data check` finds, each fault put into data without any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from mlip.data.check import Limits, check_frames
from mlip.data.frame import Frame
from tests.unit.data.some_frames import labelled


@pytest.fixture(scope="module")
def strained() -> list[Frame]:
    """Copper of several volumes and shapes, near enough to each other for their energies to tell."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(12):
        atoms = bulk("Cu", "fcc", a=3.65, cubic=True)
        strain = np.eye(3) * (1 + rng.uniform(-0.03, 0.03)) + rng.normal(0, 0.005, (3, 3))
        atoms.set_cell(atoms.cell.array @ (strain + strain.T) / 2, scale_atoms=True)
        atoms.positions += rng.normal(0, 0.03, (4, 3))
        found.append(labelled(atoms))
    return found


@pytest.fixture(scope="module")
def molecules() -> list[Frame]:
    """Frames of a shaken molecule."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(12):
        atoms = molecule("C2H6")
        atoms.positions += rng.normal(0, 0.02, (8, 3))
        found.append(labelled(atoms))
    return found


def relabelled(frames: list[Frame], name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> list[Frame]:
    return [replace(f, labels={**f.labels, name: change(f.labels[name])}) for f in frames]


def problems(frames: list[Frame], **limits: Any) -> str:
    return "\n".join(check_frames(frames, "a.xyz", Limits(**limits)).problems)


def test_good_data_have_no_problems_and_are_described(strained: list[Frame], molecules: list[Frame]) -> None:
    assert problems(strained) == problems(molecules) == ""
    facts = check_frames([*strained, strained[0]], "a.xyz").facts
    assert facts["frames"] == "13"
    assert facts["elements"] == "Cu 52"
    assert facts["atoms per frame"] == "4"
    assert facts["labels"] == "total_energy, forces, stress"
    assert facts["periodic frames"] == "13"


def test_duplicates(strained: list[Frame]) -> None:
    assert "2 frames (12, 13) the same as an earlier one" in problems([*strained, strained[3], strained[0]])


def test_labels_that_are_missing_or_no_numbers(strained: list[Frame]) -> None:
    without = replace(strained[2], labels={"total_energy": strained[2].labels["total_energy"]})
    found = problems([*strained[:2], without])
    assert "1 of 3 frames have no forces, frame 2 for example" in found
    assert "1 of 3 frames have no stress" in found
    infinite = relabelled(strained[:1], "forces", lambda f: f * torch.inf)
    assert "1 frame (3) with NaN or infinity in forces" in problems([*strained[1:4], *infinite])
    assert "no frame has a label" in problems([replace(frame, labels={}) for frame in strained])


def test_a_label_that_only_later_frames_have(strained: list[Frame]) -> None:
    first = replace(strained[0], labels={name: strained[0].labels[name] for name in ("total_energy", "forces")})
    assert "1 of 12 frames have no stress, frame 0 for example" in problems([first, *strained[1:]])


def test_atoms_too_close_also_across_the_cell(strained: list[Frame]) -> None:
    pos = strained[0].pos.clone()
    pos[1] = pos[0] + strained[0].cell[2] + 0.2
    close = replace(strained[0], pos=pos)
    assert "1 frame (12) with atoms closer than 0.5 times the sum of their covalent radii" in problems(
        [*strained, close]
    )
    assert "closer" not in problems([*strained, close], min_distance=0.01)


def test_forces_and_energies_far_from_the_others(strained: list[Frame]) -> None:
    wild = relabelled(strained[:1], "forces", lambda f: f + 500.0)
    assert "1 frame (11) with forces up to" in problems([*strained[1:], *wild])
    lost = relabelled(strained[:1], "total_energy", lambda e: e - 1000.0)
    assert "1 frame (11) with energies up to 250" in problems([*strained[1:], *lost])


@pytest.mark.parametrize(
    "factor, message",
    [
        (-1.0, "stress has the opposite sign"),
        (160.2177, "GPa"),
        (-1602.177, "opposite sign .* kbar"),
        (-1602.177, "pressure falls when frames are compressed"),
        (3.7, "times the size that energies say"),
    ],
)
def test_stress_of_another_sign_or_unit(strained: list[Frame], factor: float, message: str) -> None:
    import re

    assert re.search(message, problems(relabelled(strained, "stress", lambda s: s * factor)))


def test_stress_in_gpa_without_energies(strained: list[Frame]) -> None:
    frames = [replace(f, labels={"stress": f.labels["stress"] * 160.2}) for f in strained]
    assert "it may be in GPa or kbar" in problems(frames)


@pytest.mark.parametrize(
    "name, factor, message",
    [
        ("forces", -1.0, "forces have the opposite sign"),
        ("total_energy", 23.0605, "kcal/mol"),
        ("forces", 23.0605, r"kcal/"),
        ("forces", 1 / 51.4221, "Hartree"),
    ],
)
def test_energies_and_forces_in_different_units(molecules: list[Frame], name: str, factor: float, message: str) -> None:
    assert message in problems(relabelled(molecules, name, lambda value: value * factor), energy_outlier=1e9)


def test_an_asymmetric_stress_and_one_without_a_cell(strained: list[Frame], molecules: list[Frame]) -> None:
    skewed = relabelled(strained, "stress", lambda s: s + torch.tensor([[0, 0.1, 0], [0, 0, 0], [0, 0, 0]]))
    assert "stress that is not symmetric" in problems(skewed)
    boxed = [replace(f, labels={**f.labels, "stress": torch.eye(3).double()[None]}) for f in molecules]
    assert "with a stress but no cell" in problems(boxed)


def test_frames_that_cannot_be_read_are_counted(tmp_path: Any) -> None:
    from mlip.data.open_frames import open_frames

    (tmp_path / "a.xyz").write_text("1\nenergy=1\nCu 0 0 0\n1\nProperties=species:S:1:pos:R:3\nCu a b c\n")
    report = check_frames(open_frames(tmp_path / "a.xyz"), "a.xyz")
    assert report.problems[0].startswith("1 frame (1) cannot be read (ASE cannot read it")

"""What is in a data file, and what looks wrong in it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from mlip.data.atomic_energies import AtomicEnergies
from mlip.data.consistency import EV_PER_A3_IN_GPA, Consistency
from mlip.data.errors import DataError
from mlip.data.frame import Frame
from mlip.data.frame_dataset import Frames
from mlip.data.neighborlist import neighbor_list

_NAMED = 5  # frames named in a message
_ELEMENTS = 119


@dataclass(frozen=True)
class Limits:
    """What counts as wrong.

    Attributes:
        min_distance: least distance of two atoms, in sums of their covalent radii.
        max_force: largest force, eV/Å.
        force_outlier: largest force of a frame, in medians of that over all frames.
        energy_outlier: deviation of an energy per atom from the sum of atomic energies, eV.
        max_stress: median of the largest stress component of a frame, eV/Å^3.
    """

    min_distance: float = 0.5
    max_force: float = 100.0
    force_outlier: float = 30.0
    energy_outlier: float = 10.0
    max_stress: float = 0.6


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        name: of the file.
        facts: name -> value, for a table.
        problems: what is wrong, a sentence each.
    """

    name: str
    facts: dict[str, str]
    problems: list[str]


@dataclass
class _Seen:
    """What is kept of the frames: a few numbers each."""

    labels: Counter[str] = field(default_factory=Counter)
    first_without: dict[str, int] = field(default_factory=dict)
    elements: Counter[int] = field(default_factory=Counter)
    digests: dict[bytes, int] = field(default_factory=dict)
    problems: dict[str, list[int]] = field(default_factory=dict)
    num_atoms: list[int] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    max_forces: list[float] = field(default_factory=list)
    max_stresses: list[float] = field(default_factory=list)
    volumes: list[float] = field(default_factory=list)
    net_forces: list[float] = field(default_factory=list)
    compositions: dict[tuple[tuple[int, int], ...], int] = field(default_factory=dict)
    composition_of: list[int] = field(default_factory=list)
    periodic: int = 0

    def mark(self, problem: str, index: int) -> None:
        self.problems.setdefault(problem, []).append(index)


def check_frames(
    frames: Frames,
    name: str,
    limits: Limits | None = None,
    advance: Callable[[], None] = lambda: None,
    others: dict[bytes, str] | None = None,
) -> Report:
    """Read every frame once and report.

    Args:
        frames: the frames, in the order of their file.
        name: for the report.
        limits: what counts as wrong.
        advance: called after each frame.
        others: frames of files checked before, by a hash -> name of the file; those of this one are added.
    """
    limits = limits or Limits()
    seen = _Seen()
    consistency = Consistency()
    for index in range(len(frames)):
        try:
            frame = frames[index]
        except DataError as error:
            seen.mark(f"cannot be read ({error})", index)
        else:
            _look_at(frame, index, seen, limits)
            consistency.add(frame)
        advance()
    if others is not None:
        for digest, index in seen.digests.items():
            if digest in others:
                seen.mark(f"also in {others[digest]}", index)
            others[digest] = name
    problems = [f"{_frames(indices)} {problem}" for problem, indices in seen.problems.items()]
    problems += [*_missing(seen), *_outliers(seen, limits), *_large_stress(seen, limits), *consistency.problems()]
    return Report(name, _facts(seen, len(frames)), problems)


def _look_at(frame: Frame, index: int, seen: _Seen, limits: Limits) -> None:
    seen.num_atoms.append(frame.num_atoms)
    counted = Counter(frame.atomic_numbers.tolist())
    seen.elements.update(counted)
    seen.composition_of.append(seen.compositions.setdefault(tuple(sorted(counted.items())), len(seen.compositions)))
    seen.periodic += any(frame.pbc)
    for name in dict.fromkeys([*seen.labels, *frame.labels]):
        if name in frame.labels:
            if name not in seen.labels and index > 0:
                seen.first_without.setdefault(name, 0)
            seen.labels[name] += 1
        else:
            seen.first_without.setdefault(name, index)
    for name, value in frame.labels.items():
        if value.is_floating_point() and not value.isfinite().all():
            seen.mark(f"with NaN or infinity in {name}", index)
    digest = _digest(frame)
    if digest in seen.digests:
        seen.mark("the same as an earlier one (positions within 1e-4 Å)", index)
    seen.digests.setdefault(digest, index)
    _look_at_labels(frame, seen)
    _look_at_structure(frame, index, seen, limits)


def _digest(frame: Frame) -> bytes:
    """Equal for frames with equal elements, cell and positions, whatever was computed for them."""
    digest = hashlib.blake2b(frame.atomic_numbers.numpy().tobytes(), digest_size=16)
    digest.update(np.round(frame.pos.numpy() * 1e4).astype(np.int64).tobytes())
    if frame.cell is not None:
        digest.update(np.round(frame.cell.numpy() * 1e4).astype(np.int64).tobytes())
    digest.update(bytes(frame.pbc))
    return digest.digest()


def _look_at_labels(frame: Frame, seen: _Seen) -> None:
    energy = frame.labels.get("total_energy")
    seen.energies.append(float("nan") if energy is None else float(energy.sum()))
    forces = frame.labels.get("forces")
    norms = None if forces is None or not frame.num_atoms else forces.norm(dim=1)
    seen.max_forces.append(float("nan") if norms is None else float(norms.max()))
    if forces is not None:
        seen.net_forces.append(float(forces.sum(dim=0).norm()))
    stress = frame.labels.get("stress")
    if stress is not None:
        seen.max_stresses.append(float(stress.abs().max()))
        index = len(seen.num_atoms) - 1
        asymmetry = float((stress - stress.mT).abs().max())
        if asymmetry > 1e-3 * max(seen.max_stresses[-1], 1e-6):
            seen.mark("with a stress that is not symmetric", index)
        if frame.cell is None:
            seen.mark("with a stress but no cell", index)


def _look_at_structure(frame: Frame, index: int, seen: _Seen, limits: Limits) -> None:
    from ase.data import covalent_radii

    if not frame.pos.isfinite().all():
        seen.mark("with positions that are not finite", index)
        return
    cell = None if frame.cell is None else frame.cell.numpy()
    if cell is not None and all(frame.pbc):
        seen.volumes.append(abs(float(np.linalg.det(cell))) / max(frame.num_atoms, 1))
    radii = covalent_radii[frame.atomic_numbers.numpy()]
    if frame.num_atoms < 1:
        seen.mark("without atoms", index)
        return
    try:
        (centre, neighbour), shift = neighbor_list(
            frame.pos.numpy(), 2.0 * limits.min_distance * float(radii.max()), cell, frame.pbc
        )
    except DataError as error:
        seen.mark(f"with an impossible cell ({error})", index)
        return
    vectors = frame.pos.numpy()[neighbour] - frame.pos.numpy()[centre]
    vectors = vectors if cell is None else vectors + shift @ cell
    if (np.linalg.norm(vectors, axis=1) < limits.min_distance * (radii[centre] + radii[neighbour])).any():
        seen.mark(f"with atoms closer than {limits.min_distance:g} times the sum of their covalent radii", index)


def _missing(seen: _Seen) -> list[str]:
    total = len(seen.num_atoms)
    found = []
    for name, count in seen.labels.items():
        if count < total:
            where = seen.first_without.get(name, 0)
            found.append(f"{total - count} of {total} frames have no {name}, frame {where} for example")
    if total and not seen.labels:
        found.append("no frame has a label: map the file's own names with --key NAME=FIELD")
    return found


def _outliers(seen: _Seen, limits: Limits) -> Iterable[str]:
    forces = np.array(seen.max_forces)
    usual = float(np.nanmedian(forces)) if np.isfinite(forces).any() else float("nan")
    large = (forces > limits.max_force) | ((forces > limits.force_outlier * usual) & (forces > 10.0))
    if large.any():
        marked = _frames(np.flatnonzero(large))
        yield f"{marked} with forces up to {np.nanmax(forces):.4g} eV/Å; half of all frames stay below {usual:.3g}"
    residuals = _energy_residuals(seen)
    spread = float(np.nanmedian(np.abs(residuals))) if np.isfinite(residuals).any() else float("nan")
    far = np.abs(residuals) > max(limits.energy_outlier, 30.0 * spread)
    if far.any():
        worst = np.nanmax(np.abs(residuals))
        yield f"{_frames(np.flatnonzero(far))} with energies up to {worst:.4g} eV per atom from what the others say"


def _energy_residuals(seen: _Seen) -> np.ndarray:
    """(frames,) energy per atom beyond the median of the frames of the same composition, eV."""
    energies, counts = np.array(seen.energies), np.array(seen.num_atoms)
    if not np.isfinite(energies).any():
        return np.full(len(energies), np.nan)
    rows = np.zeros((len(seen.compositions), _ELEMENTS))
    for composition, number in seen.compositions.items():
        for element, count in composition:
            rows[number, element] = count
    which = np.array(seen.composition_of)
    medians = np.full(len(rows), np.nan)
    for number in range(len(rows)):
        mine = energies[(which == number) & np.isfinite(energies)]
        medians[number] = np.median(mine) if len(mine) else np.nan
    present = rows.sum(axis=0) > 0
    fitted = AtomicEnergies(ridge=1e-6, warn=False)
    fitted.update(torch.from_numpy(rows[:, present]), torch.from_numpy(medians))
    names = [str(element) for element in np.flatnonzero(present)]
    per_element = np.array([fitted.compute(names)[name] for name in names])
    return (energies - rows[which][:, present] @ per_element) / np.maximum(counts, 1)


def _large_stress(seen: _Seen, limits: Limits) -> Iterable[str]:
    if not seen.max_stresses:
        return
    usual = float(np.nanmedian(seen.max_stresses))
    if usual > limits.max_stress:
        yield (
            f"the stress is {usual:.3g} eV/Å^3 in half of the frames, {usual * EV_PER_A3_IN_GPA:.0f} GPa: it may be "
            "in GPa or kbar, or a virial (see VirialToStressTransform)"
        )


def _frames(indices: Iterable[int]) -> str:
    numbers = [int(i) for i in indices]
    named = ", ".join(map(str, numbers[:_NAMED])) + (", ..." if len(numbers) > _NAMED else "")
    return f"{len(numbers)} frame{'s' * (len(numbers) != 1)} ({named})"


def _facts(seen: _Seen, total: int) -> dict[str, str]:
    from ase.data import chemical_symbols

    elements = ", ".join(f"{chemical_symbols[z]} {count}" for z, count in sorted(seen.elements.items()))
    labels = ", ".join(name if count == total else f"{name} ({count})" for name, count in seen.labels.items())
    per_atom = np.array(seen.energies) / np.maximum(np.array(seen.num_atoms), 1)
    facts = {
        "frames": str(total),
        "atoms per frame": _range(seen.num_atoms, "d"),
        "atoms": str(sum(seen.num_atoms)),
        "elements": elements,
        "compositions": str(len(seen.compositions)),
        "periodic frames": str(seen.periodic),
        "labels": labels or "none",
        "energy per atom (eV)": _range(per_atom, ".4f"),
        "largest force (eV/Å)": _range(seen.max_forces, ".3f"),
        "net force (eV/Å)": _range(seen.net_forces, ".1e"),
        "largest stress (eV/Å^3)": _range(seen.max_stresses, ".2e"),
        "volume per atom (Å^3)": _range(seen.volumes, ".2f"),
    }
    return {name: value for name, value in facts.items() if value}


def _range(values: Iterable[float], form: str) -> str:
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return ""
    low, high = format(min(finite), form), format(max(finite), form)
    return low if low == high else f"{low} to {high}"

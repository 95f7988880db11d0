"""A calculator's results beside the labels of data frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mlip.data.errors import DataError
from mlip.data.read_ase import to_ase
from mlip.report.evaluation import Evaluation, FrameValues

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mlip.data.frame import Frame
    from mlip.data.frame_dataset import Frames

_VOIGT = [0, 4, 8, 5, 2, 1]


def compare_labels(
    calculator: Calculator, frames: Frames, source: str, every: int = 1, advance: Callable[[], None] = lambda: None
) -> Evaluation:
    """Compute every so many-th frame.

    Args:
        calculator: of ASE.
        frames: with labels.
        source: the name of their file.
        every: 1 for all.
        advance: called after each.

    Raises:
        DataError: a frame that cannot be read.
    """
    evaluation = Evaluation("data", source)
    for index in range(0, len(frames), every):
        try:
            frame = frames[index]
        except DataError as error:
            raise DataError(f"{source}, frame {index}: {error}") from error
        labels = _labels(frame)
        atoms = to_ase(frame)
        atoms.calc = calculator
        evaluation.add(index, atoms.get_chemical_symbols(), labels, _results(atoms, labels))
        advance()
    return evaluation


def _labels(frame: Frame) -> FrameValues:
    energy, forces, stress = (frame.labels.get(name) for name in ("total_energy", "forces", "stress"))
    return FrameValues(
        None if energy is None else float(energy),
        None if forces is None else forces.double().numpy(),
        None if stress is None or frame.cell is None else stress.double().numpy().reshape(9)[_VOIGT],
    )


def _results(atoms: Atoms, labels: FrameValues) -> FrameValues:
    """What the calculator says of what has labels."""
    return FrameValues(
        None if labels.energy is None else atoms.get_potential_energy(),
        None if labels.forces is None else atoms.get_forces(),
        None if labels.stress is None else atoms.get_stress(),
    )

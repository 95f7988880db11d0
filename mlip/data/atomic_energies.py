"""An energy per atom type from total energies: the constant a model starts from, by least squares.

One mean energy per atom for all types is wrong wherever compositions differ: the model would have to learn differences
of thousands of eV between elements. Least squares over the compositions finds an energy for each type instead.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from mlip.data.errors import DataError

log = logging.getLogger(__name__)

# Singular values of the compositions below this part of the largest count as zero.
_RANK_TOLERANCE = 1e-8


class AtomicEnergies:
    """Energies of the types whose sums over the atoms come closest to the total energies, eV.

    Frames of a single atom are taken as what they are, the energy of that type, and not fitted. Where compositions
    leave combinations of types undetermined (as in data of one stoichiometry), the solution nearest to equal energies
    is taken and a warning names the types.

    It sees compositions and energies batch by batch and keeps a triangle of T + 1 rows of them, however many there are.

    Args:
        ridge: pulls the energies towards the mean energy per atom: the weight of that in units of one frame.
        warn: whether to warn about types whose energies are not determined.

    Raises:
        DataError: a negative ridge.
    """

    name = "atomic_energies"

    def __init__(self, ridge: float = 0.0, warn: bool = True) -> None:
        if ridge < 0:
            raise DataError(f"AtomicEnergies: ridge is {ridge}; it must not be negative")
        self.ridge = ridge
        self._warn = warn
        self._triangle: Tensor | None = None
        self._single: Tensor | None = None
        self._totals = torch.zeros(2, dtype=torch.float64)  # energy, atoms

    def fresh(self) -> AtomicEnergies:
        """The same, having seen nothing."""
        return type(self)(self.ridge, self._warn)

    def update(self, compositions: Tensor, energies: Tensor) -> None:
        """Take in some frames; those whose energy is NaN are left out.

        Args:
            compositions: (B, T) atoms of each type.
            energies: (B,) total energies, eV.
        """
        rows = torch.cat([compositions.double(), energies.double().reshape(-1, 1)], dim=1).cpu()
        rows = rows[~torch.isnan(rows[:, -1])]
        types = rows.shape[1] - 1
        if self._triangle is None or self._single is None:
            self._triangle = torch.zeros(0, types + 1, dtype=torch.float64)
            self._single = torch.zeros(types, 2, dtype=torch.float64)  # sum of energies, number
        counts = rows[:, :-1].sum(dim=1)
        alone = rows[counts == 1]
        self._single[:, 0] += (alone[:, :-1] * alone[:, -1:]).sum(dim=0)
        self._single[:, 1] += alone[:, :-1].sum(dim=0)
        others = rows[counts > 1]
        self._totals += torch.stack([others[:, -1].sum(), counts[counts > 1].sum()])
        # The triangle of a QR factorization stands for all rows so far, without the loss of squaring them.
        self._triangle = torch.linalg.qr(torch.cat([self._triangle, others]), mode="r").R

    def compute(self, type_names: Sequence[str]) -> dict[str, float]:
        """The energy of each type, eV; NaN for types that never occur.

        Args:
            type_names: the T names.
        """
        if self._triangle is None or self._single is None:
            return dict.fromkeys(type_names, float("nan"))
        single, number = self._single.unbind(dim=1)
        known = number > 0
        solution = torch.full_like(single, torch.nan)
        solution[known] = single[known] / number[known]
        matrix, target = self._triangle[:, :-1], self._triangle[:, -1].clone()
        target -= matrix[:, known] @ solution[known]
        unknown = (matrix.abs().sum(dim=0) > 0) & ~known
        if unknown.any():
            names = [name for name, one in zip(type_names, unknown.tolist(), strict=True) if one]
            solution[unknown] = self._solve(matrix[:, unknown], target, names)
        return dict(zip(type_names, solution.tolist(), strict=True))

    def _solve(self, matrix: Tensor, target: Tensor, names: Sequence[str]) -> Tensor:
        mean = self._totals[0] / self._totals[1]
        deviation = target - matrix.sum(dim=1) * mean
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        keep = values > _RANK_TOLERANCE * values.max()
        rank = int(keep.sum())
        if rank < matrix.shape[1] and self._warn:
            log.warning(
                "The compositions do not determine the energies of %s one by one (%d independent compositions for %d "
                "types): their sums are right, the split among them is arbitrary. Add frames of other compositions or "
                "isolated atoms, or write the energies",
                ", ".join(self._undetermined(right[keep], names)),
                rank,
                matrix.shape[1],
            )
        scaled = torch.where(keep, values / (values.square() + self.ridge), torch.zeros_like(values))
        return mean + right.T @ (scaled * (left.T @ deviation))

    @staticmethod
    def _undetermined(rows: Tensor, names: Sequence[str]) -> list[str]:
        """Types that no combination of compositions singles out."""
        share = rows.square().sum(dim=0)  # 1 where the type's own direction lies in the space of the compositions
        return [name for name, one in zip(names, share.tolist(), strict=True) if one < 1 - 1e-6]


def compositions(atom_types: Tensor, batch: Tensor | None, num_frames: int, num_types: int) -> Tensor:
    """(B, T) atoms of each type in each frame.

    Args:
        atom_types: (N,) int64.
        batch: (N,) frame of each atom; None for a single frame.
        num_frames: B.
        num_types: T.
    """
    frame = torch.zeros_like(atom_types) if batch is None else batch
    flat = torch.bincount(frame * num_types + atom_types, minlength=num_frames * num_types)
    return flat.reshape(num_frames, num_types)

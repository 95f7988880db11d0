"""Per-type scale and shift of atomic energies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

PerType = float | Sequence[float] | Mapping[str, float] | None


def per_type_tensor(value: PerType, type_names: Sequence[str], name: str) -> Tensor:
    """A per-type setting as a float64 tensor: (T, 1), or (0,) for None; a single number is repeated.

    Raises:
        ValueError: names or count do not match ``type_names``, or a number is not finite.
    """
    if value is None:
        return torch.empty(0, dtype=torch.float64)
    if isinstance(value, Mapping):
        if set(value) != set(type_names):
            raise ValueError(f"{name} must have exactly the keys {list(type_names)}, got {list(value)}")
        numbers = [float(value[type_name]) for type_name in type_names]
    elif isinstance(value, Sequence):
        if len(value) != len(type_names):
            raise ValueError(
                f"{name} has {len(value)} entries for the {len(type_names)} types {list(type_names)}; "
                "give one number per type, best as a dictionary {type: number}"
            )
        numbers = [float(number) for number in value]
    else:
        numbers = [float(value)] * len(type_names)
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{name} must be finite numbers, got {value}")
    return torch.tensor(numbers, dtype=torch.float64).view(-1, 1)


class PerTypeScaleShift(nn.Module):
    """``E_i = shift[t_i] + scale[t_i] * e_i`` in float64.

    Args:
        type_names: names of the atom types.
        scales, shifts: eV, one number, one per type, or None to leave out.
        scales_trainable, shifts_trainable: whether they are parameters.
    """

    def __init__(
        self,
        type_names: Sequence[str],
        scales: PerType = None,
        shifts: PerType = None,
        *,
        scales_trainable: bool = False,
        shifts_trainable: bool = False,
    ) -> None:
        super().__init__()
        self._store("scales", per_type_tensor(scales, type_names, "per_type_energy_scales"), scales_trainable)
        self._store("shifts", per_type_tensor(shifts, type_names, "per_type_energy_shifts"), shifts_trainable)
        self.scales: Tensor
        self.shifts: Tensor

    def _store(self, name: str, value: Tensor, trainable: bool) -> None:
        if trainable and value.numel():
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    def forward(self, atomic_energy: Tensor, atom_types: Tensor) -> Tensor:
        """(N, 1) any dtype, (N,) -> (N, 1) float64, eV."""
        energy = atomic_energy.to(torch.float64)
        if self.scales.numel():
            energy = energy * self.scales[atom_types]
        if self.shifts.numel():
            energy = energy + self.shifts[atom_types]
        return energy

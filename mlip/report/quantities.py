"""Units of what is compared, as figures and tables show them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """How a quantity is shown.

    Attributes:
        name: in words.
        unit: of its values.
        error_unit: of its errors.
        error_scale: errors in ``unit`` times this are in ``error_unit``.
    """

    name: str
    unit: str
    error_unit: str
    error_scale: float = 1e3

    def error(self, value: float, digits: int = 3) -> str:
        """An error with its unit."""
        return f"{self.number(value, digits)} {self.error_unit}"

    def number(self, value: float | None, digits: int = 3) -> str:
        """An error in ``error_unit``; nothing for none."""
        if value is None:
            return ""
        return f"{value * self.error_scale:#.{digits}g}".rstrip(".")


ENERGY = Shown("energy", "eV/atom", "meV/atom")
FORCE = Shown("force components", "eV/Å", "meV/Å")
STRESS = Shown("stress components", "eV/Å³", "meV/Å³")

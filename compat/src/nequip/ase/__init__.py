"""The calculator under its older name."""

from nequip.integrations.ase import NequIPCalculator

__all__ = ["NequIPCalculator"]

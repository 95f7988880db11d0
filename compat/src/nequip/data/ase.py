"""From ASE's Atoms to dictionaries of tensors and back."""

from nequip.data.frames import from_ase, to_ase

__all__ = ["from_ase", "to_ase"]

"""Dictionaries of arrays as dictionaries of tensors."""

from nequip.data.frames import from_dict

__all__ = ["from_dict"]

"""Interatomic potentials: architectures, pair terms, and the derivatives of their energies."""

from mlip.models.build import build_allegro, build_model, build_nequip, build_nequip_preset, build_zbl
from mlip.models.potential import Potential

__all__ = ["Potential", "build_allegro", "build_model", "build_nequip", "build_nequip_preset", "build_zbl"]

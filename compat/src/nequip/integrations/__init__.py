"""Calculators and interfaces to other programs."""

from __future__ import annotations

from typing import Any

from nequip._provider import module_of


def __getattr__(name: str) -> Any:
    if name == "NequIPTorchSimCalc":
        return module_of("mlip.integrations.torch_sim").NequIPTorchSimCalc
    if name == "NequIPCalculator":
        from nequip.integrations.ase import NequIPCalculator

        return NequIPCalculator
    raise AttributeError(f"nequip.integrations.{name} has no counterpart in mlip")

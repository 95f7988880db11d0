"""The torch-sim model of mlip."""

from __future__ import annotations

from typing import Any

from nequip._provider import module_of


def __getattr__(name: str) -> Any:
    if name == "NequIPTorchSimCalc":
        return module_of("mlip.integrations.torch_sim").NequIPTorchSimCalc
    raise AttributeError(f"nequip.integrations.torchsim.{name} has no counterpart in mlip")

"""Muon for the matrices of hidden layers with Adam for everything else, and how a model's weights divide.

Muon: K. Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from mlip.config.errors import ConfigError
from mlip.torch_versions import muon_optimizer

_MUON = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.0}
_ADAM = {"lr": 3e-4, "betas": (0.9, 0.95), "eps": 1e-10, "weight_decay": 0.0}


class MuonWithAuxAdam(Optimizer):
    """One optimizer of two kinds of parameter groups: those with ``use_muon`` by torch's Muon, the others by AdamW.

    Args:
        params: parameter groups with ``use_muon``, as ``nequip.model.MuonParamGroups`` makes them. Groups for Muon may
            have lr (0.02), momentum (0.95), weight_decay (0); the others lr (0.0003), betas (0.9, 0.95), eps (1e-10),
            weight_decay (0).

    Raises:
        ConfigError: groups without ``use_muon``.
    """

    def __init__(self, params: Iterable[Any]) -> None:
        groups = [dict(group) if isinstance(group, Mapping) else {} for group in params]
        if not groups or any("use_muon" not in group for group in groups):
            raise ConfigError(
                "MuonWithAuxAdam needs param_groups: {_target_: nequip.model.MuonParamGroups, muon: {}, adam: {}} "
                "(allegro.model.MuonParamGroups for Allegro)"
            )
        complete = [{**(_MUON if group["use_muon"] else _ADAM), **group} for group in groups if group["params"]]
        # Each kind checks its own settings, and fills in the rest.
        self._kinds = {
            use_muon: make(members)
            for use_muon, make in ((True, muon_optimizer()), (False, AdamW))
            if (members := [group for group in complete if bool(group["use_muon"]) is use_muon])
        }
        super().__init__([group for kind in self._kinds.values() for group in kind.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both kinds."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for use_muon, kind in self._kinds.items():
            # schedulers and checkpoints know this optimizer only, so groups and state are its own
            kind.param_groups = [group for group in self.param_groups if bool(group["use_muon"]) is use_muon]
            kind.state = self.state
            kind.step()
        return loss


def muon_param_groups(
    model: nn.Module, muon: Mapping[str, Any] | None = None, adam: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Matrices of hidden layers for Muon; embeddings, readout, couplings and pair potential for Adam.

    Args:
        model: whose trainable weights.
        muon: settings of the group for Muon.
        adam: settings of the group for Adam.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    hidden = {name for name, p in trainable.items() if p.ndim == 2 and _is_hidden_layer(name)}
    return [
        {"params": [trainable[name] for name in hidden_in_order(trainable, hidden)], "use_muon": True, **(muon or {})},
        {"params": [p for name, p in trainable.items() if name not in hidden], "use_muon": False, **(adam or {})},
    ]


def hidden_in_order(names: Iterable[str], hidden: set[str]) -> list[str]:
    """Those of ``names`` that are in ``hidden``, in their order, which checkpoints rely on."""
    return [name for name in names if name in hidden]


def _is_hidden_layer(name: str) -> bool:
    # stacks of layers hold their matrices as weights.0, weights.1, ... and weights.IRREP
    return ".weights." in name and not any(part in name for part in ("readout", "pair_potential"))

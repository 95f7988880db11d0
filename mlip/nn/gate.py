"""Equivariant nonlinearities: gates and norm activation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn import functional

from mlip.nn.equivariant import Features, Multiplicities, concatenate_blocks
from mlip.nn.mlp import shifted_softplus

EVEN, ODD = 1, -1
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], int | None]] = {
    # name: (function, parity of the function; None for neither even nor odd)
    "silu": (functional.silu, None),
    "ssp": (shifted_softplus, None),
    "tanh": (torch.tanh, ODD),
    "abs": (torch.abs, EVEN),
}


@cache
def second_moment_scale(name: str) -> float:
    """1 / sqrt(E f(z)^2) for normal z, so that activations keep unit second moment.

    From the same million samples as e3nn's ``normalize2mom``, since weights are trained with that constant.
    """
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(1_000_000, generator=generator, dtype=torch.float64)
    return float(ACTIVATIONS[name][0](samples).pow(2).mean().rsqrt())


class ScalarActivation(nn.Module):
    """A normalised activation for scalars of one parity.

    Args:
        name: a key of ACTIVATIONS.
        parity: parity of the scalars it is applied to.

    Raises:
        ValueError: unknown name, or a function of no parity for odd scalars.
    """

    def __init__(self, name: str, parity: int) -> None:
        super().__init__()
        if name not in ACTIVATIONS:
            raise ValueError(f"unknown equivariant nonlinearity {name!r}: choose one of {', '.join(ACTIVATIONS)}")
        self.function, function_parity = ACTIVATIONS[name]
        if parity == ODD and function_parity is None:
            raise ValueError(f"{name!r} is neither even nor odd: odd scalars need 'tanh' or 'abs'")
        self.scale = second_moment_scale(name)
        self.parity_out = EVEN if EVEN in (parity, function_parity) else ODD

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return self.function(x) * self.scale


class Gate(nn.Module):
    """Scalars through activations; every other channel times an activated scalar of its own.

    Args:
        channels: channels per irrep of the result before activation, in order.
        gate_parity: parity of the gating scalars.
        scalar_activations, gate_activations: activation names for even (1) and odd (-1) scalars.
    """

    def __init__(
        self,
        channels: Multiplicities,
        gate_parity: int,
        scalar_activations: Mapping[int, str],
        gate_activations: Mapping[int, str],
    ) -> None:
        super().__init__()
        self.scalars = {irrep: mul for irrep, mul in channels.items() if irrep.l == 0}
        self.gated = {irrep: mul for irrep, mul in channels.items() if irrep.l > 0}
        self.gate_irrep = o3.Irrep(0, gate_parity)
        self.activations = nn.ModuleDict(
            {str(irrep): ScalarActivation(scalar_activations[irrep.p], irrep.p) for irrep in self.scalars}
        )
        self.gate_activation = ScalarActivation(gate_activations[gate_parity], gate_parity) if self.gated else None
        gates = [(self.gate_irrep, sum(self.gated.values()))]
        ordered = sorted([*self.scalars.items(), *gates, *self.gated.items()], key=lambda block: block[0])
        self.channels_in = concatenate_blocks(ordered)
        gate_sign = self.gate_activation.parity_out if self.gate_activation else EVEN
        self.channels_out = concatenate_blocks(
            [(o3.Irrep(0, self._parity_out(irrep)), mul) for irrep, mul in self.scalars.items()]
            + [(o3.Irrep(irrep.l, irrep.p * gate_sign), mul) for irrep, mul in self.gated.items()]
        )

    def _parity_out(self, irrep: o3.Irrep) -> int:
        activation = self.activations[str(irrep)]
        assert isinstance(activation, ScalarActivation)
        return activation.parity_out

    def forward(self, features: Features) -> Features:
        """Features with ``channels_in`` -> features with ``channels_out``."""
        blocks: dict[o3.Irrep, list[Tensor]] = {}
        for irrep, mul in self.scalars.items():
            active = self.activations[str(irrep)](features[irrep][..., :mul])
            blocks.setdefault(o3.Irrep(0, self._parity_out(irrep)), []).append(active)
        if self.gate_activation is not None:
            gates = self.gate_activation(features[self.gate_irrep][..., self.scalars.get(self.gate_irrep, 0) :])
            start = 0
            for irrep, mul in self.gated.items():
                target = o3.Irrep(irrep.l, irrep.p * self.gate_activation.parity_out)
                blocks.setdefault(target, []).append(features[irrep] * gates[..., start : start + mul])
                start += mul
        return {irrep: torch.cat(parts, dim=-1) for irrep, parts in blocks.items()}


class NormActivation(nn.Module):
    """Keeps the direction of each channel and passes its norm through an activation.

    Args:
        channels: channels per irrep.
        activation: a key of ACTIVATIONS, used without normalisation.
    """

    def __init__(self, channels: Multiplicities, activation: str) -> None:
        super().__init__()
        self.channels_in = self.channels_out = dict(channels)
        self.function = ACTIVATIONS[activation][0]

    def forward(self, features: Features) -> Features:
        """Features -> features with the same irreps."""
        activated: Features = {}
        for irrep, block in features.items():
            squared = block.square().sum(1, keepdim=True)
            norm = squared.clamp(min=1e-16).sqrt()
            activated[irrep] = block * (self.function(norm) / norm)
        return activated

"""Layers on features of several irreps.

Features are a dictionary from irrep to a tensor (atoms, components, channels); every irrep occurs once, and channels
lie innermost, so that mixing channels is a plain matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from e3nn import o3
from torch import Tensor, nn

Features = dict[o3.Irrep, Tensor]
Multiplicities = dict[o3.Irrep, int]


def concatenate_blocks(blocks: list[tuple[o3.Irrep, int]]) -> Multiplicities:
    """Blocks of (irrep, channels) with equal irreps joined, in order of first occurrence; empty ones left out."""
    joined: Multiplicities = {}
    for irrep, mul in blocks:
        if mul:
            joined[irrep] = joined.get(irrep, 0) + mul
    return joined


def features_width(channels: Multiplicities) -> int:
    """Numbers per atom of features with these channels."""
    return sum(irrep.dim * mul for irrep, mul in channels.items())


def flatten_features(features: Features, channels: Multiplicities) -> Tensor:
    """Features -> (N, width): irreps in the order of ``channels``; within an irrep components, channels innermost."""
    return torch.cat([features[irrep].flatten(1) for irrep in channels], dim=1)


def unflatten_features(flat: Tensor, channels: Multiplicities) -> Features:
    """The inverse of :func:`flatten_features`."""
    blocks = flat.split([irrep.dim * mul for irrep, mul in channels.items()], dim=1)
    return {
        irrep: block.unflatten(1, (irrep.dim, mul))
        for (irrep, mul), block in zip(channels.items(), blocks, strict=True)
    }


class EquivariantLinear(nn.Module):
    """Mixes the channels of each irrep; weights start normal and are scaled by 1 / sqrt(channels in) at run time.

    Args:
        channels_in, channels_out: channels per irrep. Irreps on one side only have no weight and give zeros.
    """

    def __init__(self, channels_in: Multiplicities, channels_out: Multiplicities) -> None:
        super().__init__()
        self.channels_out = channels_out
        # pairs, since ParameterDict sorts the keys of a dictionary
        self.weights = nn.ParameterDict(
            (str(irrep), nn.Parameter(torch.randn(mul, channels_out[irrep])))
            for irrep, mul in channels_in.items()
            if irrep in channels_out
        )

    def forward(self, features: Features) -> Features:
        """Features with ``channels_in`` -> features with ``channels_out``."""
        any_block = next(iter(features.values()))
        mixed: Features = {}
        for irrep, mul in self.channels_out.items():
            if irrep in features and str(irrep) in self.weights:
                weight = self.weights[str(irrep)]
                mixed[irrep] = features[irrep] @ (weight * weight.shape[0] ** -0.5)
            else:
                mixed[irrep] = any_block.new_zeros(any_block.shape[0], irrep.dim, mul)
        return mixed


class SelfConnection(nn.Module):
    """Mixes the channels of each irrep with weights that are linear in the attributes of the atom.

    Args:
        channels_in, channels_out: channels per irrep.
        num_attributes: scalar attributes per atom.
    """

    def __init__(self, channels_in: Multiplicities, channels_out: Multiplicities, num_attributes: int) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(
            (str(irrep), nn.Parameter(torch.randn(mul, num_attributes, channels_out[irrep])))
            for irrep, mul in channels_in.items()
            if irrep in channels_out
        )

    def forward(self, features: Features, attributes: Tensor) -> Features:
        """Features, (N, attributes) -> features of the irreps that both sides have."""
        mixed: Features = {}
        for name, weight in self.weights.items():
            block = features[o3.Irrep(name)]
            mul, num_attributes, mul_out = weight.shape
            outer = block.unsqueeze(-1) * attributes[:, None, None, :]
            matrix = weight.reshape(mul * num_attributes, mul_out) * (mul * num_attributes) ** -0.5
            mixed[o3.Irrep(name)] = outer.flatten(2) @ matrix
        return mixed


def add_features(left: Mapping[o3.Irrep, Tensor], right: Mapping[o3.Irrep, Tensor]) -> Features:
    """``left + right``, where ``right`` may lack irreps."""
    return {irrep: block + right[irrep] if irrep in right else block for irrep, block in left.items()}

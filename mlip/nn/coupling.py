"""Coupling of angular momenta: which products of irreps exist and their coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from e3nn import o3
from torch import Tensor


def natural_irreps(l_max: int) -> list[o3.Irrep]:
    """Irreps of the spherical harmonics: 0e, 1o, 2e, ..."""
    return [o3.Irrep(degree, (-1) ** degree) for degree in range(l_max + 1)]


def component_slices(irreps: Sequence[o3.Irrep]) -> list[slice]:
    """Where each irrep sits when their components lie side by side."""
    ends = [0]
    for irrep in irreps:
        ends.append(ends[-1] + irrep.dim)
    return [slice(start, end) for start, end in pairwise(ends)]


def split_orders(components: Tensor, l_max: int, dim: int) -> tuple[Tensor, ...]:
    """Components of the natural irreps, one piece for each order l."""
    return components.split([2 * order + 1 for order in range(l_max + 1)], dim=dim)


def coupling_coefficients(left: o3.Irrep, right: o3.Irrep, out: o3.Irrep) -> Tensor:
    """Wigner 3j symbols scaled by sqrt(2 l_out + 1): (dim left, dim right, dim out), float64."""
    return o3.wigner_3j(left.l, right.l, out.l, dtype=torch.float64) * math.sqrt(out.dim)


@dataclass(frozen=True)
class CouplingTable:
    """All paths (left x right -> out) between two sets of irreps, each irrep once.

    Paths are ordered by out, then left, then right: the column order of the path weights.
    """

    left: tuple[o3.Irrep, ...]
    right: tuple[o3.Irrep, ...]
    out: tuple[o3.Irrep, ...]

    @cached_property
    def paths(self) -> list[tuple[int, int, int]]:
        """Indices (left, right, out) of the irreps of each path."""
        return [
            (i, j, k)
            for k, out in enumerate(self.out)
            for i, left in enumerate(self.left)
            for j, right in enumerate(self.right)
            if out in left * right
        ]

    @cached_property
    def dims(self) -> tuple[int, int, int]:
        """Number of components of left, right and out."""
        left, right, out = (sum(ir.dim for ir in irreps) for irreps in (self.left, self.right, self.out))
        return left, right, out

    def dense(self) -> Tensor:
        """Coefficients of all paths: (paths, dim left, dim right, dim out), float64."""
        left, right, out = (component_slices(irreps) for irreps in (self.left, self.right, self.out))
        table = torch.zeros(len(self.paths), *self.dims, dtype=torch.float64)
        for path, (i, j, k) in enumerate(self.paths):
            block = coupling_coefficients(self.left[i], self.right[j], self.out[k])
            table[path, left[i], right[j], out[k]] = block
        return table

    def nonzeros(self) -> list[tuple[int, int, int, int, float]]:
        """The coefficients that are not zero: (path, left, right, out component, value)."""
        table = self.dense()
        kept = (table.abs() > 1e-9).nonzero().tolist()
        return [(p, i, j, k, float(table[p, i, j, k])) for p, i, j, k in kept]

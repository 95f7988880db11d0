"""NequIP's convolution by kernels of other packages; the numbers are those of convolution.py.

They fuse gather, product and sum over neighbours by hand for GPUs. Whoever installs one checks it against the built-in
form first (mlip/deploy/acceleration.py), since such kernels have been wrong before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mlip.nn.coupling import component_slices, natural_irreps
from mlip.nn.kernels.convolution import PathTable
from mlip.nn.tiles import EdgeTiles

# features (N, components in, U), harmonics (tiles, height, D), weights (tiles, height, P, U), tiles -> (N, K, U)
Convolution = Callable[[Tensor, Tensor, Tensor, EdgeTiles], Tensor]


@dataclass(frozen=True)
class ExternalConvolution:
    """A convolution of another package.

    Attributes:
        run: see ``Convolution``.
        package: the module that brings it, and that programs import before they run a file with it.
        device: type of the device whose tensors it takes; others get the built-in form. None for any.
    """

    run: Convolution
    package: str
    device: str | None = "cuda"

    def takes(self, device: torch.device) -> bool:
        """Whether it can be used for tensors on a device."""
        return self.device is None or device.type == self.device


def cuequivariance_convolution(
    table: PathTable, channels: int, dtype: torch.dtype, *, method: str = "uniform_1d"
) -> ExternalConvolution:
    """By cuequivariance: one polynomial of weights, features and harmonics with our own coefficients.

    Args:
        table: the paths.
        channels: U.
        dtype: of the features.
        method: of cuequivariance: ``uniform_1d`` (its GPU kernel) or ``naive`` (torch, anywhere).
    """
    import cuequivariance as cue  # type: ignore[import-not-found,unused-ignore]
    import cuequivariance_torch as cuet  # type: ignore[import-not-found,unused-ignore]

    harmonics = natural_irreps(table.l_max)
    dense = table.dense().numpy()  # (D, components in, K)
    product = cue.SegmentedTensorProduct.from_subscripts("u,iu,j,ku+ijk")
    left = product.add_segment(1, {"i": table.irrep.dim, "u": channels})
    right = [product.add_segment(2, {"j": irrep.dim}) for irrep in harmonics]
    columns = component_slices([out for _, out in table.paths])
    rows = component_slices(harmonics)
    for (order, out), column in zip(table.paths, columns, strict=True):
        weight = product.add_segment(0, {"u": channels})
        result = product.add_segment(3, {"k": out.dim, "u": channels})
        coefficients = dense[rows[order], :, column].transpose(1, 0, 2)
        product.add_path(weight, left, right[order], result, c=coefficients)
    if method == "uniform_1d":
        product = product.flatten_coefficient_modes().squeeze_modes()
    polynomial = cue.SegmentedPolynomial.eval_last_operand(product)
    compute = cuet.SegmentedPolynomial(polynomial, method=method, math_dtype=dtype)

    def run(features: Tensor, harmonics: Tensor, weights: Tensor, tiles: EdgeTiles) -> Tensor:
        centre = tiles.centre.unsqueeze(1).expand_as(tiles.neighbour).flatten()
        (summed,) = compute.to(features.device)(
            [weights.flatten(0, 1).flatten(1), features.flatten(1), harmonics.flatten(0, 1)],
            input_indices={1: tiles.neighbour.flatten()},
            output_shapes={0: features.new_empty(features.shape[0], 1)},
            output_indices={0: centre},
        )
        return summed.view(features.shape[0], -1, channels)

    return ExternalConvolution(run, "cuequivariance_torch", "cuda" if method == "uniform_1d" else None)


def openequivariance_convolution(table: PathTable, channels: int, dtype: torch.dtype) -> ExternalConvolution:
    """By OpenEquivariance's fused convolution, with e3nn's "component" normalisation of irreps, which is ours.

    Args:
        table: the paths.
        channels: U.
        dtype: of the features.
    """
    import numpy as np
    import openequivariance as oeq  # type: ignore[import-not-found,unused-ignore]

    scalar_type = np.float64 if dtype == torch.float64 else np.float32
    irreps_in = f"{channels}x{table.irrep}"
    irreps_out = [f"{channels}x{out}" for _, out in table.paths]
    problem = oeq.TPProblem(
        oeq.Irreps(irreps_in),
        oeq.Irreps("+".join(f"1x{irrep}" for irrep in natural_irreps(table.l_max))),
        oeq.Irreps("+".join(irreps_out)),
        [(0, order, path, "uvu", True) for path, (order, _) in enumerate(table.paths)],
        path_normalization="none",
        shared_weights=False,
        internal_weights=False,
        irrep_dtype=scalar_type,
        weight_dtype=scalar_type,
        layout="ir_mul",
    )
    compute = oeq.TensorProductConv(problem, deterministic=False)

    def run(features: Tensor, harmonics: Tensor, weights: Tensor, tiles: EdgeTiles) -> Tensor:
        centre = tiles.centre.unsqueeze(1).expand_as(tiles.neighbour).flatten()
        ordered = compute.reorder_weights_from_e3nn(weights.flatten(0, 1).flatten(1), has_batch_dim=True)
        summed: Tensor = compute(
            features.flatten(1).contiguous(),
            harmonics.flatten(0, 1).contiguous(),
            ordered.contiguous(),
            centre.contiguous(),
            tiles.neighbour.flatten().contiguous(),
        )
        return summed.view(features.shape[0], -1, channels)

    return ExternalConvolution(run, "openequivariance")

"""Kernels: both forms of each give the textbook formula, with its derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from e3nn import o3
from torch import Tensor

from mlip.models.allegro import coupling_tables
from mlip.nn.coupling import CouplingTable, natural_irreps
from mlip.nn.kernels import fusible_kernels, is_fusible
from mlip.nn.kernels.centre_product import centre_product
from mlip.nn.kernels.convolution import PathTable, convolve
from mlip.nn.kernels.environment import environment, weighted_harmonics
from mlip.nn.tiles import EdgeTiles

ATOMS, CHANNELS, HEIGHT = 4, 3, 4
# centres 0 (five edges, so two tiles), 1 and 3; atom 2 has none
EDGES = torch.tensor([[0, 0, 0, 0, 0, 1, 3, 3], [1, 2, 3, 3, 1, 0, 0, 2]])


@pytest.fixture
def tiles() -> EdgeTiles:
    return EdgeTiles.build(EDGES, ATOMS, HEIGHT, exact=True)


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def both_forms(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> list[tuple[Tensor, tuple[Tensor, ...]]]:
    """Result of the library form and of the fusible form, each with its derivatives by the inputs."""
    found = []
    for fusible in (False, True):
        leaves = tuple(tensor.clone().requires_grad_() for tensor in inputs)
        if fusible:
            with fusible_kernels():
                result = function(*leaves)
        else:
            result = function(*leaves)
        direction = normal(*result.shape, seed=9)
        found.append((result.detach(), torch.autograd.grad((result * direction).sum(), leaves)))
    return found


def assert_forms_agree(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
    """Values and first derivatives of both forms are the same; the values."""
    (library, library_slopes), (fusible, fusible_slopes) = both_forms(function, inputs)
    torch.testing.assert_close(fusible, library, rtol=0, atol=1e-12)
    for ours, theirs in zip(fusible_slopes, library_slopes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    return library


def test_the_fusible_form_is_chosen_within_its_context_only() -> None:
    assert not is_fusible()
    with fusible_kernels():
        assert is_fusible()
    assert not is_fusible()


# The tensor product with the centre's environment -------------------------------------------------------------------

TABLES = {
    f"l_max {l_max}, {'both parities' if parity else 'one parity'}, layer {index}": table
    for l_max in (1, 2, 3)
    for parity in (True, False)
    for index, table in enumerate(coupling_tables(l_max, 3 if l_max < 3 else 2, parity=parity))
}


def product_inputs(table: CouplingTable, tiles: EdgeTiles) -> tuple[Tensor, Tensor, Tensor]:
    left, right, _ = table.dims
    features = normal(len(tiles.centre), HEIGHT, left, CHANNELS, seed=1)
    return features, normal(ATOMS, right, CHANNELS, seed=2), normal(len(table.paths), CHANNELS, seed=3)


def product_of(table: CouplingTable, tiles: EdgeTiles) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    dense, nonzeros = table.dense(), table.nonzeros()
    return lambda features, env, weights: centre_product(features, env, weights, dense, nonzeros, tiles)


@pytest.mark.parametrize("name", TABLES)
def test_the_centre_product_is_the_sum_over_wigner_symbols(name: str, tiles: EdgeTiles) -> None:
    table = TABLES[name]
    features, env, weights = product_inputs(table, tiles)
    expected = torch.zeros(len(tiles.centre), HEIGHT, table.dims[2], CHANNELS, dtype=torch.float64)
    starts = [
        [sum(ir.dim for ir in irreps[:index]) for index in range(len(irreps))]
        for irreps in (table.left, table.right, table.out)
    ]
    for path, (i, j, k) in enumerate(table.paths):
        left, right, out = table.left[i], table.right[j], table.out[k]
        symbols = o3.wigner_3j(left.l, right.l, out.l, dtype=torch.float64) * math.sqrt(2 * out.l + 1)
        x = features[:, :, starts[0][i] : starts[0][i] + left.dim]
        y = env[tiles.centre][:, starts[1][j] : starts[1][j] + right.dim]
        term = torch.einsum("ijk,thiu,tju,u->thku", symbols, x, y, weights[path])
        expected[:, :, starts[2][k] : starts[2][k] + out.dim] += term
    torch.testing.assert_close(product_of(table, tiles)(features, env, weights), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", TABLES)
def test_both_forms_of_the_centre_product_agree(name: str, tiles: EdgeTiles) -> None:
    """The fusible form takes weights as constants: it has derivatives by features and environment."""
    table = TABLES[name]
    features, env, weights = product_inputs(table, tiles)
    product = product_of(table, tiles)
    assert_forms_agree(lambda x, y: product(x, y, weights), (features, env))


@pytest.mark.parametrize("l_max", [1, 2])
@pytest.mark.parametrize("layer", [0, 1])
def test_the_centre_product_can_be_differentiated_twice(l_max: int, layer: int) -> None:
    tiles = EdgeTiles.build(torch.tensor([[0, 0, 1], [1, 1, 0]]), 2, 2, exact=True)
    table = coupling_tables(l_max, 2, parity=True)[layer]
    left, right, _ = table.dims
    inputs = (
        normal(len(tiles.centre), 2, left, 1, seed=1).requires_grad_(),
        normal(2, right, 1, seed=2).requires_grad_(),
        normal(len(table.paths), 1, seed=3).requires_grad_(),
    )
    assert torch.autograd.gradcheck(product_of(table, tiles), inputs)
    assert torch.autograd.gradgradcheck(product_of(table, tiles), inputs)


# The environment ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("l_max", [0, 1, 3])
def test_the_environment_is_the_sum_of_weighted_harmonics(l_max: int, tiles: EdgeTiles) -> None:
    def sums(weights: Tensor, harmonics: Tensor) -> Tensor:
        masked = harmonics * tiles.occupied.unsqueeze(-1)
        return environment(weights, masked, l_max, tiles)

    weights = normal(len(tiles.centre), HEIGHT, l_max + 1, CHANNELS)
    harmonics = normal(len(tiles.centre), HEIGHT, (l_max + 1) ** 2, seed=1)
    found = assert_forms_agree(sums, (weights, harmonics))
    terms = weighted_harmonics(weights, harmonics * tiles.occupied.unsqueeze(-1), l_max)
    torch.testing.assert_close(found, tiles.sum_to_centres(terms), rtol=0, atol=1e-13)
    order = [degree for degree in range(l_max + 1) for _ in range(2 * degree + 1)]
    by_edge = weights[:, :, order] * harmonics.unsqueeze(-1)
    expected = torch.zeros(ATOMS, (l_max + 1) ** 2, CHANNELS, dtype=torch.float64)
    expected.index_add_(0, EDGES[0], by_edge[tiles.occupied])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


# The convolution ----------------------------------------------------------------------------------------------------


def convolution(irrep: str, l_max: int) -> PathTable:
    paths = [(sh.l, out) for sh in natural_irreps(l_max) for out in o3.Irrep(irrep) * sh if out.l <= l_max]
    return PathTable(o3.Irrep(irrep), tuple(paths), l_max)


def convolution_inputs(table: PathTable, tiles: EdgeTiles) -> tuple[Tensor, Tensor, Tensor]:
    slots = tiles.occupied.shape
    features = normal(tiles.num_atoms, table.irrep.dim, CHANNELS, seed=1)
    harmonics = normal(*slots, (table.l_max + 1) ** 2, seed=2) * tiles.occupied.unsqueeze(-1)
    return features, harmonics, normal(*slots, len(table.paths), CHANNELS, seed=3)


def convolution_of(table: PathTable, tiles: EdgeTiles) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    dense, columns, nonzeros = table.dense(), table.path_of_component(), table.nonzeros()
    return lambda x, y, w: convolve(x, y, w, dense, columns, nonzeros, tiles)


CONVOLUTIONS = {f"{irrep}, l_max {l_max}": (irrep, l_max) for irrep in ("0e", "1o", "1e", "2e") for l_max in (1, 2, 3)}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_convolution_is_the_sum_over_edges_and_wigner_symbols(name: str, tiles: EdgeTiles) -> None:
    table = convolution(*CONVOLUTIONS[name])
    features, harmonics, weights = convolution_inputs(table, tiles)
    found = assert_forms_agree(convolution_of(table, tiles), (features, harmonics, weights))
    parts = []
    for path, (order, out) in enumerate(table.paths):
        symbols = o3.wigner_3j(table.irrep.l, order, out.l, dtype=torch.float64) * math.sqrt(2 * out.l + 1)
        y = harmonics[tiles.occupied][:, order**2 : (order + 1) ** 2]
        w = weights[tiles.occupied][:, path]
        messages = torch.einsum("ijk,eiu,ej,eu->eku", symbols, features[EDGES[1]], y, w)
        parts.append(torch.zeros(ATOMS, out.dim, CHANNELS, dtype=torch.float64).index_add(0, EDGES[0], messages))
    torch.testing.assert_close(found, torch.cat(parts, dim=1), rtol=0, atol=1e-11)


@pytest.mark.parametrize("irrep", ["0e", "1o"])
def test_the_convolution_can_be_differentiated_twice(irrep: str) -> None:
    tiles = EdgeTiles.build(torch.tensor([[0, 0, 1], [1, 1, 0]]), 2, 2, exact=True)
    table = convolution(irrep, 1)
    inputs = tuple(tensor[..., :1].requires_grad_() if n != 1 else tensor.requires_grad_()
                   for n, tensor in enumerate(convolution_inputs(table, tiles)))  # fmt: skip
    assert torch.autograd.gradcheck(convolution_of(table, tiles), inputs)
    assert torch.autograd.gradgradcheck(convolution_of(table, tiles), inputs)

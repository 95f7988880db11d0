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
from mlip.nn.kernels.centre_product import atom_product, centre_scalars
from mlip.nn.kernels.convolution import PathTable, convolve
from mlip.nn.kernels.environment import environment
from mlip.nn.kernels.table import polynomials
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


# The tensor products with the centre's environment ------------------------------------------------------------------

TABLES = {
    f"l_max {l_max}, {'both parities' if parity else 'one parity'}, layer {index}": table
    for l_max in (1, 2, 3)
    for parity in (True, False)
    for index, table in enumerate(coupling_tables(l_max, 3 if l_max < 3 else 2, parity=parity))
}


def product_inputs(table: CouplingTable) -> tuple[Tensor, Tensor, Tensor]:
    _, right, out = table.dims
    environments, vectors = normal(ATOMS, right, CHANNELS, seed=2), normal(ATOMS, out, CHANNELS, seed=1)
    return environments, vectors, normal(len(table.paths), CHANNELS, seed=3)


def product_of(table: CouplingTable) -> Callable[[Tensor, Tensor | None, Tensor], Tensor]:
    dense, nonzeros = table.dense(), table.nonzeros()
    return lambda env, vectors, weights: atom_product(env, vectors, weights, dense, nonzeros)


def matrices(table: CouplingTable, env: Tensor, weights: Tensor) -> Tensor:
    """The matrix of a layer, from the textbook: (N, dim left, dim right, U)."""
    total = torch.zeros(len(env), table.dims[0], table.dims[2], CHANNELS, dtype=torch.float64)
    starts = [
        [sum(ir.dim for ir in irreps[:index]) for index in range(len(irreps))]
        for irreps in (table.left, table.right, table.out)
    ]
    for path, (i, j, k) in enumerate(table.paths):
        left, right, out = table.left[i], table.right[j], table.out[k]
        symbols = o3.wigner_3j(left.l, right.l, out.l, dtype=torch.float64) * math.sqrt(2 * out.l + 1)
        y = env[:, starts[1][j] : starts[1][j] + right.dim]
        rows, columns = slice(starts[0][i], starts[0][i] + left.dim), slice(starts[2][k], starts[2][k] + out.dim)
        total[:, rows, columns] += torch.einsum("ijk,nju,u->niku", symbols, y, weights[path])
    return total


@pytest.mark.parametrize("name", TABLES)
def test_the_atom_product_applies_the_matrix_of_wigner_symbols(name: str) -> None:
    env, vectors, weights = product_inputs(TABLES[name])
    found = product_of(TABLES[name])(env, vectors, weights)
    expected = torch.einsum("niku,nku->niu", matrices(TABLES[name], env, weights), vectors)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", TABLES)
def test_no_vector_is_the_unit_vector_of_the_scalar(name: str) -> None:
    env, vectors, weights = product_inputs(TABLES[name])
    unit = torch.zeros_like(vectors)
    unit[:, 0] = 1.0
    product = product_of(TABLES[name])
    torch.testing.assert_close(product(env, None, weights), product(env, unit, weights), rtol=0, atol=1e-12)
    assert_forms_agree(lambda y: product(y, None, weights), (env,))


@pytest.mark.parametrize("name", TABLES)
def test_both_forms_of_the_atom_product_agree(name: str) -> None:
    """The fusible form takes weights as constants: it has derivatives by environment and vectors."""
    env, vectors, weights = product_inputs(TABLES[name])
    product = product_of(TABLES[name])
    assert_forms_agree(lambda x, y: product(x, y, weights), (env, vectors))


@pytest.mark.parametrize("l_max", [1, 2])
@pytest.mark.parametrize("layer", [0, 1])
def test_the_atom_product_can_be_differentiated_twice(l_max: int, layer: int) -> None:
    table = coupling_tables(l_max, 2, parity=True)[layer]
    inputs = tuple(tensor[:2, ..., :1] if n < 2 else tensor[:, :1] for n, tensor in enumerate(product_inputs(table)))
    leaves = tuple(tensor.clone().requires_grad_() for tensor in inputs)
    assert torch.autograd.gradcheck(product_of(table), leaves)
    assert torch.autograd.gradgradcheck(product_of(table), leaves)


def scalars_inputs(l_max: int, tiles: EdgeTiles) -> tuple[Tensor, Tensor, Tensor]:
    shape = (len(tiles.centre), HEIGHT)
    weights, harmonics = normal(*shape, l_max + 1, CHANNELS), normal(*shape, (l_max + 1) ** 2, seed=1)
    return weights, harmonics, normal(ATOMS, (l_max + 1) ** 2, CHANNELS, seed=2)


@pytest.mark.parametrize("l_max", [0, 1, 3])
def test_scalars_of_an_edge_are_inner_products_with_a_vector_of_its_centre(l_max: int, tiles: EdgeTiles) -> None:
    weights, harmonics, vectors = scalars_inputs(l_max, tiles)
    found = assert_forms_agree(lambda w, y, q: centre_scalars(w, y, q, l_max, tiles), (weights, harmonics, vectors))
    order = [degree for degree in range(l_max + 1) for _ in range(2 * degree + 1)]
    expected = (weights[:, :, order] * harmonics.unsqueeze(-1) * vectors[tiles.centre].unsqueeze(1)).sum(2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_scalars_of_an_edge_can_be_differentiated_twice(tiles: EdgeTiles) -> None:
    inputs = tuple(tensor[..., :2].requires_grad_() if n != 1 else tensor.requires_grad_()
                   for n, tensor in enumerate(scalars_inputs(1, tiles)))  # fmt: skip

    def scalars(w: Tensor, y: Tensor, q: Tensor) -> Tensor:
        return centre_scalars(w, y, q, 1, tiles)

    assert torch.autograd.gradcheck(scalars, inputs)
    assert torch.autograd.gradgradcheck(scalars, inputs)


@pytest.mark.parametrize("parity", [True, False])
def test_products_from_the_right_are_the_products_of_edge_features_from_the_left(
    parity: bool, tiles: EdgeTiles
) -> None:
    l_max, num_layers = 2, 3
    weights, harmonics, _ = scalars_inputs(l_max, tiles)
    order = [degree for degree in range(l_max + 1) for _ in range(2 * degree + 1)]
    features = weights[:, :, order] * harmonics.unsqueeze(-1)
    tables = coupling_tables(l_max, num_layers, parity=parity)
    parts = [product_inputs(table) for table in tables]
    vectors = None
    for table, (env, _, path_weights) in reversed(list(zip(tables, parts, strict=True))):
        vectors = product_of(table)(env, vectors, path_weights)
    assert vectors is not None
    for table, (env, _, path_weights) in zip(tables, parts, strict=True):
        matrix = matrices(table, env, path_weights)[tiles.centre]
        features = torch.einsum("thiu,tiku->thku", features, matrix)
    found = centre_scalars(weights, harmonics, vectors, l_max, tiles)
    torch.testing.assert_close(found, features[:, :, 0], rtol=1e-11, atol=1e-11)


# The environment ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("l_max", [0, 1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_the_environment_is_the_sum_of_weighted_harmonics(l_max: int, shared: bool, tiles: EdgeTiles) -> None:
    values = normal(len(tiles.centre), HEIGHT, 5)
    harmonics = normal(len(tiles.centre), HEIGHT, (l_max + 1) ** 2, seed=1) * tiles.occupied.unsqueeze(-1)
    weights = normal(5, 1 if shared else l_max + 1, CHANNELS, seed=2)
    found = environment(values, harmonics, weights, l_max, tiles)
    order = [0 if shared else degree for degree in range(l_max + 1) for _ in range(2 * degree + 1)]
    by_edge = torch.einsum("thx,xcu->thcu", values, weights)[:, :, order] * harmonics.unsqueeze(-1)
    expected = torch.zeros(ATOMS, (l_max + 1) ** 2, CHANNELS, dtype=torch.float64)
    expected.index_add_(0, EDGES[0], by_edge[tiles.occupied])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_environment_can_be_differentiated_twice(tiles: EdgeTiles) -> None:
    slots = tiles.occupied.shape
    inputs = (normal(*slots, 2), normal(*slots, 4, seed=1), normal(2, 2, 1, seed=2))

    def of(values: Tensor, harmonics: Tensor, weights: Tensor) -> Tensor:
        return environment(values, harmonics, weights, 1, tiles)

    leaves = tuple(tensor.requires_grad_() for tensor in inputs)
    assert torch.autograd.gradcheck(of, leaves)
    assert torch.autograd.gradgradcheck(of, leaves)


# Tables of polynomials ----------------------------------------------------------------------------------------------


def table_inputs() -> tuple[Tensor, Tensor, Tensor]:
    return normal(3, 6, CHANNELS), torch.tensor([[0, 2], [1, 2]]), normal(2, 2, seed=1)


def test_a_table_gives_the_polynomial_of_its_row() -> None:
    coefficients, row, x = table_inputs()
    powers = x.unsqueeze(-1) ** torch.arange(6)
    expected = torch.einsum("abk,abkc->abc", powers, coefficients[row])
    torch.testing.assert_close(polynomials(coefficients, row, x), expected, rtol=0, atol=1e-12)


def test_polynomials_of_a_table_can_be_differentiated_twice() -> None:
    coefficients, row, x = table_inputs()
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda points: polynomials(coefficients, row, points), (x,))
    assert torch.autograd.gradgradcheck(lambda points: polynomials(coefficients, row, points), (x,))


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

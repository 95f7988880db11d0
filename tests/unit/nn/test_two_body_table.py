"""Tables of functions of a distance: smooth, as accurate as they say, constant beyond the cutoff."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mlip.nn.tiles import EdgeTiles
from mlip.nn.two_body_table import TwoBodyTable, quintic_coefficients, with_derivatives


def wave(u: Tensor) -> Tensor:
    """Two functions that vanish at u = 1 with two derivatives."""
    envelope = (1.0 - u.clamp(max=1.0)) ** 3
    return torch.stack([torch.sin(7.0 * u) * envelope, torch.exp(-u) * envelope], dim=-1)


def look_up(table: TwoBodyTable, u: Tensor, types: tuple[int, int] = (0, 0)) -> Tensor:
    """The functions of edges from an atom of the one type to an atom of the other."""
    ones = torch.ones(1, len(u), dtype=torch.int64)
    tiles = EdgeTiles(torch.zeros(1, dtype=torch.int64), ones, ones, ones.bool(), num_atoms=2)
    return table(u.unsqueeze(0), torch.tensor(types), tiles).squeeze(0)


def wave_table(intervals: int) -> TwoBodyTable:
    return TwoBodyTable(quintic_coefficients(wave, intervals).unsqueeze(0), num_types=1)


def test_at_the_knots_values_and_slopes_are_those_of_the_function() -> None:
    table, knots = wave_table(8), torch.arange(1, 9, dtype=torch.float64) / 8.0
    expected, slopes, _ = with_derivatives(wave, knots)
    value, slope, _ = with_derivatives(lambda u: look_up_plain(table, u), knots - 1e-13)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(slope, slopes, rtol=0, atol=1e-10)


def look_up_plain(table: TwoBodyTable, u: Tensor) -> Tensor:
    """The same by powers, for derivatives in forward mode."""
    row = (u.detach() * table.num_intervals).floor().long().clamp(max=table.num_intervals)
    x = row + 1 - u * table.num_intervals
    return torch.einsum("uk,ukc->uc", x.unsqueeze(-1) ** torch.arange(6), table.coefficients[row])


def test_two_derivatives_are_continuous() -> None:
    table = wave_table(8)
    knots = torch.arange(1, 9, dtype=torch.float64) / 8.0
    sides = [with_derivatives(lambda u: look_up_plain(table, u), knots + shift) for shift in (-1e-12, 1e-12)]
    for left, right, allowed in zip(*sides, (1e-10, 1e-9, 1e-7), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=allowed)


def test_doubling_the_intervals_divides_the_error_by_sixty() -> None:
    u = torch.linspace(0.1, 0.99, 1001, dtype=torch.float64)
    errors = [float((look_up(wave_table(n), u) - wave(u)).abs().max()) for n in (8, 16, 32)]
    assert errors[0] / errors[1] > 40.0
    assert errors[1] / errors[2] > 40.0
    assert errors[2] < 1e-7


def test_in_single_precision_what_vanishes_at_the_cutoff_has_small_relative_errors_there() -> None:
    coefficients = quintic_coefficients(wave, 8).unsqueeze(0)
    u = torch.tensor([1.0 - 1e-2, 1.0 - 1e-3, 1.0 - 1e-4], dtype=torch.float64)
    single = look_up(TwoBodyTable(coefficients.float(), num_types=1), u).double()
    torch.testing.assert_close(single, look_up(wave_table(8), u), rtol=1e-5, atol=0)


@pytest.mark.parametrize("u", [1.0, 1.3, 1e6])
def test_beyond_the_cutoff_nothing_is_left(u: float) -> None:
    point = torch.tensor([u], dtype=torch.float64, requires_grad=True)
    value = look_up(wave_table(16), point)
    (slope,) = torch.autograd.grad(value.sum(), point)
    assert not value.any()
    assert not slope.any()


def test_the_derivative_is_that_of_the_tabulated_function() -> None:
    u = torch.tensor([0.05, 0.31, 0.77, 0.999], dtype=torch.float64, requires_grad=True)
    table = wave_table(8)
    assert torch.autograd.gradcheck(lambda points: look_up(table, points), (u,))
    assert torch.autograd.gradgradcheck(lambda points: look_up(table, points), (u,))


def test_each_ordered_pair_of_types_has_its_own_functions() -> None:
    factors = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).view(4, 1, 1, 1)
    table = TwoBodyTable(factors * quintic_coefficients(wave, 8), num_types=2)
    u = torch.tensor([0.4], dtype=torch.float64)
    single = look_up(wave_table(8), u)
    for pair, types in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        torch.testing.assert_close(look_up(table, u, types), (pair + 1.0) * single)

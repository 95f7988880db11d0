"""Radial functions: what they are, and that they end smoothly at the cutoff."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import spherical_jn
from torch import Tensor

from mlip.nn.radial import BesselBasis, SplineBasis, polynomial_cutoff


def derivatives(function: Callable[[Tensor], Tensor], at: float, order: int) -> list[Tensor]:
    """Value and derivatives at one point."""
    values = [function]
    for _ in range(order):
        values.append(torch.func.jacfwd(values[-1]))
    return [value(torch.tensor(at, dtype=torch.float64)) for value in values]


@pytest.mark.parametrize("p", [2.0, 5.0, 6.0, 8.0])
def test_the_envelope_goes_from_one_to_zero_with_two_derivatives(p: float) -> None:
    def envelope(u: Tensor) -> Tensor:
        return polynomial_cutoff(u, p)

    assert polynomial_cutoff(torch.zeros(1, dtype=torch.float64), p) == 1.0
    for value in derivatives(envelope, 1.0 - 1e-7, 2):
        assert abs(float(value)) < 1e-4
    for beyond in (1.0, 1.0 + 1e-15, 1.5, 100.0):
        for value in derivatives(envelope, beyond, 2):
            assert float(value) == 0.0
    inside = polynomial_cutoff(torch.linspace(0, 1, 200, dtype=torch.float64), p)
    assert (inside.diff() <= 1e-15).all()


@pytest.mark.parametrize("p", [5.0, 6.0])
def test_the_envelope_is_the_published_polynomial(p: float) -> None:
    u = torch.linspace(0, 0.999, 50, dtype=torch.float64)
    published = 1 - (p + 1) * (p + 2) / 2 * u**p + p * (p + 2) * u ** (p + 1) - p * (p + 1) / 2 * u ** (p + 2)
    torch.testing.assert_close(polynomial_cutoff(u, p), published, rtol=0, atol=1e-13)


def test_bessels_are_spherical_bessel_functions_of_order_zero() -> None:
    u = torch.linspace(0.01, 1, 50, dtype=torch.float64)
    n = np.arange(1, 9)
    expected = n * spherical_jn(0, np.pi * n * u.numpy()[:, None])
    np.testing.assert_allclose(BesselBasis(8)(u).numpy(), expected, atol=1e-14)


def test_bessels_are_finite_at_zero_distance_and_their_frequencies_can_be_trained() -> None:
    basis = BesselBasis(3, trainable=True)
    values = basis(torch.zeros(1, dtype=torch.float64))
    assert values.tolist() == [[1.0, 2.0, 3.0]]
    assert [name for name, _ in basis.named_parameters()] == ["frequencies"]
    assert not list(BesselBasis(3).parameters())
    u = torch.rand(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(basis, u)
    assert torch.autograd.gradgradcheck(basis, u)


@pytest.mark.parametrize("splines, span", [(8, 6), (16, 12), (5, 0), (4, 4)])
def test_splines_end_with_three_derivatives_at_the_cutoff(splines: int, span: int) -> None:
    basis = SplineBasis(splines, span)
    for value in derivatives(basis, 1.0 - 1e-9, 3):
        assert float(value.abs().max()) < 1e-2
    for beyond in (1.0 + 1e-12, 2.0):
        for value in derivatives(basis, beyond, 1):
            assert float(value.abs().max()) < 1e-12


def test_each_spline_is_a_bump_of_height_one_on_its_span() -> None:
    basis = SplineBasis(8, 6)
    u = torch.linspace(0, 1, 2001, dtype=torch.float64)
    values = basis(u)
    assert (values >= 0).all()
    assert float(values.max()) == pytest.approx(1.0, abs=1e-5)
    outside = (u[:, None] < basis.lower) | (u[:, None] > basis.lower + basis.width)
    assert not values[outside].abs().gt(1e-15).any()


def test_a_span_beyond_the_number_of_splines_is_refused() -> None:
    with pytest.raises(ValueError, match="spline_span must lie between 0 and num_splines=4, got 5"):
        SplineBasis(4, 5)

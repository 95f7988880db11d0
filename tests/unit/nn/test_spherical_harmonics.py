"""Spherical harmonics are e3nn's, and regular where angles are not."""

from __future__ import annotations

import math

import pytest
import torch
from e3nn import o3
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mlip.nn.spherical_harmonics import spherical_harmonics

L_MAX = 6
AXES = [(0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)]  # the poles are at +-y


def reference(vectors: Tensor, l_max: int = L_MAX) -> Tensor:
    return o3.spherical_harmonics(list(range(l_max + 1)), vectors, normalize=True, normalization="component")


def directions(count: int = 200) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(count, 3, generator=generator, dtype=torch.float64) * 3.0
    return torch.cat([random, torch.tensor(AXES, dtype=torch.float64)])


@pytest.mark.parametrize("l_max", range(L_MAX + 1))
def test_equal_those_of_e3nn(l_max: int) -> None:
    vectors = directions()
    torch.testing.assert_close(spherical_harmonics(vectors, l_max), reference(vectors, l_max), rtol=0, atol=1e-12)


def test_derivatives_equal_those_of_e3nn() -> None:
    vectors = directions(20)
    found = torch.func.vmap(torch.func.jacrev(lambda v: spherical_harmonics(v, L_MAX)))(vectors)
    expected = torch.stack([torch.autograd.functional.jacobian(reference, v) for v in vectors])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_the_norm_of_each_order_is_the_same_for_all_directions() -> None:
    found = spherical_harmonics(directions(), L_MAX)
    for order in range(L_MAX + 1):
        norm = found[:, order**2 : (order + 1) ** 2].norm(dim=-1)
        torch.testing.assert_close(norm, torch.full_like(norm, math.sqrt(2 * order + 1)), rtol=1e-13, atol=0)


@given(seed=st.integers(0, 2**32 - 1))
def test_they_rotate_by_wigner_matrices(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    quaternion = torch.nn.functional.normalize(torch.randn(4, generator=generator, dtype=torch.float64), dim=0)
    turn = o3.quaternion_to_matrix(quaternion)
    irreps = o3.Irreps.spherical_harmonics(3)
    matrix = irreps.D_from_matrix(turn)
    found = spherical_harmonics(vectors @ turn.T, 3)
    # e3nn's matrices go through angles and are good to 1e-6
    torch.testing.assert_close(found, spherical_harmonics(vectors, 3) @ matrix.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("axis", AXES)
def test_first_and_second_derivatives_are_right_at_the_poles(axis: tuple[float, float, float]) -> None:
    vectors = torch.tensor([axis], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: spherical_harmonics(v, L_MAX), vectors)
    assert torch.autograd.gradgradcheck(lambda v: spherical_harmonics(v, 4), vectors)


def test_the_length_does_not_matter() -> None:
    vectors = directions()
    found = spherical_harmonics(vectors * 1e-3, L_MAX)
    torch.testing.assert_close(found, spherical_harmonics(vectors, L_MAX), rtol=0, atol=1e-11)


def test_a_zero_vector_gives_one_and_zeros() -> None:
    found = spherical_harmonics(torch.zeros(1, 3), 2)
    assert found[0, 0] == 1.0
    assert torch.isfinite(found).all()
    assert not found[0, 1:4].any()

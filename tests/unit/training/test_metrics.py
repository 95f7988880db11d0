"""Errors against torch, however the data are batched."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import huber_loss, l1_loss, mse_loss

from mlip.config.errors import ConfigError
from mlip.data.errors import DataError
from mlip.data.frame import Batch
from mlip.data.modifiers import PerAtomModifier
from mlip.graph import Graph, Prediction
from mlip.training.metrics import (
    ErrorMetric,
    HuberLoss,
    MaximumAbsoluteError,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    StratifiedHuberForceLoss,
)
from mlip.training.metrics_manager import MetricsManager
from mlip.training.presets import (
    EnergyForceLoss,
    EnergyForceMetrics,
    EnergyForceStressLoss,
    EnergyForceStressMetrics,
    EnergyOnlyLoss,
    EnergyOnlyMetrics,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BY_TORCH = [
    (MeanSquaredError(), mse_loss),
    (MeanAbsoluteError(), l1_loss),
    (RootMeanSquaredError(), lambda p, t: mse_loss(p, t).sqrt()),
    (MaximumAbsoluteError(), lambda p, t: (p - t).abs().max()),
    (HuberLoss(delta=0.3), lambda p, t: huber_loss(p, t, delta=0.3)),
    (HuberLoss("sum"), lambda p, t: huber_loss(p, t, reduction="sum")),
    (StratifiedHuberForceLoss({0: 0.3}), lambda p, t: huber_loss(p, t, delta=0.3)),
]


@pytest.mark.parametrize("metric, expected", BY_TORCH)
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 6))
def test_equals_torch_in_one_batch_and_in_two(metric: ErrorMetric, expected: Any, seed: int, cut: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    prediction, target = (torch.randn(7, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    fresh = metric.fresh()
    torch.testing.assert_close(fresh(prediction, target), expected(prediction, target))
    fresh.reset()
    for part in (slice(None, cut), slice(cut, None)):
        fresh(prediction[part], target[part])
    assert fresh.compute() == pytest.approx(float(expected(prediction, target)))


def test_delta_follows_the_target_force() -> None:
    metric = StratifiedHuberForceLoss({0.0: 1.0, 10.0: 0.1})
    target = torch.tensor([[0.0, 0.0, 0.0], [20.0, 0.0, 0.0]])
    expected = torch.cat(
        [
            huber_loss(target[:1] + 0.5, target[:1], delta=1.0, reduction="none"),
            huber_loss(target[1:] + 0.5, target[1:], delta=0.1, reduction="none"),
        ]
    ).mean()
    torch.testing.assert_close(metric(target + 0.5, target), expected)


def example(
    types: tuple[int, ...] = (0, 0, 1), forces_error: tuple[float, ...] = (1.0, 2.0, 3.0), stress: Any = 0.0
) -> SimpleNamespace:
    """Two frames of 2 and 1 atoms; the energy is wrong by 1 eV per frame, forces by the given eV/Å per atom."""
    graph = Graph(
        torch.zeros(3, 3),
        torch.tensor(types),
        torch.zeros(2, 0, dtype=torch.int64),
        batch=torch.tensor([0, 0, 1]),
        num_atoms=torch.tensor([2, 1]),
    )
    labels = {
        "total_energy": torch.zeros(2, 1, dtype=torch.float64),
        "forces": torch.zeros(3, 3, dtype=torch.float64),
        "stress": torch.full((2, 3, 3), stress, dtype=torch.float64),
    }
    error = torch.tensor(forces_error, dtype=torch.float64)[:, None].expand(3, 3)
    return SimpleNamespace(
        batch=Batch(graph, labels),
        prediction=Prediction(
            torch.zeros(3, 1),
            torch.ones(2, 1, dtype=torch.float64),
            error,
            stress=torch.ones(2, 3, 3, dtype=torch.float64),
        ),
    )


def test_coefficients_are_normalised_and_weigh_the_sum() -> None:
    given_ = example()
    loss = EnergyForceLoss({"total_energy": 1.0, "forces": 3.0}, per_atom_energy=False)
    assert loss.coefficients == {"total_energy_mse": 0.25, "forces_mse": 0.75}
    found = loss(given_.prediction, given_.batch, "train_loss_step/")
    forces = (1 + 4 + 9) / 3
    assert {k: float(v) for k, v in found.items()} == pytest.approx(
        {
            "train_loss_step/total_energy_mse": 1.0,
            "train_loss_step/forces_mse": forces,
            "train_loss_step/weighted_sum": 0.25 + 0.75 * forces,
        }
    )
    assert loss.compute() == pytest.approx({k.split("/")[1]: float(v) for k, v in found.items()})
    assert loss.metrics_values_epoch == loss.compute()


def test_per_atom_energy() -> None:
    given_ = example()
    assert float(EnergyOnlyLoss()(given_.prediction, given_.batch)["per_atom_energy_mse"]) == (0.5**2 + 1.0**2) / 2


def test_per_type_is_the_mean_of_the_types() -> None:
    entry = {"field": "forces", "metric": RootMeanSquaredError(), "per_type": True, "coeff": 1.0, "name": "F"}
    given_ = example()
    found = MetricsManager([entry], ["A", "B"])(given_.prediction, given_.batch)
    a, b = (2.5) ** 0.5, 3.0
    assert {k: float(v) for k, v in found.items()} == pytest.approx(
        {"F_A": a, "F_B": b, "F": (a + b) / 2, "weighted_sum": (a + b) / 2}
    )
    weighted = MetricsManager([{**entry, "per_type_coeffs": {"A": 3.0, "B": 1.0}}], ["A", "B"])
    assert float(weighted(given_.prediction, given_.batch)["F"]) == pytest.approx((3 * a + b) / 4)


def test_a_type_a_batch_lacks_does_not_count() -> None:
    entry = {"field": "forces", "metric": MeanAbsoluteError(), "per_type": True, "coeff": 1.0, "name": "F"}
    given_ = example(types=(0, 0, 0))
    manager = MetricsManager([entry], ["A", "B"])
    assert set(manager(given_.prediction, given_.batch)) == {"F", "F_A", "weighted_sum"}
    assert manager.compute()["weighted_sum"] == 2.0


def test_missing_labels_may_be_nan() -> None:
    given_ = example(stress=float("nan"))
    plain = EnergyForceStressLoss()(given_.prediction, given_.batch)
    assert plain["weighted_sum"].isnan()
    tolerant = EnergyForceStressLoss(ignore_nan={"stress": True})
    found = tolerant(given_.prediction, given_.batch)
    assert "stress_mse" not in found
    assert found["weighted_sum"].isfinite()
    given_.batch.labels["stress"][0] = 0.0
    assert float(tolerant(given_.prediction, given_.batch)["stress_mse"]) == 1.0


def test_a_diverged_prediction_is_not_hidden() -> None:
    given_ = example(forces_error=(float("nan"), 0.0, 0.0))
    assert EnergyForceLoss()(given_.prediction, given_.batch)["weighted_sum"].isnan()


@pytest.mark.parametrize(
    "preset, names, coefficients",
    [
        (EnergyOnlyLoss, ["per_atom_energy_mse"], {"per_atom_energy_mse": 1.0}),
        (EnergyForceLoss, ["per_atom_energy_mse", "forces_mse"], {"per_atom_energy_mse": 0.5, "forces_mse": 0.5}),
        (
            EnergyForceStressLoss,
            ["per_atom_energy_mse", "forces_mse", "stress_mse"],
            dict.fromkeys(["per_atom_energy_mse", "forces_mse", "stress_mse"], 1 / 3),
        ),
        (
            EnergyOnlyMetrics,
            [f"{f}_{m}" for f in ("total_energy", "per_atom_energy") for m in ("rmse", "mae", "maxabserr")],
            {"total_energy_rmse": 1.0},
        ),
        (
            EnergyForceMetrics,
            [f"{f}_{m}" for f in ("total_energy", "per_atom_energy", "forces") for m in ("rmse", "mae", "maxabserr")],
            {"total_energy_rmse": 0.5, "forces_rmse": 0.5},
        ),
        (
            EnergyForceStressMetrics,
            [
                f"{f}_{m}"
                for f in ("total_energy", "per_atom_energy", "forces", "stress")
                for m in ("rmse", "mae", "maxabserr")
            ],
            dict.fromkeys(["total_energy_rmse", "forces_rmse", "stress_rmse"], 1 / 3),
        ),
    ],
)
def test_presets(preset: Callable[[], MetricsManager], names: list[str], coefficients: dict[str, float]) -> None:
    manager = preset()
    assert manager.names == names
    assert manager.coefficients == pytest.approx(coefficients)


MSE = MeanSquaredError()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: MetricsManager([]), "metrics is empty"),
        (lambda: MetricsManager([{"field": "forces"}]), "needs `metric` and `field`"),
        (
            lambda: MetricsManager([{"field": "forces", "metric": MSE, "coef": 1}]),
            "unknown key 'coef' .did you mean coeff",
        ),
        (lambda: MetricsManager([{"field": "force", "metric": MSE}]), "do not predict 'force' .did you mean forces"),
        (lambda: MetricsManager([{"field": "forces", "metric": MSE}] * 2), "name 'forces_mse' is taken"),
        (lambda: MetricsManager([{"field": "forces", "metric": MSE, "name": "weighted_sum"}]), "is taken"),
        (lambda: MetricsManager([{"field": "forces", "metric": MSE, "per_type": True}]), "give type_names"),
        (lambda: MetricsManager([{"field": "stress", "metric": MSE, "per_type": True}], ["A"]), "cannot be per type"),
        (
            lambda: MetricsManager([{"field": "forces", "metric": MSE, "per_type_coeffs": {"A": 1}}], ["A", "B"]),
            "positive weight",
        ),
        (lambda: EnergyForceLoss({"energy": 1.0}), "loss: unknown name 'energy' .did you mean total_energy"),
        (lambda: EnergyForceLoss({"total_energy": 0.0}), "not all be zero"),
        (lambda: HuberLoss("max"), "mean or sum"),
        (lambda: StratifiedHuberForceLoss({1.0: 0.1}), "start at a force norm of 0"),
    ],
)
def test_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_missing_label_is_named() -> None:
    given_ = example()
    del given_.batch.labels["forces"]
    with pytest.raises(DataError, match="there is no 'forces' here, only stress, total_energy"):
        EnergyForceLoss()(given_.prediction, given_.batch)


def test_modifiers_are_fields_too() -> None:
    manager = MetricsManager([{"field": PerAtomModifier("total_energy"), "metric": RootMeanSquaredError(), "coeff": 1}])
    assert manager.names == ["per_atom_energy_rmse"]
    assert not manager.needs_derivatives

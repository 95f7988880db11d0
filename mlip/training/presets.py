"""The usual losses and metrics: energy, energy and forces, energy, forces and stress.

They are functions with the names configs use; each gives a :class:`MetricsManager`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlip.config.errors import ConfigError
from mlip.config.targets import nearest
from mlip.data.modifiers import PerAtomModifier
from mlip.training.metrics import MaximumAbsoluteError, MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError
from mlip.training.metrics_manager import MetricsManager

Coeffs = Mapping[str, float | None]
Entries = Sequence[Mapping[str, Any]]


def EnergyOnlyLoss(  # noqa: N802 - the public name
    coeffs: Coeffs | None = None,
    per_atom_energy: bool = True,
    type_names: Sequence[str] | None = None,
    extra_metrics: Entries | None = None,
) -> MetricsManager:
    """Mean squared error of the energy, per atom unless ``per_atom_energy`` is False."""
    return _loss(("total_energy",), coeffs, per_atom_energy, None, None, type_names, extra_metrics)


def EnergyForceLoss(  # noqa: N802 - the public name
    coeffs: Coeffs | None = None,
    per_atom_energy: bool = True,
    per_type_forces_coeffs: Mapping[str, float] | None = None,
    type_names: Sequence[str] | None = None,
    extra_metrics: Entries | None = None,
) -> MetricsManager:
    """Mean squared errors of energy (per atom) and forces; ``coeffs`` {total_energy: 1, forces: 1}."""
    fields = ("total_energy", "forces")
    return _loss(fields, coeffs, per_atom_energy, per_type_forces_coeffs, None, type_names, extra_metrics)


def EnergyForceStressLoss(  # noqa: N802 - the public name
    coeffs: Coeffs | None = None,
    per_atom_energy: bool = True,
    per_type_forces_coeffs: Mapping[str, float] | None = None,
    type_names: Sequence[str] | None = None,
    extra_metrics: Entries | None = None,
    ignore_nan: Mapping[str, bool] | None = None,
) -> MetricsManager:
    """Mean squared errors of energy (per atom), forces and stress; ``coeffs`` 1 each."""
    fields = ("total_energy", "forces", "stress")
    return _loss(fields, coeffs, per_atom_energy, per_type_forces_coeffs, ignore_nan, type_names, extra_metrics)


def EnergyOnlyMetrics(  # noqa: N802 - the public name
    coeffs: Coeffs | None = None, type_names: Sequence[str] | None = None, extra_metrics: Entries | None = None
) -> MetricsManager:
    """RMSE, MAE and largest error of the energy, total and per atom; ``coeffs`` {total_energy_rmse: 1}."""
    return _metrics(("total_energy",), coeffs, None, type_names, extra_metrics)


def EnergyForceMetrics(  # noqa: N802 - the public name
    coeffs: Coeffs | None = None, type_names: Sequence[str] | None = None, extra_metrics: Entries | None = None
) -> MetricsManager:
    """RMSE, MAE and largest error of energy and forces; ``coeffs`` {total_energy_rmse: 1, forces_rmse: 1}."""
    return _metrics(("total_energy", "forces"), coeffs, None, type_names, extra_metrics)


def EnergyForceStressMetrics(  # noqa: N802 - the public name
    coeffs: Coeffs | None = None,
    type_names: Sequence[str] | None = None,
    ignore_nan: Mapping[str, bool] | None = None,
    extra_metrics: Entries | None = None,
) -> MetricsManager:
    """RMSE, MAE and largest error of energy, forces and stress; ``coeffs`` 1 for each ``..._rmse`` but per atom."""
    return _metrics(("total_energy", "forces", "stress"), coeffs, ignore_nan, type_names, extra_metrics)


def _loss(
    fields: Sequence[str],
    coeffs: Coeffs | None,
    per_atom_energy: bool,
    per_type_forces_coeffs: Mapping[str, float] | None,
    ignore_nan: Mapping[str, bool] | None,
    type_names: Sequence[str] | None,
    extra_metrics: Entries | None,
) -> MetricsManager:
    weights = _checked(coeffs, dict.fromkeys(fields, 1.0), list(fields), "loss")
    nan = _checked(ignore_nan, {}, list(fields), "loss ignore_nan")
    entries: list[dict[str, Any]] = []
    for name in fields:
        per_atom = name == "total_energy" and per_atom_energy
        entry = {
            "name": "per_atom_energy_mse" if per_atom else f"{name}_mse",
            "field": PerAtomModifier(name) if per_atom else name,
            "metric": MeanSquaredError(),
            "coeff": weights.get(name),
            "ignore_nan": nan.get(name, False),
        }
        if name == "forces" and per_type_forces_coeffs is not None:
            entry |= {"per_type": True, "per_type_coeffs": per_type_forces_coeffs}
        entries.append(entry)
    return MetricsManager([*entries, *(extra_metrics or ())], type_names)


def _metrics(
    fields: Sequence[str],
    coeffs: Coeffs | None,
    ignore_nan: Mapping[str, bool] | None,
    type_names: Sequence[str] | None,
    extra_metrics: Entries | None,
) -> MetricsManager:
    quantities = {"total_energy": "total_energy", "per_atom_energy": PerAtomModifier("total_energy")}
    quantities |= {name: name for name in fields if name != "total_energy"}
    kinds = (RootMeanSquaredError, MeanAbsoluteError, MaximumAbsoluteError)
    names = [f"{name}_{kind.abbreviation}" for name in quantities for kind in kinds]
    weights = _checked(coeffs, {f"{name}_rmse": 1.0 for name in fields}, names, "metrics")
    nan = _checked(ignore_nan, {}, list(fields), "metrics ignore_nan")
    entries = [
        {
            "name": f"{name}_{kind.abbreviation}",
            "field": quantity,
            "metric": kind(),
            "coeff": weights.get(f"{name}_{kind.abbreviation}"),
            "ignore_nan": nan.get("total_energy" if "energy" in name else name, False),
        }
        for name, quantity in quantities.items()
        for kind in kinds
    ]
    return MetricsManager([*entries, *(extra_metrics or ())], type_names)


def _checked(given: Mapping[str, Any] | None, default: dict[str, Any], known: list[str], what: str) -> dict[str, Any]:
    """The given mapping, or the default without one.

    Raises:
        ConfigError: a key that is not known.
    """
    for key in given or {}:
        if key not in known:
            raise ConfigError(f"{what}: unknown name {key!r}{nearest(key, known)}; known are {', '.join(known)}")
    return default if given is None else dict(given)

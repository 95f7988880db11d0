"""The table of public ``_target_`` names and what they stand for here.

Configs are written with the names of the NequIP framework (``nequip.*``, ``allegro.*``). This table is the one place
that knows them. Our own dotted paths work too, and names of other packages (``torch.*``, ``lightning.*``, ...) are
left as they are.
"""

from __future__ import annotations

import difflib

from mlip.config.errors import ConfigError

_DATA = "mlip.data"
_TRAIN = "mlip.training"

TARGETS: dict[str, str] = {
    # data modules and data sets
    "nequip.data.datamodule.NequIPDataModule": f"{_DATA}.datamodule.NequIPDataModule",
    "nequip.data.datamodule.ASEDataModule": f"{_DATA}.datamodule.ASEDataModule",
    "nequip.data.dataset.ASEDataset": f"{_DATA}.datasets.ASEDataset",
    "nequip.data.dataset.EMTTestDataset": f"{_DATA}.datasets.EMTTestDataset",
    "nequip.data.dataset.SubsetByRandomSlice": f"{_DATA}.datasets.SubsetByRandomSlice",
    # transforms
    "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper": f"{_DATA}.transforms.ChemicalSpeciesToAtomTypeMapper",
    "nequip.data.transforms.NeighborListTransform": f"{_DATA}.transforms.NeighborListTransform",
    "nequip.data.transforms.SortedNeighborListTransform": f"{_DATA}.transforms.SortedNeighborListTransform",
    "nequip.data.transforms.NeighborListPruneTransform": f"{_DATA}.transforms.NeighborListPruneTransform",
    "nequip.data.transforms.VirialToStressTransform": f"{_DATA}.transforms.VirialToStressTransform",
    "nequip.data.transforms.StressSignFlipTransform": f"{_DATA}.transforms.StressSignFlipTransform",
    "nequip.data.transforms.AddNaNStressTransform": f"{_DATA}.transforms.AddNaNStressTransform",
    "nequip.data.transforms.NonPeriodicCellTransform": f"{_DATA}.transforms.NonPeriodicCellTransform",
    "nequip.data.transforms.DatasetIndexTransform": f"{_DATA}.transforms.DatasetIndexTransform",
    # statistics
    "nequip.data.DataStatisticsManager": f"{_DATA}.stats_manager.DataStatisticsManager",
    "nequip.data.CommonDataStatisticsManager": f"{_DATA}.stats_manager.CommonDataStatisticsManager",
    "nequip.data.EnergyOnlyDataStatisticsManager": f"{_DATA}.stats_manager.EnergyOnlyDataStatisticsManager",
    "nequip.data.Mean": f"{_DATA}.statistics.Mean",
    "nequip.data.MeanAbsolute": f"{_DATA}.statistics.MeanAbsolute",
    "nequip.data.RootMeanSquare": f"{_DATA}.statistics.RootMeanSquare",
    "nequip.data.StandardDeviation": f"{_DATA}.statistics.StandardDeviation",
    "nequip.data.Max": f"{_DATA}.statistics.Max",
    "nequip.data.Min": f"{_DATA}.statistics.Min",
    "nequip.data.Count": f"{_DATA}.statistics.Count",
    "nequip.data.BaseModifier": f"{_DATA}.modifiers.BaseModifier",
    "nequip.data.PerAtomModifier": f"{_DATA}.modifiers.PerAtomModifier",
    "nequip.data.NumNeighbors": f"{_DATA}.modifiers.NumNeighbors",
    "nequip.data.EdgeLengths": f"{_DATA}.modifiers.EdgeLengths",
    # losses and metrics
    "nequip.train.MetricsManager": f"{_TRAIN}.metrics_manager.MetricsManager",
    "nequip.train.EnergyForceLoss": f"{_TRAIN}.presets.EnergyForceLoss",
    "nequip.train.EnergyForceStressLoss": f"{_TRAIN}.presets.EnergyForceStressLoss",
    "nequip.train.EnergyOnlyLoss": f"{_TRAIN}.presets.EnergyOnlyLoss",
    "nequip.train.EnergyForceMetrics": f"{_TRAIN}.presets.EnergyForceMetrics",
    "nequip.train.EnergyForceStressMetrics": f"{_TRAIN}.presets.EnergyForceStressMetrics",
    "nequip.train.EnergyOnlyMetrics": f"{_TRAIN}.presets.EnergyOnlyMetrics",
    "nequip.train.MeanSquaredError": f"{_TRAIN}.metrics.MeanSquaredError",
    "nequip.train.MeanAbsoluteError": f"{_TRAIN}.metrics.MeanAbsoluteError",
    "nequip.train.RootMeanSquaredError": f"{_TRAIN}.metrics.RootMeanSquaredError",
    "nequip.train.MaximumAbsoluteError": f"{_TRAIN}.metrics.MaximumAbsoluteError",
    "nequip.train.HuberLoss": f"{_TRAIN}.metrics.HuberLoss",
    "nequip.train.StratifiedHuberForceLoss": f"{_TRAIN}.metrics.StratifiedHuberForceLoss",
    # Lightning modules and callbacks
    "nequip.train.NequIPLightningModule": f"{_TRAIN}.module.NequIPLightningModule",
    "nequip.train.EMALightningModule": f"{_TRAIN}.module.EMALightningModule",
    "nequip.train.callbacks.LossCoefficientMonitor": f"{_TRAIN}.callbacks.LossCoefficientMonitor",
    "nequip.train.callbacks.LossCoefficientScheduler": f"{_TRAIN}.callbacks.LossCoefficientScheduler",
    "nequip.train.callbacks.LinearLossCoefficientScheduler": f"{_TRAIN}.callbacks.LinearLossCoefficientScheduler",
    "nequip.train.callbacks.SoftAdapt": f"{_TRAIN}.callbacks.SoftAdapt",
    "nequip.train.callbacks.TestTimeXYZFileWriter": f"{_TRAIN}.xyz_writer.TestTimeXYZFileWriter",
    # models
    "nequip.model.NequIPGNNModel": "mlip.models.build_nequip",
    "nequip.model.PresetNequIPGNNModel": "mlip.models.build_nequip_preset",
    "nequip.model.ZBLPairPotential": "mlip.models.build_zbl",
    "allegro.model.AllegroModel": "mlip.models.build_allegro",
    "allegro.model.allegro_models.AllegroModel": "mlip.models.build_allegro",
}

# Parts of a model. Its builder makes them, so that a model's config stays data from the YAML to the checkpoint.
MODEL_PARTS = (
    "allegro.nn.TwoBodyBesselScalarEmbed",
    "allegro.nn.TwoBodySplineScalarEmbed",
    "nequip.nn.pair_potential.ZBL",
    "nequip.nn.pair_potential.LennardJones",
    "nequip.nn.pair_potential.SimpleLennardJones",
)

_COVERED = ("nequip.", "allegro.")


def resolve_target(name: str, where: str = "") -> str:
    """Our dotted path for a public ``_target_`` name.

    Args:
        name: as written in the config.
        where: its place in the config, for the message.

    Raises:
        ConfigError: a ``nequip.`` or ``allegro.`` name that is not in the table; says the nearest name.
    """
    if name in TARGETS:
        return TARGETS[name]
    if not name.startswith(_COVERED) or name in MODEL_PARTS:
        return name
    prefix = f"{where}: " if where else ""
    raise ConfigError(f"{prefix}unknown _target_ {name}{nearest(name, [*TARGETS, *MODEL_PARTS])}")


def nearest(name: str, known: list[str]) -> str:
    """`` (did you mean NAME?)``, or nothing when no known name is near."""
    by_last_part = {candidate: candidate.rsplit(".", 1)[-1] for candidate in known}
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if "." in name:  # the class name says more than the module it was written with
        last = difflib.get_close_matches(name.rsplit(".", 1)[-1], list(by_last_part.values()), n=1, cutoff=0.75)
        matches = [candidate for candidate, part in by_last_part.items() if last and part == last[0]][:1] or matches
    return f" (did you mean {matches[0]}?)" if matches else ""

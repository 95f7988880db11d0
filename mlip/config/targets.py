"""The table of public ``_target_`` names and what they stand for here.

Configs are written with the names of the NequIP framework (``nequip.*``, ``allegro.*``), of its present API and of the
one of 2025. This table is the one place that knows them; ``docs/reference/configs.md`` is made from it. Our own dotted
paths work too, and names of other packages (``torch.*``, ``lightning.*``, ...) are left as they are.
"""

from __future__ import annotations

import difflib

from mlip.config.errors import ConfigError

# ruff: noqa: E501 - one name per line reads best
# What each name stands for, by the part of a config it belongs to.
SECTIONS: dict[str, dict[str, str]] = {
    "Data modules": {
        "nequip.data.datamodule.NequIPDataModule": "mlip.data.datamodule.NequIPDataModule",
        "nequip.data.datamodule.ASEDataModule": "mlip.data.datamodule.ASEDataModule",
        "nequip.data.datamodule.sGDML_CCSD_DataModule": "mlip.data.molecule_datamodules.sGDML_CCSD_DataModule",
        "nequip.data.datamodule.rMD17DataModule": "mlip.data.molecule_datamodules.rMD17DataModule",
        "nequip.data.datamodule.MD22DataModule": "mlip.data.molecule_datamodules.MD22DataModule",
        "nequip.data.datamodule.NequIP3BPADataModule": "mlip.data.molecule_datamodules.NequIP3BPADataModule",
        "nequip.data.datamodule.COLLDataModule": "mlip.data.molecule_datamodules.COLLDataModule",
        "nequip.data.datamodule.TM23DataModule": "mlip.data.material_datamodules.TM23DataModule",
        "nequip.data.datamodule.SAMD23DataModule": "mlip.data.material_datamodules.SAMD23DataModule",
        "nequip.data.datamodule.WaterDataModule": "mlip.data.material_datamodules.WaterDataModule",
    },
    "Data sets": {
        "nequip.data.dataset.ASEDataset": "mlip.data.datasets.ASEDataset",
        "nequip.data.dataset.EMTTestDataset": "mlip.data.datasets.EMTTestDataset",
        "nequip.data.dataset.NPZDataset": "mlip.data.datasets.NPZDataset",
        "nequip.data.dataset.HDF5Dataset": "mlip.data.datasets.HDF5Dataset",
        "nequip.data.dataset.NequIPLMDBDataset": "mlip.data.datasets.NequIPLMDBDataset",
        "nequip.data.dataset.LMDBTestDataset": "mlip.data.datasets.LMDBTestDataset",
        "nequip.data.dataset.SubsetByRandomSlice": "mlip.data.splits.SubsetByRandomSlice",
        "nequip.data.dataset.RandomSplitAndIndexDataset": "mlip.data.splits.RandomSplitAndIndexDataset",
        "nequip.data.PartialSampler": "mlip.data.sampler.PartialSampler",
        "nequip.data._sampler.PartialSampler": "mlip.data.sampler.PartialSampler",
    },
    "Transforms": {
        "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper": "mlip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
        "nequip.data.transforms.NeighborListTransform": "mlip.data.transforms.NeighborListTransform",
        "nequip.data.transforms.SortedNeighborListTransform": "mlip.data.transforms.SortedNeighborListTransform",
        "nequip.data.transforms.NeighborListPruneTransform": "mlip.data.transforms.NeighborListPruneTransform",
        "nequip.data.transforms.VirialToStressTransform": "mlip.data.transforms.VirialToStressTransform",
        "nequip.data.transforms.StressSignFlipTransform": "mlip.data.transforms.StressSignFlipTransform",
        "nequip.data.transforms.AddNaNStressTransform": "mlip.data.transforms.AddNaNStressTransform",
        "nequip.data.transforms.NonPeriodicCellTransform": "mlip.data.transforms.NonPeriodicCellTransform",
        "nequip.data.transforms.DatasetIndexTransform": "mlip.data.transforms.DatasetIndexTransform",
    },
    "Statistics": {
        "nequip.data.DataStatisticsManager": "mlip.data.stats_manager.DataStatisticsManager",
        "nequip.data.CommonDataStatisticsManager": "mlip.data.stats_manager.CommonDataStatisticsManager",
        "nequip.data.EnergyOnlyDataStatisticsManager": "mlip.data.stats_manager.EnergyOnlyDataStatisticsManager",
        "nequip.data.Mean": "mlip.data.statistics.Mean",
        "nequip.data.MeanAbsolute": "mlip.data.statistics.MeanAbsolute",
        "nequip.data.RootMeanSquare": "mlip.data.statistics.RootMeanSquare",
        "nequip.data.StandardDeviation": "mlip.data.statistics.StandardDeviation",
        "nequip.data.Max": "mlip.data.statistics.Max",
        "nequip.data.Min": "mlip.data.statistics.Min",
        "nequip.data.Count": "mlip.data.statistics.Count",
        "nequip.data.BaseModifier": "mlip.data.modifiers.BaseModifier",
        "nequip.data.PerAtomModifier": "mlip.data.modifiers.PerAtomModifier",
        "nequip.data.MappedFieldModifier": "mlip.data.modifiers.MappedFieldModifier",
        "nequip.data.NumNeighbors": "mlip.data.modifiers.NumNeighbors",
        "nequip.data.EdgeLengths": "mlip.data.modifiers.EdgeLengths",
    },
    "Losses and metrics": {
        "nequip.train.MetricsManager": "mlip.training.metrics_manager.MetricsManager",
        "nequip.train.EnergyForceLoss": "mlip.training.presets.EnergyForceLoss",
        "nequip.train.EnergyForceStressLoss": "mlip.training.presets.EnergyForceStressLoss",
        "nequip.train.EnergyOnlyLoss": "mlip.training.presets.EnergyOnlyLoss",
        "nequip.train.EnergyForceMetrics": "mlip.training.presets.EnergyForceMetrics",
        "nequip.train.EnergyForceStressMetrics": "mlip.training.presets.EnergyForceStressMetrics",
        "nequip.train.EnergyOnlyMetrics": "mlip.training.presets.EnergyOnlyMetrics",
        "nequip.train.MeanSquaredError": "mlip.training.metrics.MeanSquaredError",
        "nequip.train.MeanAbsoluteError": "mlip.training.metrics.MeanAbsoluteError",
        "nequip.train.RootMeanSquaredError": "mlip.training.metrics.RootMeanSquaredError",
        "nequip.train.MaximumAbsoluteError": "mlip.training.metrics.MaximumAbsoluteError",
        "nequip.train.HuberLoss": "mlip.training.metrics.HuberLoss",
        "nequip.train.StratifiedHuberForceLoss": "mlip.training.metrics.StratifiedHuberForceLoss",
    },
    "Training modules": {
        "nequip.train.NequIPLightningModule": "mlip.training.module.NequIPLightningModule",
        "nequip.train.EMALightningModule": "mlip.training.ema_module.EMALightningModule",
        "nequip.train.ConFIGLightningModule": "mlip.training.config_module.ConFIGLightningModule",
        "nequip.train.EMAConFIGLightningModule": "mlip.training.config_module.EMAConFIGLightningModule",
        "nequip.train.ScheduleFreeLightningModule": "mlip.training.schedulefree_module.ScheduleFreeLightningModule",
    },
    "Optimizers and strategies": {
        "nequip.train.MuonWithAuxAdam": "mlip.training.muon.MuonWithAuxAdam",
        "nequip.train.SimpleDDPStrategy": "mlip.training.ddp.SimpleDDPStrategy",
        "nequip.model.MuonParamGroups": "mlip.training.muon.muon_param_groups",
        "allegro.model.MuonParamGroups": "mlip.training.muon.muon_param_groups",
    },
    "Callbacks": {
        "nequip.train.callbacks.LossCoefficientMonitor": "mlip.training.callbacks.LossCoefficientMonitor",
        "nequip.train.callbacks.LossCoefficientScheduler": "mlip.training.callbacks.LossCoefficientScheduler",
        "nequip.train.callbacks.LinearLossCoefficientScheduler": "mlip.training.callbacks.LinearLossCoefficientScheduler",
        "nequip.train.callbacks.SoftAdapt": "mlip.training.callbacks.SoftAdapt",
        "nequip.train.callbacks.TestTimeXYZFileWriter": "mlip.training.xyz_writer.TestTimeXYZFileWriter",
        "nequip.train.callbacks.ValTimeXYZFileWriter": "mlip.training.xyz_writer.ValTimeXYZFileWriter",
        "nequip.train.callbacks.TF32Scheduler": "mlip.training.tf32.TF32Scheduler",
        "nequip.train.callbacks.TrainingStatsMonitor": "mlip.training.monitors.TrainingStatsMonitor",
        "nequip.train.callbacks.WandbWatch": "mlip.training.monitors.WandbWatch",
        "nequip.train.callbacks.TorchProfilerCallback": "mlip.training.profiler.TorchProfilerCallback",
    },
    "Models": {
        "nequip.model.NequIPGNNModel": "mlip.models.build_nequip",
        "nequip.model.PresetNequIPGNNModel": "mlip.models.build_nequip_preset",
        "nequip.model.FullNequIPGNNModel": "mlip.models.irreps_config.build_full_nequip",
        "allegro.model.AllegroModel": "mlip.models.build_allegro",
        "allegro.model.allegro_models.AllegroModel": "mlip.models.build_allegro",
        "allegro.model.FullAllegroModel": "mlip.models.irreps_config.build_full_allegro",
        "allegro.model.allegro_models.FullAllegroModel": "mlip.models.irreps_config.build_full_allegro",
        "nequip.model.ZBLPairPotential": "mlip.models.build_zbl",
        "nequip.model.ModelFromCheckpoint": "mlip.training.finetuning.model_from_checkpoint",
        "nequip.model.ModelFromPackage": "mlip.training.finetuning.model_from_package",
        "nequip.model.modify": "mlip.training.finetuning.modify",
    },
}

TARGETS: dict[str, str] = {name: path for section in SECTIONS.values() for name, path in section.items()}

# Parts of a model, with parameters that are the model's own affair. Its builder makes them, so that a model's config
# stays data from the YAML to the checkpoint.
MODEL_PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "allegro.nn.TwoBodyBesselScalarEmbed": (
        "mlip.nn.radial_chemical.TwoBodyBesselEmbedding",
        ("num_types", "dim", "forward_weight_init"),
    ),
    "allegro.nn.TwoBodySplineScalarEmbed": (
        "mlip.nn.radial_chemical.TwoBodySplineEmbedding",
        ("num_types", "dim", "dtype", "forward_weight_init"),
    ),
    "nequip.nn.pair_potential.ZBL": ("mlip.models.pair_potentials.ZBL", ("type_names",)),
    "nequip.nn.pair_potential.LennardJones": ("mlip.models.pair_potentials.LennardJones", ("type_names",)),
    "nequip.nn.pair_potential.SimpleLennardJones": ("mlip.models.pair_potentials.SimpleLennardJones", ("type_names",)),
}

# Public names that have no counterpart, and what to write instead.
REFUSED: dict[str, str] = {
    "nequip.data.dataset.AtomicDataset": (
        "it is a base class; write one of the data sets, nequip.data.dataset.ASEDataset for example"
    ),
    "nequip.model.ModelTypeNamesFromPackage": "write ${type_names_from_package:PATH} as the value of type_names",
}

_COVERED = ("nequip.", "allegro.")


def resolve_target(name: str, where: str = "") -> str:
    """Our dotted path for a public ``_target_`` name.

    Args:
        name: as written in the config.
        where: its place in the config, for the message.

    Raises:
        ConfigError: a ``nequip.`` or ``allegro.`` name that is not in the table; says the nearest one, or the cure.
    """
    if name in TARGETS:
        return TARGETS[name]
    if not name.startswith(_COVERED) or name in MODEL_PARTS:
        return name
    prefix = f"{where}: " if where else ""
    if name in REFUSED:
        raise ConfigError(f"{prefix}{name} is not available: {REFUSED[name]}")
    raise ConfigError(f"{prefix}unknown _target_ {name}{nearest(name, [*TARGETS, *MODEL_PARTS])}")


def nearest(name: str, known: list[str]) -> str:
    """`` (did you mean NAME?)``, or nothing when no known name is near."""
    by_last_part = {candidate: candidate.rsplit(".", 1)[-1] for candidate in known}
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if "." in name:  # the class name says more than the module it was written with
        last = difflib.get_close_matches(name.rsplit(".", 1)[-1], list(by_last_part.values()), n=1, cutoff=0.75)
        matches = [candidate for candidate, part in by_last_part.items() if last and part == last[0]][:1] or matches
    return f" (did you mean {matches[0]}?)" if matches else ""

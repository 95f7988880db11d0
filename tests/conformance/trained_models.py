"""Models that the reference trains, packages and evaluates in its own environment, for test_import.py."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CUTOFF = 4.5  # Å
TYPES = ["Cu", "Au"]
ZBL = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": TYPES}
EDGE_CUTOFFS = {"Cu": {"Cu": 4.5, "Au": 4.0}, "Au": 4.2}  # Å
COMMON = {
    "seed": 3,
    "type_names": TYPES,
    "r_max": CUTOFF,
    "avg_num_neighbors": 20.0,
    "per_type_energy_scales": {"Cu": 0.5, "Au": 0.7},
    "per_type_energy_shifts": {"Cu": -1.5, "Au": -2.5},
}
LISTS = {"per_type_energy_scales": [0.5, 0.7], "per_type_energy_shifts": [-1.5, -2.5]}  # until 0.13
SMALL_RADIAL = {"num_bessels": 6, "radial_mlp_depth": 1, "radial_mlp_width": 8}
NEQUIP = COMMON | SMALL_RADIAL | {"_target_": "nequip.model.NequIPGNNModel", "num_layers": 2, "num_features": 4}
BESSEL = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 6}
ALLEGRO = COMMON | {
    "_target_": "allegro.model.AllegroModel",
    "l_max": 2,
    "num_layers": 2,
    "num_scalar_features": 8,
    "num_tensor_features": 4,
    "scalar_embed_mlp_hidden_layers_width": 8,
    "allegro_mlp_hidden_layers_width": 8,
    "readout_mlp_hidden_layers_width": 8,
    "radial_chemical_embed": BESSEL,
}
NEWEST = "0.19"
VERSIONS = ("0.7", "0.9", NEWEST)  # of nequip; the older ones know the API of 2025 only


@dataclass(frozen=True)
class Trained:
    """A model the reference trains for an epoch.

    Attributes:
        model: the section ``training_module.model``, without ``model_dtype``.
        dtype: precision of the model.
        average: of the training: "" for none, "ema".
        version: of the reference, one of ``VERSIONS``.
        package: whether it is packaged, too.
    """

    model: Mapping[str, Any]
    dtype: str = "float64"
    average: str = ""
    version: str = NEWEST
    package: bool = False


def without(config: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """A config without some of its keys."""
    return {key: value for key, value in config.items() if key not in keys}


TRAINED: dict[str, Trained] = {
    "nequip_zbl_ema": Trained(NEQUIP | {"pair_potential": ZBL}, average="ema", package=True),
    "nequip_float32_ema": Trained(NEQUIP | {"l_max": 2, "parity": False}, "float32", "ema", package=True),
    "nequip_edge_cutoffs_per_type": Trained(
        NEQUIP | {"per_edge_type_cutoff": EDGE_CUTOFFS, "avg_num_neighbors": {"Cu": 18.0, "Au": 22.0}}
    ),
    "nequip_all_trainable_ema": Trained(
        NEQUIP
        | {
            "bessel_trainable": True,
            "per_type_energy_scales_trainable": True,
            "per_type_energy_shifts_trainable": True,
            "per_type_energy_shifts": 0.25,
        },
        average="ema",
    ),
    "nequip_defaults": Trained(without(NEQUIP, *SMALL_RADIAL)),
    "nequip_preset": Trained(
        without(NEQUIP, "num_layers")
        | {"_target_": "nequip.model.PresetNequIPGNNModel", "preset": "S", "num_features": [8, 4]}
    ),
    "nequip_full": Trained(
        without(NEQUIP, "num_features", "num_layers", "radial_mlp_depth", "radial_mlp_width")
        | {
            "_target_": "nequip.model.FullNequIPGNNModel",
            "irreps_edge_sh": "0e + 1o + 2e",
            "type_embed_num_features": 5,
            "feature_irreps_hidden": ["4x0e + 4x0o + 3x1e + 3x1o + 2x2e + 2x2o", "4x0e"],
            "radial_mlp_depth": [2, 1],
            "radial_mlp_width": [8, 6],
        }
    ),
    "nequip_modified": Trained(
        {
            "_target_": "nequip.model.modify",
            "modifiers": [{"modifier": "modify_PerTypeScaleShift", "shifts": {"Au": -3.5}, "shifts_trainable": True}],
            "model": NEQUIP,
        },
        average="ema",
        package=True,
    ),
    "allegro_edge_cutoffs_zbl": Trained(
        ALLEGRO | {"per_edge_type_cutoff": EDGE_CUTOFFS, "pair_potential": ZBL}, average="ema", package=True
    ),
    "allegro_spline_float32": Trained(
        ALLEGRO
        | {
            "radial_chemical_embed": {
                "_target_": "allegro.nn.TwoBodySplineScalarEmbed",
                "num_splines": 8,
                "spline_span": 6,
            }
        },
        "float32",
    ),
    "allegro_full": Trained(
        without(ALLEGRO, "l_max")
        | {
            "_target_": "allegro.model.allegro_models.FullAllegroModel",
            "num_layers": 3,
            "irreps_edge_sh": 2,
            "tensor_track_allowed_irreps": "0e + 1o + 2e",
        }
    ),
    "nequip_2025_lists_zbl_ema": Trained(
        NEQUIP | LISTS | {"pair_potential": ZBL}, average="ema", version="0.9", package=True
    ),
    "nequip_2025_defaults": Trained(without(NEQUIP, "num_layers", *SMALL_RADIAL) | LISTS, version="0.9"),
    "allegro_2025_lists_zbl": Trained(
        ALLEGRO | LISTS | {"per_edge_type_cutoff": EDGE_CUTOFFS, "pair_potential": ZBL}, version="0.9", package=True
    ),
    "nequip_first_lists_zbl_ema": Trained(
        NEQUIP | LISTS | {"pair_potential": ZBL}, average="ema", version="0.7", package=True
    ),
    "allegro_first_lists_edge_cutoffs": Trained(
        ALLEGRO | LISTS | {"per_edge_type_cutoff": EDGE_CUTOFFS}, version="0.7", package=True
    ),
    "allegro_2025_float32_ema": Trained(ALLEGRO | LISTS, "float32", "ema", version="0.9"),
}

_FRAMES = {
    "_target_": "nequip.data.dataset.EMTTestDataset",
    "supercell": [2, 2, 2],
    "sigma": 0.15,
    "element": "Cu",
    "num_frames": 4,
}


def with_dtype(model: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The section of a model with its precision, which a modifier's section has inside."""
    if "modifiers" in model:
        return {**model, "model": with_dtype(model["model"], dtype)}
    return dict(model) if "package_path" in model else {**model, "model_dtype": dtype}


def training_config(trained: Trained) -> dict[str, Any]:
    """The config that trains it for two epochs on frames the reference makes itself."""
    named = {"chemical_symbols": TYPES} if trained.version != NEWEST else {"model_type_names": TYPES}
    frames = {
        **_FRAMES,
        "transforms": [
            {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", **named},
            {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": CUTOFF},
        ],
    }
    loader = {"batch_size": 2} | ({"_target_": "torch.utils.data.DataLoader"} if trained.version != NEWEST else {})
    module = {"": "NequIPLightningModule", "ema": "EMALightningModule"}[trained.average]
    config: dict[str, Any] = {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.NequIPDataModule",
            "seed": 1,
            "train_dataset": frames,
            "val_dataset": copy.deepcopy(frames),
            "train_dataloader": loader,
            "val_dataloader": dict(loader),
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "max_epochs": 2,
            "logger": False,
            "enable_progress_bar": False,
            "callbacks": [
                {
                    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "dirpath": "${hydra:runtime.output_dir}",
                    "save_last": True,
                }
            ],
        },
        "training_module": {
            "_target_": f"nequip.train.{module}",
            "loss": {"_target_": "nequip.train.EnergyForceLoss", "coeffs": {"total_energy": 1.0, "forces": 1.0}},
            "val_metrics": {
                "_target_": "nequip.train.EnergyForceMetrics",
                "coeffs": {"per_atom_energy_mae": 1.0, "forces_mae": 1.0},
            },
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "model": with_dtype(trained.model, trained.dtype),
        },
    }
    if trained.average:
        config["training_module"]["ema_decay"] = 0.9
    if trained.version != NEWEST:
        config["global_options"] = {"allow_tf32": False}
    return config


@dataclass(frozen=True)
class Peer:
    """The reference's programs.

    Attributes:
        python: its interpreter.
        version: one of ``VERSIONS``.
        overlay: folder with its packages in another version than the newest.
    """

    python: Path
    version: str = NEWEST
    overlay: Path | None = None

    def run(self, folder: Path, *arguments: str | Path) -> str:
        """Run its Python; the error of a failure is the test's."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if self.overlay is not None:
            environment["PYTHONPATH"] = str(self.overlay)
        done = subprocess.run(
            [self.python, *arguments], cwd=folder, capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    def train(self, folder: Path, trained: Trained) -> Path:
        """Train it in ``folder``; the checkpoint."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(training_config(trained), sort_keys=False))
        self.run(folder, "-m", "nequip.scripts.train", "-cp", folder, "-cn", "config", f"hydra.run.dir={folder}")
        return folder / "last.ckpt"

    def package(self, checkpoint: Path) -> Path:
        """Make a package of a checkpoint."""
        output = checkpoint.with_name("packaged.nequip.zip")
        arguments = ["build", checkpoint.name, output.name]
        if self.version == "0.7":
            arguments = ["--ckpt-path", checkpoint.name, "--output-path", output.name]
        self.run(checkpoint.parent, "-m", "nequip.scripts.package", *arguments)
        return output

    def evaluate(self, folder: Path, models: Sequence[Path], structures: Path) -> dict[str, list[list[Any]]]:
        """Atomic energies (eV) and forces (eV/Å) of each structure by each file, as its own calculator gives them."""
        program = EVALUATE if self.version == NEWEST else EVALUATE_2025
        output = self.run(folder, "-c", program, structures, *models)
        return json.loads(output.partition("RESULTS")[2])


_EVALUATE = """
import json, sys, warnings
warnings.simplefilter("ignore")
from ase.io import read
{imports}

frames = read(sys.argv[1], ":")
results = {{}}
for path in sys.argv[2:]:
    calculator = {calculator}
    results[path] = []
    for atoms in frames:
        atoms.calc = calculator
        results[path].append([atoms.get_potential_energies().tolist(), atoms.get_forces().tolist()])
print("RESULTS", json.dumps(results))
"""
EVALUATE = _EVALUATE.format(
    imports="from nequip.integrations.ase import NequIPCalculator",
    calculator='NequIPCalculator._from_saved_model(path, "cpu", chemical_species_to_atom_type_map=True)',
)
EVALUATE_2025 = _EVALUATE.format(
    imports="from nequip.ase import NequIPCalculator",
    calculator='(NequIPCalculator.from_packaged_model if path.endswith(".nequip.zip") else '
    'NequIPCalculator.from_checkpoint_model)(path, "cpu", chemical_symbols=["Cu", "Au"])',
)

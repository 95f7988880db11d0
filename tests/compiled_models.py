"""The small models that tests compile, and their files, made once and kept between runs.

Compiling to AOTInductor takes half a minute each, so all tests share these few files. They are kept in
``${MLIP_CACHE:-~/.cache}/mlip/tests`` under a hash of what decides their contents; a cold cache costs minutes, not
failures.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch

import mlip
from mlip.deploy.compile import SUFFIXES, compile_potential
from mlip.deploy.targets import TARGETS
from mlip.models import Potential, build_model
from mlip.stack.cache import locked

TYPE_NAMES = ["Cu", "Au"]
R_MAX = 5.0
CUTOFFS = {"Cu": {"Cu": 5.0, "Au": 4.4}, "Au": {"Cu": 4.7, "Au": 4.1}}  # Å, by (centre, neighbour): not symmetric
SHIFTS = {"Cu": -1.5, "Au": -2.5}  # eV

# Repulsion and attraction that keep atoms at sensible distances while the random network, whose energies are scaled so
# that its forces reach 1 eV/Å, pulls at them: with this any dynamics is bound, and no training is needed.
LENNARD_JONES = {
    "_target_": "nequip.nn.pair_potential.LennardJones",
    "lj_sigma": [[2.3, 2.4], [2.4, 2.5]],
    "lj_epsilon": 0.2,
    "lj_style": "lj",
}

_SHARED: dict[str, Any] = {
    "type_names": TYPE_NAMES,
    "r_max": R_MAX,
    "per_edge_type_cutoff": CUTOFFS,
    "avg_num_neighbors": 30.0,
    "per_type_energy_shifts": SHIFTS,
    "pair_potential": LENNARD_JONES,
    "l_max": 1,
    "num_layers": 2,
    "seed": 5,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "allegro": _SHARED
    | {
        "_target_": "allegro.model.AllegroModel",
        "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 6},
        "per_type_energy_scales": {"Cu": 3.0, "Au": 5.0},
        "num_scalar_features": 8,
        "num_tensor_features": 4,
        "scalar_embed_mlp_hidden_layers_width": 8,
        "allegro_mlp_hidden_layers_width": 8,
        "readout_mlp_hidden_layers_width": 8,
    },
    "nequip": _SHARED
    | {
        "_target_": "nequip.model.NequIPGNNModel",
        "per_type_energy_scales": {"Cu": 25.0, "Au": 30.0},
        "num_features": 4,
        "num_bessels": 6,
        "radial_mlp_width": 8,
    },
}
MODELS = tuple(CONFIGS)
DTYPES = ("float64", "float32")
DEVICE = os.environ.get("MLIP_TEST_DEVICE", "cpu")


@cache
def potential(model: str, dtype: str) -> Potential:
    """The model itself, ready to evaluate."""
    return build_model(CONFIGS[model] | {"model_dtype": dtype}).eval().requires_grad_(requires_grad=False)


@cache
def compiled(model: str, dtype: str, mode: str, target: str) -> Path:
    """The file of a model, compiled for one thread on the CPU, or for the GPU where MLIP_TEST_DEVICE says cuda."""
    folder = _cache_folder()
    file = folder / f"{model}-{dtype}-{target}{SUFFIXES[mode]}"
    with locked(folder / f"{file.name}.lock"):  # other test processes want it, too
        if not file.exists():
            # a copy: compilation moves the weights to the device
            weights = copy.deepcopy(potential(model, dtype))
            compile_potential(weights, file, mode=mode, device=DEVICE, target=TARGETS[target])
    return file


@cache
def _cache_folder() -> Path:
    """The folder for files of just these sources, models, torch and processor; folders unused for a week go."""
    sources = Path(mlip.__file__).parent
    digest = hashlib.sha256(torch.__version__.encode() + json.dumps([CONFIGS, DEVICE]).encode())
    for folder in ("nn", "models", "deploy"):
        for path in sorted((sources / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    digest.update((sources / "graph.py").read_bytes() + (sources / "cutoffs.py").read_bytes())
    processor = Path("/proc/cpuinfo")
    if processor.exists():
        digest.update("".join(line for line in processor.read_text().splitlines() if "flags" in line[:5]).encode())
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    parent = Path(os.environ.get("MLIP_CACHE") or Path(base) / "mlip") / "tests"
    kept = parent / digest.hexdigest()[:16]
    kept.mkdir(parents=True, exist_ok=True)
    os.utime(kept)
    for other in parent.iterdir():
        if time.time() - other.stat().st_mtime > 7 * 24 * 3600:
            shutil.rmtree(other, ignore_errors=True)
    return kept

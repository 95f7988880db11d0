"""Model files for bench_lammps.py, written by the Python of one side's own environment.

    python lammps_files.py SIDE CASE FOLDER

``reference`` draws the weights, keeps them in CASE-weights.npz, and compiles reference-CASE.nequip.pt2 for its pair
style; ``ours`` takes those weights and writes ours-CASE.nequip.pt2 and ours-CASE.nequip.lmp.pt. All for one thread.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from cases import allegro_config, frame

DTYPE = "float32"
CASES: dict[str, dict[str, Any]] = {
    "allegro": allegro_config(["Cu"], 5.0, 64, 32, 42.0),
    "nequip": {
        "_target_": "nequip.model.NequIPGNNModel",
        "type_names": ["Cu"],
        "r_max": 5.0,
        "l_max": 2,
        "parity": False,
        "num_layers": 3,
        "num_features": 32,
        "num_bessels": 8,
        "radial_mlp_depth": 1,
        "radial_mlp_width": 64,
        "avg_num_neighbors": 42.0,
        "per_type_energy_scales": 1.0,
        "per_type_energy_shifts": 0.0,
    },
}


def example(r_max: float) -> dict[str, torch.Tensor]:
    """A small jittered crystal as the graph fields of a frame."""
    rng = np.random.default_rng(1)
    grid = np.array(list(np.ndindex(5, 4, 4)), dtype=float)
    cell = 2.6 * np.diag([5.0, 4.0, 4.0])
    arrays = frame(2.6 * (grid + rng.uniform(-0.1, 0.1, grid.shape)), np.zeros(len(grid)), cell, r_max)
    return {name: torch.as_tensor(np.ascontiguousarray(values)) for name, values in arrays.items()}


def write_reference(case: str, folder: Path) -> None:
    """Weights, and the reference's compiled model."""
    import reference_side
    from allegro import _compile  # noqa: F401 (registers the target pair_allegro)
    from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
    from nequip.utils.aot import aot_export_model
    from nequip.utils.compile import prepare_model_for_compile

    config = CASES[case]
    model = reference_side.build(config, DTYPE, None)
    np.savez(folder / f"{case}-weights.npz", **{k: v.detach().numpy() for k, v in model.state_dict().items()})
    target = COMPILE_TARGET_DICT[f"pair_{case}"]
    data = example(config["r_max"])
    if case == "allegro":
        data = {name: data[name] for name in ("pos", "edge_index", "atom_types")}
    sizes = {
        "graph": torch.export.Dim.STATIC,
        "node": torch.export.Dim("num_nodes", min=2),
        "edge": torch.export.Dim("num_edges", min=2),
    }
    model = prepare_model_for_compile(model, "cpu")
    metadata = {"r_max": str(config["r_max"]), "type_names": "Cu", "num_types": "1", "allow_tf32": "0"}
    metadata |= {"nequip_aoti_inputs": " ".join(target["input"]), "nequip_aoti_outputs": " ".join(target["output"])}
    aot_export_model(
        model=model,
        device="cpu",
        input_fields=target["input"],
        output_fields=target["output"],
        data=data,
        batch_map=sizes,
        output_path=str(folder / f"reference-{case}.nequip.pt2"),
        inductor_configs={"aot_inductor.metadata": metadata},
    )


def write_ours(case: str, folder: Path) -> None:
    """Our files with the same weights."""
    import our_side

    from mlip.deploy.compile import compile_potential
    from mlip.deploy.targets import TARGETS
    from mlip.integrations.lammps_mliap import write_mliap_file

    with np.load(folder / f"{case}-weights.npz") as content:
        weights = {name: torch.as_tensor(content[name]) for name in content.files if content[name].size}
    potential = our_side.build(CASES[case], DTYPE, weights)
    write_mliap_file(potential, folder / f"ours-{case}.nequip.lmp.pt", source="benchmark")
    compile_potential(
        potential,
        folder / f"ours-{case}.nequip.pt2",
        mode="aotinductor",
        device="cpu",
        target=TARGETS[f"pair_{case}"],
        threads=1,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    side, name, where = sys.argv[1:4]
    {"ours": write_ours, "reference": write_reference}[side](name, Path(where))

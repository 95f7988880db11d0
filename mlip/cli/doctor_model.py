"""The part of ``mlip doctor`` that needs torch: a program for the Python of the stack that is examined.

    python -m mlip.cli.doctor_model facts
    python -m mlip.cli.doctor_model energies DEVICE
    python -m mlip.cli.doctor_model files FOLDER MODE DEVICE

Each prints one line of JSON, after a mark. The models are tiny, and their weights are sines: what they give is the same
for every version of torch, and REFERENCE holds it.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from mlip.graph import Graph
    from mlip.models import Potential

MARK = "@@ doctor "

# eV, with the weights of `sine_weights` and the atoms of `structure`, in float64 on a CPU
REFERENCE = {"allegro": -115.02344558303962, "nequip": -115.62195405328879}

TYPE_NAMES = ("Cu", "Au")
_MASSES = (63.546, 196.97)
_CELL = ((7.7, 0.0, 0.0), (0.9, 7.4, 0.0), (-0.6, 0.7, 7.9))  # Å, in LAMMPS' orientation
_R_MAX = 4.0  # Å
_SHARED: dict[str, Any] = {
    "type_names": list(TYPE_NAMES),
    "r_max": _R_MAX,
    "avg_num_neighbors": 18.0,
    "per_type_energy_shifts": {"Cu": -3.5, "Au": -3.8},
    "model_dtype": "float64",
    "l_max": 1,
    "num_layers": 2,
    "seed": 1,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "allegro": _SHARED
    | {
        "_target_": "allegro.model.AllegroModel",
        "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 6},
        "per_type_energy_scales": {"Cu": 60.0, "Au": 90.0},
        "num_scalar_features": 8,
        "num_tensor_features": 4,
        "scalar_embed_mlp_hidden_layers_width": 8,
        "allegro_mlp_hidden_layers_width": 8,
        "readout_mlp_hidden_layers_width": 8,
    },
    "nequip": _SHARED
    | {
        "_target_": "nequip.model.NequIPGNNModel",
        "per_type_energy_scales": {"Cu": 4.0, "Au": 5.0},
        "num_features": 4,
        "num_bessels": 6,
        "radial_mlp_width": 8,
    },
}


def sine_weights(potential: Potential) -> None:
    """Fill the network's parameters from a closed formula, in the order of their names: variance about one."""
    import torch

    number = 0
    for _, parameter in sorted(potential.named_parameters()):
        count = parameter.numel()
        values = [math.sqrt(2.0) * math.sin(1.0 + 2.3 * (number + k)) for k in range(count)]
        number += count
        with torch.no_grad():
            parameter.copy_(torch.tensor(values, dtype=torch.float64).view(parameter.shape))


def model(name: str) -> Potential:
    """One of the two models, ready to evaluate."""
    from mlip.models import build_model

    potential = build_model(dict(CONFIGS[name]))
    sine_weights(potential)
    return potential.eval().requires_grad_(requires_grad=False)


def structure() -> tuple[list[list[float]], list[int]]:
    """A displaced face-centred crystal of 32 atoms in a triclinic cell: positions in Å, types from 0."""
    corners = ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))
    cells = [(a, b, c) for a in range(2) for b in range(2) for c in range(2)]
    positions, types = [], []
    for number, (cell, corner) in enumerate((cell, corner) for cell in cells for corner in corners):
        fractions = [(cell[k] + corner[k] + 0.25) / 2 for k in range(3)]
        place = [sum(fractions[row] * _CELL[row][k] for row in range(3)) for k in range(3)]
        positions.append([place[k] + 0.12 * math.sin(1.7 + 3.1 * number + 1.3 * k) for k in range(3)])
        types.append(1 if number * 7 % 3 == 0 else 0)
    return positions, types


def graph(shift: float = 0.0) -> tuple[Graph, Tensor]:
    """The structure with its edges, every atom moved by `shift` Å along a direction of its own; those, (N, 3)."""
    import numpy as np
    import torch

    from mlip.data.neighborlist import neighbor_list
    from mlip.graph import Graph

    positions, types = structure()
    directions = np.sin(0.4 + 1.9 * np.arange(3 * len(types))).reshape(-1, 3)
    pos, cell = np.array(positions) + shift * directions, np.array(_CELL)
    edge_index, cell_shift = neighbor_list(pos, _R_MAX, cell, (True, True, True))
    made = Graph(
        pos=torch.from_numpy(pos),
        atom_types=torch.tensor(types),
        edge_index=torch.from_numpy(edge_index),
        cell=torch.from_numpy(cell).unsqueeze(0),
        edge_cell_shift=torch.from_numpy(cell_shift.astype(np.float64)),
    )
    return made, torch.from_numpy(directions)


def _energy_and_forces(potential: Potential, shift: float = 0.0, device: str = "cpu") -> tuple[float, Tensor]:
    prediction = potential(graph(shift)[0].to(device), derivatives=True)
    if prediction.forces is None:
        raise RuntimeError("the model gives no forces")
    return float(prediction.total_energy), prediction.forces.cpu()


def energies(device: str) -> dict[str, Any]:
    """Energy of each model in eV, and its slope along a displacement from forces and from energies, eV/Å."""
    found = {}
    for name in CONFIGS:
        potential = model(name).to(device)
        energy, forces = _energy_and_forces(potential, device=device)
        slope = -float((forces * graph()[1]).sum())
        step = 1e-3  # Å
        near, far = (
            [_energy_and_forces(potential, sign * distance, device)[0] for sign in (1, -1)]
            for distance in (step, 2 * step)
        )
        differences = (8 * (near[0] - near[1]) - (far[0] - far[1])) / (12 * step)
        found[name] = {
            "energy": energy,
            "reference": REFERENCE[name],
            "slope": slope,
            "slope_from_energies": differences,
        }
    return found


def files(folder: Path, mode: str, device: str) -> dict[str, Any]:
    """What LAMMPS needs, in a folder: models for each pair style and for ML-IAP, the structure; what they must give."""
    from mlip.deploy.compile import SUFFIXES, compile_potential
    from mlip.deploy.targets import TARGETS
    from mlip.integrations.lammps_mliap import SUFFIX, write_mliap_file

    write_structure(folder / "structure.data")
    found: dict[str, Any] = {}
    for name in CONFIGS:
        potential = model(name)
        energy, forces = _energy_and_forces(potential)
        mliap = folder / f"{name}{SUFFIX}"
        if not mliap.exists():
            write_mliap_file(potential, mliap, compiled=False, source="mlip doctor")
        output = folder / f"{name}-{device}{SUFFIXES[mode]}"
        deviation = compile_potential(
            potential,
            output,
            mode=mode,
            device=device,
            target=TARGETS[f"pair_{name}"],
            stages=None if mode == "torchscript" else False,  # ahead of time each piece costs half a minute
            source="mlip doctor",
        )
        found[name] = {
            "file": str(output),
            "mliap": str(mliap),
            "energy": energy,
            "forces": forces.tolist(),
            "deviation": deviation,
        }
    return found


def write_structure(path: Path) -> None:
    """The structure as a LAMMPS data file; numbers keep all their digits."""
    positions, types = structure()
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = _CELL
    lines = ["structure of mlip doctor", "", f"{len(types)} atoms", f"{len(TYPE_NAMES)} atom types", ""]
    lines += [f"0 {lx!r} xlo xhi", f"0 {ly!r} ylo yhi", f"0 {lz!r} zlo zhi", f"{xy!r} {xz!r} {yz!r} xy xz yz", ""]
    lines += ["Masses", "", *(f"{k} {mass!r}" for k, mass in enumerate(_MASSES, 1)), "", "Atoms # atomic", ""]
    for number, (kind, place) in enumerate(zip(types, positions, strict=True), 1):
        lines.append(f"{number} {kind + 1} " + " ".join(repr(value) for value in place))
    path.write_text("\n".join(lines) + "\n")


def facts() -> dict[str, Any]:
    """Versions, what torch was built for, the GPUs it sees, and the libraries it brings into a process."""
    import sysconfig
    from importlib import metadata

    found: dict[str, Any] = {
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "prefix": sys.prefix,
        "include": sysconfig.get_path("include"),
        "packages": {
            str(d.metadata["Name"]).lower().replace("_", "-"): d.version
            for d in metadata.distributions()
            if d.metadata["Name"]
        },
    }
    try:
        found["torch"] = _torch_facts()
    except Exception as error:  # noqa: BLE001 - a library that is missing, a symbol that does not fit: all are findings
        found["torch_error"] = f"{type(error).__name__}: {error}"
    maps = Path("/proc/self/maps").read_text().splitlines()
    found["libraries"] = sorted({line.split(None, 5)[5] for line in maps if ".so" in line and "/" in line})
    return found


def _torch_facts() -> dict[str, Any]:
    import torch
    from torch.utils import cpp_extension

    built_for: list[str] = []
    if torch.version.cuda or torch.version.hip:
        flags = torch._C._cuda_getArchFlags()  # type: ignore[attr-defined]  # noqa: SLF001 - works without a GPU, get_arch_list() does not
        built_for = str(flags or "").split()
    gpus = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            name = getattr(properties, "gcnArchName", "").split(":")[0]
            gpus.append([properties.name, name or f"sm_{properties.major}{properties.minor}"])
    try:
        import triton

        triton_version = str(triton.__version__)
    except ImportError:
        triton_version = ""
    return {
        "version": str(torch.__version__),
        "folder": str(Path(torch.__file__).parent),
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "cxx11_abi": int(torch.compiled_with_cxx11_abi()),
        "architectures": built_for,
        "gpus": gpus,
        "triton": triton_version,
        "toolkit": cpp_extension.ROCM_HOME if torch.version.hip else cpp_extension.CUDA_HOME,
    }


def main() -> None:
    """Do what the command line says."""
    command, *arguments = sys.argv[1:]
    found: dict[str, Any]
    if command == "facts":
        found = facts()
    elif command == "energies":
        found = energies(*arguments)
    else:
        found = files(Path(arguments[0]), *arguments[1:])
    print(f"{MARK}{json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()

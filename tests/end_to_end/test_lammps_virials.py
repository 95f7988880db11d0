"""Virials per atom and heat flux from pair_style nequip and allegro."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from .lammps_cases import EV_PER_A3_IN_BAR, LammpsError, Result, alloy, cluster, run_lammps, slab, tiny_cell, triclinic
from .lammps_models import LammpsModel
from .toy_potential import OF_THE_REFERENCE, write_toy_model

STRESSES = (
    "compute pe all pe/atom",
    "compute ke all ke/atom",
    "compute pairs all stress/atom NULL virial",
    "compute centroid all centroid/stress/atom NULL virial",
)
SUMS = (
    "compute total all reduce sum c_pairs[*]",
    "compute totals all reduce sum c_centroid[*]",
    "thermo_style custom step pe etotal vol temp c_virial[*] c_total[*] c_totals[*]",
)
# model and style with its options, ranks, newton
RUNS = [
    ("toy-allegro-torchscript", "allegro", 1, "on"),
    ("toy-allegro-torchscript", "allegro", 2, "off"),
    ("toy-nequip-torchscript", "nequip", 1, "off"),
    ("toy-nequip-torchscript", "nequip exchange extended", 2, "on"),
    ("toy-nequip-torchscript", "nequip exchange staged", 2, "off"),
    ("allegro-float64-aotinductor", "allegro", 2, "on"),
    ("nequip-float64-aotinductor", "nequip exchange staged", 2, "on"),
]
PRECISE = "thermo_modify format float %.16g"  # a new thermo_style forgets it
Build = Callable[[str], LammpsModel]


def columns(result: Result, name: str, count: int) -> np.ndarray:
    """The columns of a vector in the thermo output: (steps, count)."""
    return np.stack([result.thermo[f"{name}[{k}]"] for k in range(1, count + 1)], axis=1)


@pytest.mark.parametrize("name, style, ranks, newton", RUNS)
@pytest.mark.parametrize("atoms", [triclinic(), slab(), tiny_cell()], ids=["triclinic", "slab", "tiny"])
def test_virials_per_atom_add_up_to_the_pressure(
    tmp_path: Path, build: Build, name: str, style: str, ranks: int, newton: str, atoms: Atoms
) -> None:
    model = build(name)
    result = run_lammps(
        tmp_path, model.file, style, atoms, ranks=ranks, newton=newton,
        per_atom=(*STRESSES, *SUMS[:2]), run=(SUMS[2], PRECISE, "run 0"),
    )  # fmt: skip
    pressure = columns(result, "c_virial", 6)[-1] * result.thermo["Volume"][-1]
    scale = np.abs(pressure).max() + EV_PER_A3_IN_BAR * 1e-3
    np.testing.assert_allclose(-columns(result, "c_total", 6)[-1], pressure, rtol=0, atol=1e-9 * scale)
    centroid = -columns(result, "c_totals", 9)[-1]
    np.testing.assert_allclose(centroid[:6], pressure, rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(centroid[6:], centroid[3:6], rtol=0, atol=1e-9 * scale)


def heat_flux_deviation(folder: Path, model: Path, style: str, ranks: int, newton: str, timestep: float) -> float:
    """Largest deviation of the heat flux from the rate at which energy moves, relative to the flux, over 40 steps."""
    result = run_lammps(
        folder,
        model,
        style,
        cluster(),
        ranks=ranks,
        newton=newton,
        boundary="f f f",
        virial=False,
        thermo=1,
        per_atom=(
            *STRESSES,
            "compute flux all heat/flux ke pe centroid",
            *(f"variable m{d} atom {d}*(c_ke+c_pe)" for d in "xyz"),
            "compute moment all reduce sum v_mx v_my v_mz",
        ),
        run=(
            "thermo_style custom step pe etotal vol temp c_flux[*] c_moment[*]",
            PRECISE,
            "velocity all create 900 5",
            f"timestep {timestep}",
            "fix 1 all nve",
            "run 40",
        ),
    )
    flux, moment = columns(result, "c_flux", 3), columns(result, "c_moment", 3)
    rate = (moment[2:] - moment[:-2]) / (2 * timestep)
    return float(np.abs(rate - flux[1:-1]).max() / np.abs(flux).max())


@pytest.mark.parametrize("name, ranks, newton", [(name, r, n) for name, style, r, n in RUNS if style == "allegro"])
def test_the_heat_flux_is_the_rate_at_which_energy_moves(
    tmp_path: Path, build: Build, name: str, ranks: int, newton: str
) -> None:
    """In a cluster J V = d/dt of the sum of position times energy; the difference is of second order in the step."""
    model = build(name)
    coarse, fine = (heat_flux_deviation(tmp_path, model.file, "allegro", ranks, newton, dt) for dt in (4e-4, 1e-4))
    assert coarse < 1e-2
    assert fine < coarse / 12


def test_models_that_pass_messages_warn_about_the_heat_flux_once(tmp_path: Path, build: Build) -> None:
    atoms = alloy((2, 2, 2))
    file = build("toy-nequip-torchscript").file
    run = (SUMS[2], "run 2", "run 1")
    output = run_lammps(tmp_path, file, "nequip", atoms, per_atom=(*STRESSES, *SUMS[:2]), run=run).output
    assert output.count("exact for strictly local models only") == 1


@pytest.mark.parametrize("style", ["allegro", "nequip"])
@pytest.mark.parametrize("compute", ["stress/atom", "centroid/stress/atom"])
def test_files_without_edge_forces_have_no_virial_per_atom(tmp_path: Path, style: str, compute: str) -> None:
    file = write_toy_model(tmp_path / "toy.nequip.pth", f"pair_{style}", **OF_THE_REFERENCE)
    with pytest.raises(LammpsError, match=r"has no virial per atom, .*: compile it with this project's nequip-compile"):
        run_lammps(
            tmp_path,
            file,
            style,
            alloy((2, 2, 2)),
            per_atom=(
                f"compute s all {compute} NULL virial",
                "compute pe all pe/atom",
                "compute t all reduce sum c_s[1]",
            ),
            run=("thermo_style custom step pe c_t", "run 0"),
        )

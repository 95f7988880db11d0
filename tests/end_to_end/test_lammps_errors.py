"""pair_style nequip and allegro: what a user can get wrong ends in one sentence with the cure, never in a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ase import Atoms

from .lammps_cases import Case, Input, LammpsError, Prism, alloy, lammps, run_lammps, script, write_data
from .toy_potential import (
    HOP,
    OF_THE_REFERENCE,
    FailingModel,
    HungryModel,
    toy_reference,
    write_bad_model,
    write_toy_model,
    write_toy_variant,
)


@dataclass(frozen=True)
class Mistake:
    """An input with one thing wrong, the sentence it must give, and the input line that LAMMPS must show."""

    name: str
    says: str
    line: str
    style: str = "allegro"
    file: str = "allegro.nequip.pth"
    names: tuple[str, ...] = ("Cu", "Au")
    pair: tuple[str, ...] | None = None
    options: tuple[tuple[str, object], ...] = ()
    ranks: int = 1


MISTAKES = [
    Mistake("wrong extension", "expected a file named *.nequip.pt2 or *.nequip.pth", "pair_coeff", file="atoms.data"),
    Mistake("missing file", "cannot read model file 'nowhere.nequip.pt2': no such file", "pair_coeff",
            file="nowhere.nequip.pt2"),
    Mistake("missing file, two ranks", "cannot read model file 'nowhere.nequip.pt2'", "pair_coeff",
            file="nowhere.nequip.pt2", ranks=2),
    Mistake("not a TorchScript archive", "cannot load model file 'garbage.nequip.pth'", "pair_coeff",
            file="garbage.nequip.pth"),
    Mistake("not an AOTInductor package", "cannot load model file 'garbage.nequip.pt2'", "pair_coeff",
            file="garbage.nequip.pt2"),
    Mistake("no metadata", "has no entry 'r_max': write it with nequip-compile", "pair_coeff",
            file="bare.nequip.pth"),
    Mistake("broken metadata", "has 3 per-edge-type cutoffs for 2 types", "pair_coeff", file="broken.nequip.pth"),
    Mistake("model for pair_nequip", "compiled for another target (it takes pos edge_index atom_types cell "
            "edge_cell_shift): compile it for LAMMPS with nequip-compile --target pair_allegro", "pair_coeff",
            file="nequip.nequip.pth"),
    Mistake("model for pair_allegro", "with nequip-compile --target pair_nequip", "pair_coeff", style="nequip"),
    Mistake("model for ase", "but no virial): compile it for LAMMPS with nequip-compile --target pair_nequip",
            "pair_coeff", style="nequip", file="ase.nequip.pth"),
    Mistake("model for a GPU", "was compiled for a GPU, but there is none that torch can use here", "pair_coeff",
            file="cuda.nequip.pth"),
    Mistake("unknown type", "atom type 2 to 'Ag', which is not a type of model file 'allegro.nequip.pth': its types "
            "are Cu Au", "pair_coeff", names=("Cu", "Ag")),
    Mistake("too few names", "needs one name for each of the 2 atom types after the file name, got 1", "pair_coeff",
            names=("Cu",)),
    Mistake("too many names", "needs one name for each of the 2 atom types after the file name, got 3", "pair_coeff",
            names=("Cu", "Au", "Cu")),
    Mistake("no file", "must read 'pair_coeff * * FILE name ...'", "pair_coeff",
            pair=("pair_style allegro", "pair_coeff * *")),
    Mistake("single types", "must", "pair_coeff", pair=("pair_style allegro", "pair_coeff 1 1 allegro.nequip.pth Cu")),
    Mistake("file in the pair_style line", "does not understand 'allegro.nequip.pth': its options are device "
            "auto|cpu|cuda|cuda:N, tf32 model|on|off; the model file and the names go to 'pair_coeff", "pair_style",
            pair=("pair_style allegro allegro.nequip.pth",)),
    Mistake("unknown option", "does not understand 'gpu 1'", "pair_style", pair=("pair_style allegro gpu 1",)),
    Mistake("bad value", "does not understand 'device gpu'", "pair_style", pair=("pair_style allegro device gpu",)),
    Mistake("option without a value", "does not understand 'tf32'", "pair_style", pair=("pair_style allegro tf32",)),
    Mistake("exchange of allegro", "does not understand 'exchange staged'", "pair_style",
            pair=("pair_style allegro exchange staged",)),
    Mistake("unknown exchange", "does not understand 'exchange full': its options are device auto|cpu|cuda|cuda:N, "
            "tf32 model|on|off, exchange auto|extended|staged, layers N", "pair_style",
            pair=("pair_style nequip exchange full",)),
    Mistake("no layers", "does not understand 'layers 0'", "pair_style", pair=("pair_style nequip layers 0",)),
    Mistake("no GPU for a file that runs anywhere", "says 'device cuda', but there is no GPU that torch can use here",
            "pair_coeff", style="allegro device cuda"),
    Mistake("a file for the CPU on a GPU", "was compiled for the CPU, but pair_style says 'device cuda': compile it "
            "with nequip-compile --device cuda", "pair_coeff", style="allegro device cuda", file="cpu.nequip.pth"),
    Mistake("a file for a GPU on the CPU", "was compiled for a GPU, but pair_style says 'device cpu': compile it with "
            "nequip-compile --device cpu", "pair_coeff", style="allegro device cpu", file="cuda.nequip.pth"),
    Mistake("NULL without hybrid", "maps atom type 2 to NULL, which means 'left to another pair style': use "
            "'pair_style hybrid/overlay'", "pair_coeff", names=("Cu", "NULL")),
    Mistake("other units", "but the input says 'units lj': use 'units metal', or 'units real' for kcal/mol",
            "pair_coeff", options=(("units", "lj"),)),
    Mistake("layers unknown", "on 2 ranks must know how many layers pass messages, and model file "
            "'reference.nequip.pth' does not say", "run", style="nequip", file="reference.nequip.pth", ranks=2),
    Mistake("layers that contradict", "'layers 3' contradicts model file 'nequip.nequip.pth', which has 2", "run",
            style="nequip layers 3", file="nequip.nequip.pth"),
    Mistake("stages where there are none", "'exchange staged' needs a model file with stages", "run",
            style="nequip exchange staged layers 2", file="reference.nequip.pth", ranks=2),
    Mistake("ghosts that cannot be left out", "'exchange extended' needs a model file that can leave the energy of "
            "ghosts out", "run", style="nequip exchange extended layers 2", file="reference.nequip.pth", ranks=2),
    Mistake("communication by collections", "needs ghosts within 12 Angstrom: write 'comm_modify mode single'", "run",
            style="nequip exchange extended", file="nequip.nequip.pth",
            options=(("setup", ("neighbor 2.0 multi", "comm_modify mode multi")),)),
    Mistake("stages that do not load", "cannot load the stages of model file 'no-stages.nequip.pth'", "run",
            style="nequip exchange staged", file="no-stages.nequip.pth"),
    Mistake("more memory than there is", "the memory of cpu does not hold the evaluation of", "run",
            file="hungry.nequip.pth"),
    Mistake("compute without its style", "takes its values from 'pair_style nequip', which this run does not use",
            "run", options=(("setup", ("compute n all nequip/atom forces 3",)),)),
    Mistake("compute of an unknown output", "the model file has no output 'dipole': it has atomic_energy forces "
            "virial edge_forces coordination", "run", options=(("setup", ("compute d all allegro dipole 3",)),)),
    Mistake("compute without a length", "must read 'compute ID group allegro FIELD LENGTH'", "compute",
            options=(("setup", ("compute d all allegro virial",)),)),
    Mistake("compute with a wrong length", "output 'virial' has 9 numbers, not 6", "run", options=(
            ("setup", ("compute w all allegro virial 6",)),
            ("run", ("thermo_style custom step pe c_w[1]", "run 0")))),
    Mistake("compute per atom with a wrong length", "output 'virial' has 9 numbers, which are not 9 for each of",
            "run", options=(
            ("setup", ("compute w all allegro/atom virial 9", "compute s all reduce sum c_w[1]")),
            ("run", ("thermo_style custom step pe c_s", "run 0")))),
    Mistake("compute of a staged exchange", "has no output 'virial': write 'pair_style nequip exchange extended'",
            "run", style="nequip exchange staged", file="nequip.nequip.pth", options=(
            ("setup", ("compute w all nequip virial 9",)),
            ("run", ("thermo_style custom step pe c_w[1]", "run 0")))),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and model files, good and bad."""
    path = tmp_path_factory.mktemp("mistakes")
    atoms = alloy((2, 2, 2))
    write_data(path / "atoms.data", Case("", atoms), Prism(atoms.cell.array, pbc=True))
    write_toy_model(path / "allegro.nequip.pth", "pair_allegro")
    write_toy_model(path / "nequip.nequip.pth", "pair_nequip")
    write_toy_model(
        path / "ase.nequip.pth", "pair_nequip", nequip_aoti_outputs="atomic_energy total_energy forces stress"
    )
    write_toy_model(path / "cuda.nequip.pth", "pair_allegro", AOTI_DEVICE_KEY="cuda")
    write_toy_model(path / "cpu.nequip.pth", "pair_allegro", AOTI_DEVICE_KEY="cpu")
    write_toy_model(path / "reference.nequip.pth", "pair_nequip", **OF_THE_REFERENCE)
    write_toy_variant(path / "no-stages.nequip.pth", "pair_nequip", HOP, {}, parts=())
    write_bad_model(path / "hungry.nequip.pth", HungryModel())
    write_toy_model(path / "bare.nequip.pth", "pair_allegro", r_max="")
    write_toy_model(path / "broken.nequip.pth", "pair_allegro", per_edge_type_cutoff="5 5 5")
    for name in ("garbage.nequip.pth", "garbage.nequip.pt2"):
        (path / name).write_bytes(b"PK\x03\x04 this is no archive")
    return path


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_mistakes_are_answered_with_the_cure(folder: Path, mistake: Mistake) -> None:
    spec = Input(mistake.style, mistake.file, mistake.names, pair=mistake.pair, **dict(mistake.options))  # type: ignore[arg-type]
    with pytest.raises(LammpsError) as failure:
        lammps(folder, script(spec), ranks=mistake.ranks, env={"CUDA_VISIBLE_DEVICES": ""})
    output = str(failure.value)
    sentence = next(line for line in output.splitlines() if line.startswith("ERROR"))
    assert mistake.says in sentence
    if not sentence.startswith("ERROR on proc"):  # one rank alone does not show the line
        assert f"Last input line: {mistake.line}" in output
    for trace in ("terminate called", "Segmentation fault", "frame #0", "c10::Error"):
        assert trace not in output


def test_an_atom_that_leaves_the_box_is_lammps_own_error(tmp_path: Path) -> None:
    model = write_toy_model(tmp_path / "toy.nequip.pth", "pair_allegro")
    atoms = Atoms("Cu2", [(2, 5, 5), (9.5, 5, 5)], cell=[10, 10, 10])
    with pytest.raises(LammpsError, match="ERROR: Lost atoms"):
        run_lammps(tmp_path, model, "allegro", atoms, boundary="f f f",
                   run=("velocity all set 100 0 0", "fix 1 all nve", "run 1000"))  # fmt: skip


def test_positions_that_are_not_numbers_stop_the_run(tmp_path: Path) -> None:
    """No distance to such an atom is within a cutoff: without a check its neighbours lose their energy quietly."""
    model = write_toy_model(tmp_path / "toy.nequip.pth", "pair_allegro")
    run = (
        "neigh_modify every 100 delay 100 check no",
        'variable bad atom "1e200*1e200*0.0*(id==3)"',
        "velocity all set v_bad NULL NULL",
        "fix 1 all nve",
        "run 5",
    )
    with pytest.raises(LammpsError, match=r"the position of the atom with ID \d+ is not a number at step 1"):
        run_lammps(tmp_path, model, "allegro", alloy((2, 2, 2)), run=run)


def test_an_energy_that_is_not_a_number_stops_the_run(tmp_path: Path) -> None:
    model = write_toy_model(tmp_path / "toy.nequip.pth", "pair_allegro")
    atoms = Atoms("Cu2", [(2, 5, 5), (2, 5, 5)], cell=[10, 10, 10], pbc=True)
    with pytest.raises(LammpsError, match=r"the energy of the atom with ID 1 is -?nan at step 0: atoms are too close"):
        run_lammps(tmp_path, model, "allegro", atoms)


def test_the_log_says_what_runs(tmp_path: Path) -> None:
    model = write_toy_model(tmp_path / "toy.nequip.pth", "pair_allegro", num_threads="1")
    output = run_lammps(tmp_path, model, "allegro", alloy((2, 2, 2)), names=("Au", "Cu"), ranks=2).output
    assert output.count(f"pair style allegro: {model}") == 1
    assert "atom types 1 = Au, 2 = Cu; cutoff 5 Angstrom; precision float64" in output
    assert "TorchScript on cpu, 1 thread(s) per rank, compiled for 1" in output
    assert "advice" not in output


def test_the_log_says_where_a_file_comes_from(tmp_path: Path) -> None:
    provenance = {
        "mlip": "1.2",
        "torch": "2.13",
        "date": "2026-11-21",
        "source": 'best "one".ckpt',
        "model": {"mlip": 1},
    }
    model = write_toy_model(tmp_path / "toy.nequip.pth", "pair_allegro", mlip_provenance=json.dumps(provenance))
    output = run_lammps(tmp_path, model, "allegro", alloy((2, 2, 2))).output
    assert 'made by mlip 1.2, torch 2.13, 2026-11-21, from best "one".ckpt\n' in output


@pytest.mark.parametrize(
    "skin, advice", [("0.0", "a skin of 0"), ("3.0", "a skin of 3 Angstrom is large for a cutoff of 5")]
)
def test_skins_that_cost_time_are_advised_about_once(tmp_path: Path, skin: str, advice: str) -> None:
    model = write_toy_model(tmp_path / "toy.nequip.pth", "pair_allegro")
    setup = (f"neighbor {skin} bin",)
    output = run_lammps(tmp_path, model, "allegro", alloy((2, 2, 2)), setup=setup, run=("run 0", "run 0")).output
    assert output.count(advice) == 1


def test_a_thread_count_that_does_not_fit_is_warned_about(tmp_path: Path) -> None:
    model = write_toy_model(tmp_path / "toy.nequip.pth", "pair_nequip", num_threads="4")
    output = run_lammps(tmp_path, model, "nequip", alloy((2, 2, 2))).output
    assert "was compiled for 4 thread(s), but each rank has 1: set OMP_NUM_THREADS=4 or compile" in output


def test_a_failure_inside_the_model_names_the_file(tmp_path: Path) -> None:
    """Files of old versions do not list what they take: a wrong one shows when it runs."""
    model = write_toy_model(tmp_path / "old.nequip.pth", "pair_allegro", nequip_aoti_inputs="", nequip_aoti_outputs="")
    broken = tmp_path / "broken.nequip.pth"
    write_bad_model(broken, FailingModel())
    run_lammps(tmp_path, model, "allegro", alloy((2, 2, 2)))
    with pytest.raises(LammpsError, match=r"model file '.*broken.nequip.pth' failed to run: .*no_such_field"):
        run_lammps(tmp_path, broken, "allegro", alloy((2, 2, 2)))


@pytest.mark.parametrize("first", ["torch", "lammps"])
def test_the_styles_work_from_python(tmp_path: Path, first: str) -> None:
    """In one process with Python's torch, whichever of the two is imported first."""
    model = write_toy_model(tmp_path / "toy.nequip.pth", "pair_allegro")
    atoms = alloy((2, 2, 2))
    write_data(tmp_path / "atoms.data", Case("", atoms), Prism(atoms.cell.array, pbc=True))
    second = {"torch": "lammps", "lammps": "torch"}[first]
    program = f"""
import {first}, {second}
lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
lmp.commands_list({script(Input("allegro", model))[:-1]!r})
print(lmp.get_thermo("pe"), torch.ones(3).sum().item())
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    energy, three = done.stdout.split()
    assert float(energy) == pytest.approx(toy_reference(atoms, "pair_allegro").energy, abs=1e-8)
    assert float(three) == 3

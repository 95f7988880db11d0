"""What LAMMPS prints is read and held against the plain run."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlip.stack import acceptance
from mlip.stack.errors import StackError

OUTPUT = """\
LAMMPS (4 Jul 2026)
   Step          Temp          PotEng         TotEng         Press
         0   600           {0}            -10            1.5
        20   590.1         -20.25         -10.1          1.7
Loop time of 0.5 on 1 procs for 20 steps with 108 atoms
"""


def fake_image(folder: Path, energies: dict[str, float]) -> tuple[acceptance.Runner, list[str]]:
    """Answers as the programs of an image would, with an energy of the first step for each way to run LAMMPS."""
    ran: list[str] = []

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        words = " ".join(command)
        ran.append(words)
        if "nequip-train" in words:
            (folder / "demo.in").write_text(
                "# how\nunits metal\npair_style allegro\npair_coeff * * demo.nequip.pt2 Cu Au\n"
            )
        energy = next((value for key, value in energies.items() if key in words), -20.5)
        return subprocess.CompletedProcess(command, 0, OUTPUT.format(energy), "")

    return run, ran


def test_every_way_to_run_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, ran = fake_image(tmp_path, {})
    acceptance.run(run, tmp_path, "mlip:cpu")
    assert [words.split()[0] for words in ran[:4]] == [
        "mlip",
        "nequip-train",
        "nequip-compile",
        "nequip-prepare-lmp-mliap",
    ]
    assert "lmp -k on -sf kk -in demo.in" in ran
    assert any(words.startswith("mpirun -np 2 lmp") for words in ran)
    assert "pair_style mliap unified demo.nequip.lmp.pt 0" in (tmp_path / "mliap.in").read_text()
    assert "pair_coeff * * Cu Au" in (tmp_path / "mliap.in").read_text()
    assert "ML-IAP" in capsys.readouterr().out


def test_another_energy_is_an_error(tmp_path: Path) -> None:
    run, _ = fake_image(tmp_path, {"mliap.in": -20.4})
    with pytest.raises(StackError, match=r"step 0: the run 'ML-IAP, Kokkos' has -20\.4 eV, plain LAMMPS -20\.5 eV"):
        acceptance.run(run, tmp_path, "mlip:cpu")


def test_a_failing_command_is_named_with_its_output(tmp_path: Path) -> None:
    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 2, "", "no torch here")

    with pytest.raises(StackError, match=r"no torch here\n'mlip doctor' ended with 2"):
        acceptance.run(run, tmp_path, "mlip:cpu")


def test_output_without_a_table_is_an_error() -> None:
    with pytest.raises(StackError, match="printed no table of energies"):
        acceptance.energies_of("ERROR: Unknown pair style\n")


def test_image_and_apptainer_file_must_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, energy in (("image", -20.5), ("sif", -20.6)):
        (tmp_path / f"test-cpu-{kind}.json").write_text(f'{{"plain": {{"seconds": 1, "energies": {{"0": {energy}}}}}}}')
    with pytest.raises(StackError, match=r"the model trained in the sif gives -20\.6 eV, that of the image -20\.5 eV"):
        acceptance.compare_with_other(tmp_path / "test-cpu-sif.json")
    (tmp_path / "test-cpu-sif.json").write_text('{"plain": {"seconds": 1, "energies": {"0": -20.5}}}')
    acceptance.compare_with_other(tmp_path / "test-cpu-sif.json")
    assert "sif and image agree" in capsys.readouterr().out

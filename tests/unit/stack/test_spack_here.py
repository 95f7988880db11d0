"""An environment for the machine at hand, of programs that say what the test wants."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from mlip.cli.main import main
from mlip.stack import recipe, spack_here
from mlip.stack.errors import StackError

PROGRAMS = {
    "cmake": "cmake version 3.30.1",
    "make": "GNU Make 4.4",
    "gcc": "13.3.0",
    "mpichversion": "MPICH Version: 5.0.2",
    "nvcc": "Cuda compilation tools, release 13.0, V13.0.88",
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefix with these programs, a Python with torch among them, and nothing else on PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "include").mkdir()
    (tmp_path / "include/Python.h").touch()
    facts = {
        "packages": {"torch": "2.13.0+cpu", "numpy": "2.4.6", "setuptools": "80.0"},
        "version": "3.11.9",
        "base": "/base",
        "header": str(tmp_path / "include"),
    }
    for name, words in {**PROGRAMS, "python3": json.dumps(facts)}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ncat <<'END'\n{words}\nEND\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    return tmp_path


def specs(content: dict[str, dict[str, dict[str, list[dict[str, str]]]]]) -> dict[str, str]:
    """The prefixes by spec."""
    return {one["spec"]: one["prefix"] for entry in content["packages"].values() for one in entry.get("externals", [])}


class TestMachine:
    def test_has_what_its_programs_say(self, machine: Path) -> None:
        assert specs(spack_here.machine(recipe.load("cpu-upstream"), machine)) == {
            "cmake@3.30.1": str(machine),
            "gcc@13.3.0 languages:='c,c++'": str(machine),
            "gmake@4.4": str(machine),
            "mpich@5.0.2": str(machine),
            "py-numpy@2.4.6": str(machine),
            "py-setuptools@80.0": str(machine),
            "py-torch@2.13.0 ~cuda ~rocm": str(machine),
            "python@3.11.9": str(machine),
        }

    def test_has_cuda_from_its_module(self, machine: Path) -> None:
        assert specs(spack_here.machine(recipe.load("cuda"), machine))["cuda@13.0"] == str(machine)

    def test_with_another_torch_is_refused(self, machine: Path) -> None:
        with pytest.raises(StackError, match=r"has torch 2\.13\.0, the stack rocm-6\.4 has 2\.9\.1"):
            spack_here.machine(recipe.load("rocm-6.4"), machine)

    def test_without_a_program_is_told_how_to_get_it(self, machine: Path) -> None:
        (machine / "bin/nvcc").unlink()
        with pytest.raises(StackError, match=r"no 'nvcc' here: load the module of CUDA"):
            spack_here.machine(recipe.load("cuda"), machine)

    def test_without_headers_of_python_is_refused(self, machine: Path) -> None:
        (machine / "include/Python.h").unlink()
        with pytest.raises(StackError, match=r"no Python\.h, which LAMMPS needs"):
            spack_here.machine(recipe.load("cpu-upstream"), machine)


class TestCommand:
    def test_writes_both_files_and_says_what_is_next(
        self, machine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "env"
        main(["stack", "spack", "cpu-upstream", "--python", str(machine), "--output", str(folder)])
        assert f"next: spack -e {folder} concretize" in capsys.readouterr().out
        assert "lammps-mlip@" in yaml.safe_load((folder / "spack.yaml").read_text())["spack"]["specs"][0]
        assert (folder / "machine.yaml").read_text().startswith("# written by mlip stack spack cpu-upstream")

    def test_leaves_an_environment_that_is_in_use(self, machine: Path, tmp_path: Path) -> None:
        (tmp_path / "env").mkdir()
        (tmp_path / "env/spack.lock").touch()
        with pytest.raises(StackError, match="has an environment that is concretized"):
            spack_here.write(recipe.load("cpu-upstream"), machine, tmp_path / "env")

    def test_without_a_purpose_says_what_there_is(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ending:
            main(["stack", "spack", "cpu"])
        assert ending.value.code == 1
        assert "--output DIR or --mirror DIR" in capsys.readouterr().err

"""Tiny shared libraries and programs from the C compiler, and a program that answers as LAMMPS does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlip.stack.doctor.environment import Environment

needs_compiler = pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("g++") is None, reason="no C and C++ compiler here: install g++"
)


def library(
    folder: Path, soname: str, *, links: Sequence[Path] = (), code: str = "", flags: Sequence[str] = ()
) -> Path:
    """A shared library that needs others; with `code` ending in C++, it is compiled as such."""
    folder.mkdir(parents=True, exist_ok=True)
    is_cxx = "std::" in code
    source = folder / f"{soname}.{'cpp' if is_cxx else 'c'}"
    source.write_text(code or f"int in_{abs(hash(soname))}(void) {{ return 1; }}\n")
    output = folder / soname
    compiler = "g++" if is_cxx else "gcc"
    command = [compiler, "-shared", "-fPIC", source, "-o", output, f"-Wl,-soname,{soname}", "-Wl,--no-as-needed"]
    subprocess.run([*command, *links, *flags], check=True)
    return output


def program(path: Path, code: str, *, links: Sequence[Path] = (), flags: Sequence[str] = ()) -> Path:
    """A program that needs libraries and finds them where they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.with_suffix(".c")
    source.write_text(code)
    folders = [f"-Wl,-rpath,{folder}" for folder in dict.fromkeys(link.parent for link in links)]
    command = ["gcc", source, "-o", path, "-Wl,--no-as-needed", *links, *(flags or folders)]
    subprocess.run([*command, "-Wl,--allow-shlib-undefined"], check=True)
    return path


# reads its input script: 'info' prints the file beside the program, 'print' and 'shell' do what they do in LAMMPS
_LAMMPS = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
  char line[4096];
  FILE *script = NULL;
  for (int k = 1; k < argc - 1; k++) if (!strcmp(argv[k], "-in")) script = fopen(argv[k + 1], "r");
  if (!script) return 1;
  while (fgets(line, sizeof line, script)) {
    char *first = strpbrk(line, "'\"");
    if (first) first[1 + strcspn(first + 1, "'\"")] = 0;
    fflush(stdout);
    if (!strncmp(line, "info", 4)) { if (system("cat " INFO)) return 2; }
    else if (!strncmp(line, "print", 5)) puts(first + 1);
    else if (!strncmp(line, "shell", 5)) { if (system(first + 1)) return 3; }
  }
  return 0;
}
"""

_INFO = """\
LAMMPS (22 Jul 2025 - Update 4)

LAMMPS version: 22 Jul 2025 / 20250722

Installed packages:

{packages}

Accelerator configuration:

{kokkos}

MPI library level: MPI v4.0
MPI version: {mpi}

Pair styles:

{styles}


Info-Info-Info
"""


def lammps(
    folder: Path,
    links: Sequence[Path],
    *,
    packages: str = "KSPACE ML-IAP MOLECULE PLUGIN",
    styles: str = "allegro lj/cut mliap nequip",
    kokkos: str = "",
    mpi: str = "MPICH Version:      5.0.2",
) -> Path:
    """A program that loads these libraries and says of itself what LAMMPS would."""
    info = folder / "info"
    folder.mkdir(parents=True, exist_ok=True)
    info.write_text(_INFO.format(packages=packages, styles=styles, kokkos=kokkos, mpi=mpi))
    code = f'#define INFO "{info}"\n{_LAMMPS}'
    return program(folder / "lmp", code, links=links)


def environment(folder: Path, lmp: Path | str = "", **facts: object) -> Environment:
    """An environment whose Python has said this about torch: a CPU build unless `facts` say otherwise."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    python = folder / "env" / "bin" / "python"
    mpirun = folder / "mpirun"
    mpirun.write_text("#!/bin/sh\necho HYDRA build details:\n")
    mpirun.chmod(0o755)
    env = Environment(
        python=python,
        lmp=[str(lmp)] if lmp else [],
        mpirun=[str(mpirun)] if lmp else [],
        folder=work,
        stack_file=folder / "env" / "share" / "stack.json",
    )
    torch = {
        "version": "2.13.0+cpu",
        "folder": "",
        "cuda": None,
        "hip": None,
        "cxx11_abi": 1,
        "architectures": [],
        "gpus": [],
        "triton": "",
        "toolkit": None,
    }
    env._answers["facts"] = {
        "python": "3.11.7",
        "prefix": str(python.parent.parent),
        "executable": str(python),
        "include": "",
        "packages": {"mlip": "0.1.0", "torch": "2.13.0+cpu", "mpich": "5.0.2"},
        "torch": torch | facts,
        "libraries": [],
    }
    return env


def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's decides what is loaded."""
    for name in ("LD_LIBRARY_PATH", "LD_PRELOAD"):
        if name in os.environ:
            monkeypatch.delenv(name)

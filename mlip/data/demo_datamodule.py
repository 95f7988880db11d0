"""Data for a first training that needs no files: CuAu alloys, labelled where the training runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlip.data.datamodule import ASEDataModule
from mlip.data.emt import example_crystal, write_emt_dataset

INPUT = """\
# A CuAu crystal with the potential that `nequip-train -cn demo` trains and this compiles:
#   nequip-compile demo-run/best.ckpt demo.nequip.pt2 --mode aotinductor --device cpu --target pair_allegro
#   lmp -in demo.in                          or with Kokkos: lmp -k on -sf kk -in demo.in
#   mpirun -n 2 lmp -in demo.in
units         metal
newton        on
read_data     demo.data
pair_style    allegro
pair_coeff    * * demo.nequip.pt2 Cu Au
velocity      all create 600.0 20260101 mom yes rot yes dist gaussian
timestep      0.002
fix           integrate all nve
thermo        20
thermo_style  custom step temp pe etotal press
thermo_modify format float %.12g
run           100
"""


class DemoDataModule(ASEDataModule):
    """Frames of CuAu alloys with energies, forces and stress of ASE's EMT potential.

    Writes the three files where one is missing, and a LAMMPS input with a structure, ``demo.in`` and ``demo.data``, to
    the folder the training was started in.

    Args:
        seed: of the order of training frames.
        train_file_path: 200 frames.
        val_file_path: 20 frames.
        test_file_path: 50 frames.
        **kwargs: of :class:`ASEDataModule`.
    """

    def __init__(self, seed: int, train_file_path: str, val_file_path: str, test_file_path: str, **kwargs: Any) -> None:
        super().__init__(seed, train_file_path, val_file_path, test_file_path, **kwargs)
        self.paths = {"train": Path(train_file_path), "val": Path(val_file_path), "test": Path(test_file_path)}

    def prepare_data(self) -> None:
        """Write what is not there yet."""
        from ase.io.lammpsdata import write_lammps_data

        if not all(path.is_file() for path in self.paths.values()):
            files = write_emt_dataset(self.paths["train"].parent, num_train=200, num_val=20, num_test=50, seed=1)
            for part, written in files.items():
                written.replace(self.paths[part])
        if not Path("demo.in").exists():
            with Path("demo.data").open("w") as file:
                write_lammps_data(file, example_crystal(), specorder=["Cu", "Au"], masses=True, atom_style="atomic")
            Path("demo.in").write_text(INPUT)

"""The LAMMPS that `make lmp` builds from source: how tests start it, with and without Kokkos."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
RUN_LMP = CHECKOUT / "lammps" / "run-lmp"


def lammps_from_source() -> Path:
    """Where `make lmp` leads to."""
    return Path(os.environ.get("LMP_TREE") or CHECKOUT / "build" / "lmp")


# for `pytestmark`
needs_lammps_from_source = [
    pytest.mark.lammps_source,
    pytest.mark.skipif(
        not (lammps_from_source() / "lammps" / "bin" / "lmp").exists(),
        reason="no LAMMPS from source here: 'make lmp' builds it",
    ),
]


def plain(ranks: int) -> list[str]:
    """The command for a run without Kokkos."""
    return [str(RUN_LMP), "-n", str(ranks)] if ranks > 1 else [str(RUN_LMP)]


@dataclass(frozen=True)
class Kokkos:
    """Settings of the KOKKOS package. `newton` is what an input with this setting must say, too."""

    newton: str
    neigh: str
    threads: int = 1

    def __str__(self) -> str:
        return f"newton {self.newton}, {self.neigh} lists"

    @property
    def start(self) -> Callable[[int], list[str]]:
        """The command for a run with Kokkos on the host."""
        switches = f"-k on t {self.threads} -sf kk -pk kokkos newton {self.newton} neigh {self.neigh}".split()
        return lambda ranks: [*plain(ranks), *switches]


HALF = Kokkos("on", "half")  # what GPU users of the reference have in their scripts
FULL = Kokkos("off", "full")  # Kokkos' own choice on GPUs

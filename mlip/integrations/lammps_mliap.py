"""Potentials in LAMMPS through its ML-IAP package: ``pair_style mliap unified FILE 0``.

A file is a pickle of one :class:`MLIAPPotential`: numbers, words, and the bytes of a ``torch.save`` of weights and
model config, which is read with ``weights_only=True``. LAMMPS unpickles it in its embedded Python, so that mlip must be
importable there, and calls :meth:`MLIAPPotential.compute_forces` in every step.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import mlip
from mlip.deploy.example import example_graph
from mlip.deploy.memory import keep_freed_memory
from mlip.integrations.ghost_exchange import exchanging, synchronise
from mlip.integrations.pair_derivative import PairDerivative
from mlip.models import Potential, build_model
from mlip.models.nequip import NequIP

SUFFIX = ".nequip.lmp.pt"
FORMAT_VERSION = 1
_NEEDED = ("nlocal", "ntotal", "nlistatoms", "npairs", "update_pair_forces")
_RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


class MLIAPError(RuntimeError):
    """The potential cannot be prepared for, or run by, ML-IAP; the message says why and what to do."""


class MLIAPPotential:
    """What LAMMPS asks of a unified ML-IAP model.

    It has the attributes and methods of ``lammps.mliap.mliap_unified_abc.MLIAPUnified``. LAMMPS does not ask for that
    class itself, and importing it needs LAMMPS' Python package, which preparing a file should not.

    Args:
        model: bytes of a ``torch.save``, see :func:`pack_model`.
        type_names: names of the atom types: the elements of ``pair_coeff``.
        r_max: cutoff radius, Å.
        compiled: whether to compile the model in the first step.
        allow_tf32: whether matrix products on NVIDIA GPUs may use TF32.

    Attributes:
        element_types: the type names.
        rcutfac: half the cutoff radius, Å: LAMMPS multiplies it with the sum of two radii that it sets to 1.
        ndescriptors, nparams: without meaning here, but LAMMPS reads them.
    """

    ndescriptors = 1
    nparams = 1

    def __init__(
        self, model: bytes, type_names: list[str], r_max: float, *, compiled: bool = True, allow_tf32: bool = False
    ) -> None:
        self._model, self._compile, self._allow_tf32 = model, compiled, allow_tf32
        self.element_types, self.rcutfac = list(type_names), 0.5 * r_max
        self._interface: Any = None
        self._derivative: PairDerivative | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "mlip_version": mlip.__version__,
            "model": self._model,
            "type_names": self.element_types,
            "r_max": 2.0 * self.rcutfac,
            "compiled": self._compile,
            "allow_tf32": self._allow_tf32,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["format_version"] > FORMAT_VERSION:
            raise MLIAPError(
                f"this {SUFFIX} file was written by mlip {state['mlip_version']}, which is newer than the mlip "
                f"{mlip.__version__} of LAMMPS' Python: update it there or prepare the file again"
            )
        self.__init__(  # type: ignore[misc]
            state["model"],
            state["type_names"],
            state["r_max"],
            compiled=state["compiled"],
            allow_tf32=state["allow_tf32"],
        )

    @property
    def interface(self) -> Any:
        """LAMMPS' side of the connection, set by LAMMPS."""
        return self._interface

    @interface.setter
    def interface(self, interface: Any) -> None:
        self._interface = interface
        # LAMMPS' own message for a wrong element in pair_coeff names neither the element nor those there are
        _say(f"ML-IAP potential for {' '.join(self.element_types)}, cutoff {2 * self.rcutfac:g} Å")

    def compute_gradients(self, data: Any) -> None:
        """Nothing: LAMMPS calls this before :meth:`compute_forces`, which does everything."""

    def compute_descriptors(self, data: Any) -> None:
        """Nothing, as :meth:`compute_gradients`."""

    def compute_forces(self, data: Any) -> None:
        """Energies and the derivative by each pair vector, into LAMMPS' data of this step.

        Args:
            data: LAMMPS' ``MLIAPDataPy``, of the plain or of the Kokkos package. Its arrays are on the CPU or on a GPU,
                and are not looked at where they would be empty, which LAMMPS cannot express.

        Raises:
            MLIAPError: LAMMPS' ML-IAP lacks something that the model needs. All processes raise it.
        """
        derivative = self._prepared(data)
        if data.nlocal == 0 and derivative.potential.num_layers == 1:
            data.energy = 0.0
            return
        elements = _elements(data, derivative.device)
        derivative.move(elements.device)
        self._set_torch(elements.device)
        index, edge_index, vectors = _edges(data, elements, derivative.potential)
        listed = _listed_atoms(data, elements.device)
        counted = vectors.new_zeros(elements.shape[0]).index_fill(0, listed, 1.0)
        with exchanging(data):
            energies, gradient = derivative(edge_index, vectors, elements.clamp(min=0), counted)
        _give_energies(data, energies[listed])
        if data.npairs:
            pair_forces = gradient.new_zeros(data.npairs, 3)
            _give_pair_forces(data, pair_forces.index_copy(0, index, gradient))

    def _prepared(self, data: Any) -> PairDerivative:
        """What computes, once it is known that LAMMPS has what it needs."""
        for name in _NEEDED:
            if not hasattr(data, name):
                raise MLIAPError(
                    f"the ML-IAP of this LAMMPS is too old: it has no {name}; use a LAMMPS of July 2025 or newer"
                )
        if self._derivative is None:
            keep_freed_memory()
            self._derivative = PairDerivative(unpack_model(self._model), compiled=self._compile)
            if self._compile:
                _say("compiling the model; nequip-prepare-lmp-mliap --no-compile makes files that need not be")
        if self._derivative.potential.num_layers > 1 and not hasattr(data, "forward_exchange"):
            raise MLIAPError(
                "NequIP models pass messages between atoms, for which only the Kokkos variant of pair_style mliap has "
                "means: run lmp with -k on t 1 -sf kk -pk kokkos newton on neigh half, or use pair_style nequip"
            )
        return self._derivative

    def _set_torch(self, device: torch.device) -> None:
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = self._allow_tf32
            return
        # as LAMMPS itself does; torch would take all cores of the machine for each process
        threads = os.environ.get("OMP_NUM_THREADS", "1").split(",")[0]
        if threads.isdigit() and torch.get_num_threads() != int(threads):
            torch.set_num_threads(int(threads))


def _say(message: str) -> None:
    """Show a message once, not for each process."""
    if next((os.environ[name] for name in _RANK_VARIABLES if name in os.environ), "0") == "0":
        print(f"mlip: {message}", file=sys.stderr, flush=True)


def _elements(data: Any, device: torch.device) -> Tensor:
    """Types of all atoms: (N,) int64, -1 for those of other pair styles.

    Where there are fewer than two, atoms that nothing sees are added: processes without any must take part in the
    exchanges, and compiled code is for two and more.
    """
    if data.ntotal == 0:
        return torch.zeros(2, dtype=torch.int64, device=device)
    elements = torch.as_tensor(data.elems)
    synchronise(elements.device)  # LAMMPS works on a stream of its own
    return functional.pad(elements.long(), (0, max(0, 2 - data.ntotal)))


def _edges(data: Any, elements: Tensor, potential: Potential) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs that are edges of the model, sorted by centre.

    Returns:
        (E,) indices of pairs, (2, E) atoms, (E, 3) float64 vectors from centre to neighbour, Å.
    """
    if data.npairs == 0:
        none = elements.new_zeros(0)
        return none, elements.new_zeros(2, 0), none.new_zeros(0, 3, dtype=torch.float64)
    centre, neighbour = torch.as_tensor(data.pair_i).long(), torch.as_tensor(data.pair_j).long()
    vectors = torch.as_tensor(data.rij)
    # centres that are ghosts come with LAMMPS' flag for neighbours of ghosts
    kept = (centre < data.nlocal) & (elements[centre] >= 0) & (elements[neighbour] >= 0)
    if potential.per_edge_type_cutoff is not None:
        cutoffs = potential.per_edge_type_cutoff[elements[centre].clamp(min=0), elements[neighbour].clamp(min=0)]
        kept &= vectors.norm(dim=1) < cutoffs
    index = kept.nonzero().squeeze(1)
    index = index[centre[index].argsort(stable=True)]
    return index, torch.stack([centre[index], neighbour[index]]), vectors[index]


def _listed_atoms(data: Any, device: torch.device) -> Tensor:
    """The atoms whose energies LAMMPS wants, in its order: (n,) int64."""
    if data.nlistatoms == 0:
        return torch.zeros(0, dtype=torch.int64, device=device)
    return torch.as_tensor(data.iatoms)[: data.nlistatoms].long()


def _give_energies(data: Any, energies: Tensor) -> None:
    """(n,) float64, eV."""
    data.energy = float(energies.sum())
    if len(energies) == 0:
        return
    try:
        place = data.eatoms
    except AttributeError:  # the plain package lets them be set, the Kokkos package be written to
        data.eatoms = energies.cpu().numpy()
    else:
        torch.as_tensor(place).copy_(energies)
        synchronise(energies.device)


def _give_pair_forces(data: Any, forces: Tensor) -> None:
    """(P, 3) float64, eV/Å: LAMMPS adds them to the force on i and subtracts them from that on j, for all its pairs."""
    if forces.is_cuda:
        synchronise(forces.device)
        data.update_pair_forces(forces)
        synchronise(forces.device)  # LAMMPS may still read them when this function has returned
    else:
        data.update_pair_forces(forces.numpy())


# Files --------------------------------------------------------------------------------------------------------------


def pack_model(potential: Potential, source: str = "") -> bytes:
    """Weights and config of a potential, without anything that executes when it is read.

    Args:
        potential: what to pack.
        source: where the weights come from, stored for the record.
    """
    buffer = io.BytesIO()
    contents = {
        "config": potential.config,
        "state_dict": {name: tensor.cpu() for name, tensor in potential.state_dict().items()},
        "torch_version": str(torch.__version__),
        "source": source,
    }
    torch.save(contents, buffer)
    return buffer.getvalue()


def unpack_model(model: bytes) -> Potential:
    """The potential of :func:`pack_model`, on the CPU, ready to evaluate."""
    contents = torch.load(io.BytesIO(model), map_location="cpu", weights_only=True)
    potential = build_model(dict(contents["config"]))
    potential.load_state_dict(contents["state_dict"])
    return potential.eval().requires_grad_(requires_grad=False)


def write_mliap_file(
    potential: Potential, output: Path, *, compiled: bool = True, allow_tf32: bool = False, source: str = ""
) -> None:
    """Write a file for ``pair_style mliap unified``.

    Args:
        potential: what to write.
        output: ends with ``.nequip.lmp.pt``; a file that is there is replaced only by one that passed the check.
        compiled: let LAMMPS compile the model in its first step.
        allow_tf32: let matrix products on NVIDIA GPUs use TF32.
        source: where the weights come from, stored for the record.

    Raises:
        MLIAPError: wrong suffix, no such folder, or a model that LAMMPS cannot be given.
    """
    if not output.name.endswith(SUFFIX):
        raise MLIAPError(f"the output must end with {SUFFIX}, got {output.name}")
    if not output.parent.is_dir():
        raise MLIAPError(f"there is no folder {output.parent}")
    if isinstance(potential.architecture, NequIP) and potential.architecture.categories:
        fields = ", ".join(category.field for category in potential.architecture.categories)
        raise MLIAPError(f"the model embeds a number of each frame ({fields}), which LAMMPS cannot give it")
    model = pack_model(potential, source)
    _check(potential.eval(), unpack_model(model))
    unified = MLIAPPotential(model, potential.type_names, potential.r_max, compiled=compiled, allow_tf32=allow_tf32)
    unfinished = output.with_name(f".unfinished-{os.getpid()}-{output.name}")
    try:
        # bytes have an opcode of their own from this protocol on, otherwise they become text
        torch.save(unified, unfinished, pickle_protocol=4)
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)


def _check(potential: Potential, written: Potential) -> None:
    graph = example_graph(len(potential.type_names), potential.r_max, 11, torch.Generator().manual_seed(0))
    expected, found = potential(graph, derivatives=True).forces, written(graph, derivatives=True).forces
    if expected is None or found is None or not torch.equal(expected, found):
        raise MLIAPError("the model read back from the file gives other forces: report this with the model's config")

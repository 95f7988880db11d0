"""Kernels of other packages in a model: put in where they can run, and only if they give the model's own numbers.

The names are those of the NequIP framework's modifiers. Two of them replace NequIP's convolution. The two for Allegro
have nothing to replace: its tensor products are computed once per atom here, not once per edge, which makes them a
small part of the work, and files for GPUs get Triton kernels that torch's compiler writes.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
from torch import Tensor

from mlip.deploy.acceleration_names import ACCELERATIONS
from mlip.deploy.errors import CompileError
from mlip.deploy.example import example_graph
from mlip.graph import Graph
from mlip.models import Potential
from mlip.models.allegro import Allegro
from mlip.models.nequip import NequIP
from mlip.nn.kernels.convolution import PathTable
from mlip.nn.kernels.external import (
    ExternalConvolution,
    cuequivariance_convolution,
    openequivariance_convolution,
)

log = logging.getLogger(__name__)
Make = Callable[[PathTable, int, torch.dtype], ExternalConvolution]


@dataclass(frozen=True)
class Acceleration:
    """One modifier.

    Attributes:
        package: what users install, "" for nothing.
        imports: modules it must bring.
        make: a convolution for the paths from one irrep; None where there is nothing to replace.
        needs_gpu: whether it runs on a GPU only.
    """

    package: str = ""
    imports: tuple[str, ...] = ()
    make: Make | None = None
    needs_gpu: bool = True


KERNELS: dict[str, Acceleration] = dict.fromkeys(ACCELERATIONS, Acceleration()) | {
    "enable_OpenEquivariance": Acceleration("openequivariance", ("openequivariance",), openequivariance_convolution),
    "enable_CuEquivariance": Acceleration(
        "cuequivariance-torch cuequivariance-ops-torch-cu12",
        ("cuequivariance_torch", "cuequivariance_ops_torch"),
        cuequivariance_convolution,
    ),
}
_ARCHITECTURES = {name: NequIP if entry.make else Allegro for name, entry in KERNELS.items()}


class AccelerationError(CompileError):
    """A kernel of another package gives wrong numbers; the message says how wrong."""


@dataclass(frozen=True)
class Allowed:
    """How far an accelerated network may be from the network itself, relative to the largest number of its kind.

    Attributes:
        same: energies, forces and gradients by the weights: the order of sums differs, nothing else.
        derivative: forces against differences of energies, of second order in the step.
        step: of these differences, Å.
    """

    same: float
    derivative: float
    step: float


_ALLOWED = {torch.float64: Allowed(1e-10, 1e-5, 1e-3), torch.float32: Allowed(1e-4, 1e-2, 2e-2)}
_SIZES = (11, 24)  # atoms of the structures to compare on


def imports_of(potential: Potential, device: str | torch.device) -> list[str]:
    """The modules whose kernels a potential uses on a device."""
    architecture, device = potential.architecture, torch.device(device)
    if not isinstance(architecture, NequIP):
        return []
    kernels = [kernel for layer in architecture.interactions for kernel in layer.external]
    return sorted({kernel.package for kernel in kernels if kernel is not None and kernel.takes(device)})


def require_loadable(potential: Potential, device: str, mode: str, target: str) -> None:
    """Refuse to compile foreign kernels into a file that its program could not load.

    Raises:
        CompileError: LAMMPS has no Python, and TorchScript resolves kernels before we can import their package.
    """
    libraries = imports_of(potential, device)
    if libraries and (mode != "aotinductor" or target not in {"ase", "batch"}):
        raise CompileError(
            f"the model uses kernels of {libraries[0]}, which only programs in Python can load, from files of --mode "
            "aotinductor --target ase or batch: leave the modifier out; the built-in kernels run everywhere"
        )


def reason_against(name: str, potential: Potential, device: str | None = None) -> str:
    """Why a modifier cannot do anything for this model on a device (None: what there is here); "" if it can."""
    entry, architecture = KERNELS[name], _ARCHITECTURES[name]
    if not isinstance(potential.architecture, architecture):
        kind = type(potential.architecture).__name__ if potential.architecture is not None else "pair potential"
        return f"it is for {architecture.__name__} models, and this is a model of kind {kind}"
    if entry.make is None:
        return (
            "Allegro's tensor products are computed once per atom here, not once per edge, which leaves nothing for "
            "such a kernel to do"
        )
    missing = [module for module in entry.imports if find_spec(module) is None]
    if missing:
        return f"the module {missing[0]} is not installed (pip install {entry.package})"
    if entry.needs_gpu and device is not None and torch.device(device).type != "cuda":
        return f"it is for GPUs, and this is for {device}"
    if entry.needs_gpu and not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no GPU here"
    return ""


def accelerate(potential: Potential, names: Sequence[str], device: str | None = None) -> Potential:
    """The potential with kernels of other packages where they can run here, checked against its own.

    Where one cannot run, a warning says why and the built-in kernels stay: the numbers are the same.

    Args:
        potential: the model; it is not changed.
        names: modifiers, see acceleration_names.py; the last that can run wins.
        device: what it will run on; None if that is not known yet, as before a training.

    Returns:
        A potential that shares the weights.

    Raises:
        AccelerationError: a kernel gives other energies, forces or gradients than the model, or forces that are not the
            derivative of its energies.
    """
    for name in names:
        reason = reason_against(name, potential, device)
        if reason:
            log.warning("%s has no effect: %s. The built-in kernels are used; they give the same numbers", name, reason)
            continue
        where = "cuda" if KERNELS[name].needs_gpu else "cpu"
        # in double precision, too, where rounding hides nothing
        for dtype in {torch.float64, potential.model_dtype}:
            verify(name, potential, _with_kernels(potential, name, dtype), where, dtype)
        potential = _with_kernels(potential, name, potential.model_dtype)
    return potential


def _with_kernels(potential: Potential, name: str, dtype: torch.dtype) -> Potential:
    make = KERNELS[name].make
    accelerated = _sharing_weights(potential)
    architecture = accelerated.architecture
    if make is None or not isinstance(architecture, NequIP):
        raise TypeError(name)
    try:
        for layer in architecture.interactions:
            layer.external = [
                make(table, channels, dtype) if table.paths else None
                for table, channels in zip(layer.tables, layer.muls, strict=True)
            ]
    except Exception as error:  # whatever another package raises while it builds its code
        raise AccelerationError(
            f"{name}: {KERNELS[name].package} cannot make its kernels for this model: {error}. Leave the modifier out"
        ) from error
    return accelerated


def _sharing_weights(potential: Potential) -> Potential:
    kept = {id(tensor): tensor for tensor in (*potential.parameters(), *potential.buffers())}
    return copy.deepcopy(potential, kept)  # a memo that knows the tensors keeps them


def verify(name: str, potential: Potential, accelerated: Potential, device: str, dtype: torch.dtype) -> None:
    """Compare on rattled crystals of the model's types: energies, forces, gradients by the weights, and differences.

    Args:
        name: the modifier.
        potential: the model.
        accelerated: the same with kernels for weights of ``dtype``.
        device: where to compare.
        dtype: precision to compare in, that of the model or higher.

    Raises:
        AccelerationError: with the quantity, the deviation and what was allowed.
    """
    allowed = _ALLOWED[dtype]
    own, other = (_network(one, device, dtype) for one in (potential, accelerated))
    categories = own.architecture.categories if isinstance(own.architecture, NequIP) else ()
    fields = {category.field: torch.full((1, 1), category.minimum) for category in categories}
    for seed, size in enumerate(_SIZES):
        generator = torch.Generator().manual_seed(seed)
        graph = example_graph(len(potential.type_names), potential.r_max, size, generator)
        graph = replace(graph, graph_fields=fields).to(device)
        wanted, found = _numbers(own, graph), _numbers(other, graph)
        for quantity, expected in wanted.items():
            _require(name, quantity, found[quantity], expected, allowed.same, "the model itself")
        direction = torch.randn(graph.pos.shape, generator=generator, dtype=torch.float64).to(device)
        direction = direction / direction.norm()
        along = -(found["forces"] * direction).sum().view(1)
        slope = _slope(other, graph, direction, allowed.step)
        size_of_forces = float(found["forces"].norm())
        _require(name, "forces", along, slope, allowed.derivative, "the slope of its own energy", size_of_forces)


def _network(potential: Potential, device: str, dtype: torch.dtype) -> Potential:
    """A copy without shifts and pair terms, behind whose size an error of the network would hide.

    Its training steps are not compiled, which would take a minute.
    """
    copied = copy.deepcopy(potential).to(device)
    if dtype != potential.model_dtype:  # up only: geometry is in double precision in any model
        copied = copied.to(dtype)
    copied.scale_shift = copied.pair_potential = copied._compiled = None  # noqa: SLF001 - the copy is ours
    return copied.requires_grad_(requires_grad=True)


def _numbers(potential: Potential, graph: Graph) -> dict[str, Tensor]:
    """Energies and forces, and how a loss of the forces depends on the weights, the second derivative of training."""
    potential.train()
    prediction = potential(graph, derivatives=True)
    forces = prediction.forces
    if forces is None:
        raise TypeError("forces")
    weights = [weight for weight in potential.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(forces.square().sum(), weights, allow_unused=True)
    flat = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, gradients, strict=True)]
    return {
        "energies": prediction.atomic_energy.detach(),
        "forces": forces.detach(),
        "gradients by the weights": torch.cat([gradient.detach().flatten() for gradient in flat]),
    }


def _slope(potential: Potential, graph: Graph, direction: Tensor, step: float) -> Tensor:
    potential.eval()
    energies = [
        potential(replace(graph, pos=graph.pos + sign * step * direction), derivatives=False).total_energy.sum()
        for sign in (1.0, -1.0)
    ]
    return ((energies[0] - energies[1]) / (2.0 * step)).detach().view(1)


def _require(
    name: str, quantity: str, found: Tensor, expected: Tensor, allowed: float, than: str, scale: float | None = None
) -> None:
    scale = float(expected.abs().max()) if scale is None else scale
    deviation = float((found - expected).abs().max())
    if not deviation <= allowed * scale:
        raise AccelerationError(
            f"{name} is wrong for this model here: its {quantity} deviate by {deviation:.2e} from {than}, more than "
            f"{allowed * scale:.2e}. Leave the modifier out; the built-in kernels need none. Report it to "
            f"{KERNELS[name].package or 'us'}"
        )

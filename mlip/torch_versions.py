"""What differs between the versions of torch that are supported, 2.6 to the newest; nothing else asks for a version.

``ci/torch-versions`` runs the tests with several of them.
"""

from __future__ import annotations

import contextlib
import fnmatch
import inspect
import json
import zipfile
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# of the quintic iteration, from the authors' description of Muon
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_SMALLEST_NORM = 1e-7


def known_size(number: Any, at_least: int) -> None:
    """Say to a recording that a number read from data is a size; an ordinary number is only compared.

    Until 2.7 a recorded graph must hold that as an operation: what ``torch._check`` learns is lost when it is recorded
    again.
    """
    torch._check(number >= at_least)
    if isinstance(number, int):
        return
    from torch.fx.experimental import symbolic_shapes

    if not hasattr(symbolic_shapes, "guard_or_false"):
        torch.ops.aten.sym_constrain_range_for_size(number, min=at_least)


def module_without_guards(exported: ExportedProgram) -> torch.nn.Module:
    """The module of an exported program, without checks of its inputs at every call, which torch adds since 2.9."""
    if "check_guards" in inspect.signature(exported.module).parameters:
        return exported.module(check_guards=False)
    return exported.module()


def package_metadata(path: str) -> dict[str, str]:
    """The metadata of the program "model" in a file of AOTInductor; nothing of the file is loaded.

    Raises:
        Exception: of any kind, when the file is damaged.
    """
    loader: Any = torch._C._aoti.AOTIModelPackageLoader  # noqa: SLF001 - torch has no public way
    if hasattr(loader, "load_metadata_from_package"):
        return dict(loader.load_metadata_from_package(path, "model"))
    with zipfile.ZipFile(path) as archive:
        (name,) = fnmatch.filter(archive.namelist(), "*aotinductor/model/*_metadata.json")
        return dict(json.loads(archive.read(name)))


def package_loader(path: str, name: str, device_index: int) -> Any:
    """One program of a file of AOTInductor, ready to ``run``.

    Args:
        path: the file.
        name: of the program.
        device_index: which GPU, -1 for the present one; older versions of torch know the present one only.

    Raises:
        Exception: of any kind, when the file does not fit this machine or this torch.
    """
    loader: Any = torch._C._aoti.AOTIModelPackageLoader  # noqa: SLF001 - torch has no public way
    run_single_threaded, num_runners = False, 1
    for further in ((run_single_threaded, num_runners, device_index), (run_single_threaded,), ()):
        with contextlib.suppress(TypeError):  # more parameters than this version has
            return loader(path, name, *further)
    raise TypeError(f"torch {torch.__version__} opens files of AOTInductor in a way that is not known here")


def muon_optimizer() -> Callable[..., Optimizer]:
    """``torch.optim.Muon``, which torch has since 2.9, or for older ones the same steps."""
    found: Callable[..., Optimizer] = getattr(torch.optim, "Muon", PlainMuon)
    return found


class PlainMuon(Optimizer):
    """Muon: steps along the nearest semi-orthogonal matrix to the momentum (K. Jordan et al., 2024).

    Args:
        params: matrices, or groups of them.
        lr: learning rate; of tall matrices times the root of rows / columns.
        weight_decay: decoupled, as AdamW has it.
        momentum: of the gradient's average, in Nesterov's form.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        if any(parameter.ndim != 2 for group in self.param_groups for parameter in group["params"]):
            raise ValueError("Muon is for matrices only")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient, memory_format=torch.preserve_format)
        average = state["momentum_buffer"]
        average.lerp_(gradient, 1.0 - momentum)
        direction = semi_orthogonal(gradient.lerp(average, momentum))
        rows, columns = parameter.shape
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        parameter.add_(direction, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def semi_orthogonal(matrix: Tensor) -> Tensor:
    """``U V^T`` of a matrix ``U S V^T``, roughly: singular values end between some 0.7 and 1.2; in bfloat16."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    wide = (matrix.mT if is_tall else matrix).bfloat16()
    wide = wide / wide.norm().clamp(min=_SMALLEST_NORM)
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = wide @ wide.mT
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if is_tall else wide

"""A potential becomes a file that runs without Python or the training code, checked against the potential itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from mlip.deploy.acceleration import imports_of, require_loadable
from mlip.deploy.aotinductor import CompilerSettings, write_package
from mlip.deploy.check import check_compiled
from mlip.deploy.compile_cache import CompileCache
from mlip.deploy.errors import CompileError
from mlip.deploy.gpu_memory import measure_memory, store_memory
from mlip.deploy.load import ModelFileError
from mlip.deploy.metadata import ModelMetadata
from mlip.deploy.parallel import compile_programs
from mlip.deploy.programs import model_program, stage_programs
from mlip.deploy.tabulate import tabulated
from mlip.deploy.targets import Target
from mlip.deploy.torchscript import compile_torchscript
from mlip.models import Potential
from mlip.models.nequip import NequIP

SUFFIXES = {"torchscript": ".nequip.pth", "aotinductor": ".nequip.pt2"}


def compile_potential(
    potential: Potential,
    output: Path,
    *,
    mode: str,
    device: str,
    target: Target,
    threads: int = 1,
    allow_tf32: bool = False,
    inductor_configs: Mapping[str, Any] | None = None,
    stages: bool | None = None,
    table_tolerance: float | None = None,
    source: str = "",
    use_cache: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> float:
    """Compile, write and check a potential.

    Args:
        potential: what to compile.
        output: where to write; a file that is there is replaced only by one that passed the check.
        mode: "aotinductor" or "torchscript".
        device: device to compile for, e.g. "cpu" or "cuda".
        target: the program that will call it.
        threads: threads per process on the CPU: 1 for MPI ranks.
        allow_tf32: let matrix products on NVIDIA GPUs use TF32.
        inductor_configs: further settings for AOTInductor.
        stages: whether the file also holds the model in pieces, see stages.py; None for where LAMMPS can use them.
        table_tolerance: largest relative error of the tables that stand for the two-body part of the model, zero for
            none; None for the default of its precision, see tabulate.py.
        source: where the weights come from, stored for the record.
        use_cache: take the file from the cache where the same model was compiled before, see compile_cache.py.
        progress: called with a word at the start of each stage.

    Returns:
        The largest deviation from the potential itself over all outputs of the check, in eV, eV/Å or eV/Å^3.

    Raises:
        CompileError: the target does not suit the model, the device is missing, or the check failed.
    """
    _refuse_unsuited(potential, target)
    in_pieces = target.ghost_types and potential.num_layers > 1
    if stages and not in_pieces:
        raise CompileError("only models of several layers that pass messages come in pieces, for --target pair_nequip")
    if not output.name.endswith(SUFFIXES[mode]):
        raise CompileError(f"the output of mode {mode} must end with {SUFFIXES[mode]}, got {output.name}")
    _check_device(device)
    require_loadable(potential, device, mode, target.name)
    if mode == "torchscript" and inductor_configs:
        raise CompileError("--inductor-configs and --constant-fold are for --mode aotinductor only")
    if not output.parent.is_dir():
        raise CompileError(f"there is no folder {output.parent}")
    job = _Job(
        potential.to(device).eval().requires_grad_(False),
        target,
        mode,
        device,
        threads=threads,
        allow_tf32=allow_tf32,
        inductor_configs=dict(inductor_configs or {}),
        stages=in_pieces if stages is None else stages,
        table_tolerance=table_tolerance,
        source=source,
        progress=progress,
    )
    unchecked = output.with_name(f".unchecked-{os.getpid()}-{output.name}")
    try:
        deviation = job.cached(unchecked) if use_cache else job.made(unchecked)
        with unchecked.open("rb") as written:
            os.fsync(written.fileno())
        unchecked.replace(output)
    finally:
        unchecked.unlink(missing_ok=True)
    return deviation


@dataclass(frozen=True)
class _Job:
    """What to compile, and how; see :func:`compile_potential`."""

    potential: Potential
    target: Target
    mode: str
    device: str
    threads: int
    allow_tf32: bool
    inductor_configs: dict[str, Any]
    stages: bool
    table_tolerance: float | None
    source: str
    progress: Callable[[str], None]

    def cached(self, path: Path) -> float:
        """A checked file from the cache, or made and kept there; the largest deviation."""
        if imports_of(self.potential, self.device):  # kernels that depend on more than what is known here
            return self.made(path)
        options = {f.name: repr(getattr(self, f.name)) for f in fields(self) if f.name not in ("potential", "progress")}
        cache = CompileCache(self.potential, options, self.device, SUFFIXES[self.mode])
        if cache.take(path):
            try:
                return self.checked(path)
            except (CompileError, ModelFileError):
                cache.forget()  # damaged
        deviation = self.made(path)
        cache.keep(path)
        return deviation

    def made(self, path: Path) -> float:
        """Compile and check; the largest deviation."""
        self.progress("compiling")
        with tabulated(self.potential, self.table_tolerance) as tables:
            self._write(path, {} if tables is None else asdict(tables))
        deviation = self.checked(path)
        if torch.device(self.device).type == "cuda":
            self.progress("measuring memory of")
            store_memory(path, measure_memory(path, self.device))
        return deviation

    def checked(self, path: Path) -> float:
        """The largest deviation from the potential itself."""
        self.progress("checking")
        return check_compiled(
            self.potential, path, self.target, self.device, stages=self.stages, allow_tf32=self.allow_tf32
        )

    def _write(self, path: Path, tables: dict[str, Any]) -> None:
        metadata = ModelMetadata.of(
            self.potential,
            self.target,
            self.device,
            allow_tf32=self.allow_tf32,
            threads=self.threads if self.mode == "aotinductor" else 0,
            source=self.source,
            stages=self.stages,
            two_body_tables=tables,
        ).to_strings()
        programs = {"model": model_program(self.potential, self.target, self.device)}
        if self.stages:
            programs |= stage_programs(self.potential, self.device)
        if self.mode == "aotinductor":
            settings = CompilerSettings(metadata, self.threads, self.inductor_configs, self.table_tolerance)
            write_package(compile_programs(programs, self.potential, self.device, settings), path)
        else:
            compile_torchscript(programs, metadata, path)


def _refuse_unsuited(potential: Potential, target: Target) -> None:
    if target.suited_to_ghosts and isinstance(potential.architecture, NequIP):
        raise CompileError(
            f"--target {target.name} needs a strictly local model, but NequIP passes messages between atoms; "
            "use --target pair_nequip"
        )
    if isinstance(potential.architecture, NequIP) and potential.architecture.categories:
        names = ", ".join(category.field for category in potential.architecture.categories)
        raise CompileError(f"the model embeds a number of each frame ({names}), which compiled models cannot be given")


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise CompileError(f"unknown device {device!r}: use cpu or cuda") from error
    if kind not in ("cpu", "cuda"):
        raise CompileError(f"models are compiled for cpu or cuda (cuda also for AMD GPUs), not {kind}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise CompileError(
            f"device {device!r} was asked for, but torch {torch.__version__} finds no GPU here: compile on a machine "
            "with the GPU the model will run on, or use --device cpu"
        )


def _is_inductor_setting(key: str) -> bool:
    return key in torch._inductor.config.get_config_copy()


def inductor_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``key=value`` words as settings, numbers and truth values recognised.

    Raises:
        CompileError: not of that form, or a key that is set by other means.
    """
    words: dict[str, Any] = {"true": True, "false": False, "none": None}
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise CompileError(f"--inductor-configs takes key=value, got {pair!r}")
        if key in ("aot_inductor.metadata", "aot_inductor.output_path"):
            raise CompileError(f"--inductor-configs: {key} is set by nequip-compile itself")
        if not _is_inductor_setting(key):
            raise CompileError(f"--inductor-configs: torch {torch.__version__} has no setting {key!r}")
        if value.lower() in words:
            settings[key] = words[value.lower()]
        else:
            settings[key] = int(value) if value.lstrip("-").isdigit() else value
    return settings

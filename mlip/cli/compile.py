"""``nequip-compile``: a trained model becomes a file for LAMMPS, ASE or torch-sim."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """The options of ``nequip-compile``."""
    p = argparse.ArgumentParser(
        prog="nequip-compile",
        description="Compile a trained model ahead of time. The training data are not needed.",
        epilog="example: nequip-compile best.ckpt cu.nequip.pt2 --mode aotinductor --device cpu --target pair_allegro",
    )
    p.add_argument(
        "input_path",
        nargs="?",
        metavar="MODEL",
        help="checkpoint (.ckpt), package (.nequip.zip) or nequip.net:GROUP/NAME:VERSION",
    )
    p.add_argument("output_path", nargs="?", help="ends with .nequip.pt2 (aotinductor) or .nequip.pth (torchscript)")
    p.add_argument("--input-path", dest="named_input", metavar="MODEL", help="MODEL by name, as in 2025")
    p.add_argument("--output-path", dest="named_output", metavar="OUTPUT", help="output_path by name, as in 2025")
    p.add_argument("--mode", required=True, choices=["aotinductor", "torchscript"])
    p.add_argument("--device", required=True, help="cpu or cuda (cuda also for AMD GPUs)")
    p.add_argument("--target", help="ase, batch (torch-sim), pair_nequip or pair_allegro (LAMMPS)")
    p.add_argument("--input-fields", nargs="+", metavar="FIELD", help="instead of --target: the inputs in order")
    p.add_argument("--output-fields", nargs="+", metavar="FIELD", help="instead of --target: the outputs in order")
    p.add_argument("--model", default="sole_model", help="which model of the file (default: %(default)s)")
    p.add_argument(
        "--modifiers", nargs="+", default=[], metavar="NAME", help="changes to the model, see nequip-package"
    )
    p.add_argument(
        "--threads", type=int, default=1, help="CPU threads per process the code is made for (default: 1, for MPI)"
    )
    p.add_argument("--tf32", action=argparse.BooleanOptionalAction, default=False, help="TF32 on NVIDIA GPUs")
    p.add_argument(
        "--stages",
        action=argparse.BooleanOptionalAction,
        help="also store NequIP layer by layer, for LAMMPS on several processes (default: with --target pair_nequip)",
    )
    p.add_argument("--inductor-configs", nargs="+", default=[], metavar="KEY=VALUE", help="settings for AOTInductor")
    p.add_argument(
        "--constant-fold",
        action="store_true",
        help="compute what depends on the weights alone once, when the model is loaded",
    )
    p.add_argument(
        "--table-tolerance",
        type=float,
        metavar="ERROR",
        help="relative error allowed to tables of what depends on a distance and two types alone; 0 for no tables "
        "(default: 1e-6 in float32 models, 0 in float64 ones)",
    )
    p.add_argument(
        "--cache",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take the file from the cache where the same was compiled before (default: yes)",
    )
    for option, example in _UNNEEDED.items():
        p.add_argument(f"--{option}", metavar=example, help="accepted and not needed: compiled here for any sizes")
    return p


# What the NequIP framework traces a model with; a model is traced here with sizes of its own, and the file takes all.
_UNNEEDED = {"data-path": "FILE", "num-frames": "MIN,MAX", "num-nodes": "MIN,MAX", "num-edges": "MIN,MAX"}


def _paths(p: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Take input and output from wherever they were given."""
    given = [path for path in (options.input_path, options.output_path) if path is not None]
    for name in ("input", "output"):
        named = getattr(options, f"named_{name}")
        path = named if named is not None else (given.pop(0) if given else None)
        if path is None:
            p.error(f"the {name} is missing: nequip-compile MODEL OUTPUT --mode ... --device ...")
        setattr(options, f"{name}_path", path)
    if given:
        p.error(f"{given[0]}: MODEL and OUTPUT were given already, by --input-path or --output-path")


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when the model cannot be compiled."""
    p = parser()
    options = p.parse_args(args)
    _paths(p, options)
    for option in _UNNEEDED:
        if getattr(options, option.replace("-", "_")) is not None:
            print(f"nequip-compile: note: --{option} is not needed here, the file takes any size", file=sys.stderr)

    from mlip.config.errors import ConfigError
    from mlip.deploy.errors import CompileError, StoredModelError
    from mlip.deploy.targets import TargetError

    try:
        _run(options)
    except (CompileError, ConfigError, StoredModelError, TargetError) as error:
        sys.exit(f"nequip-compile: {error}")


def _run(options: argparse.Namespace) -> None:
    import math
    import time
    import warnings
    from pathlib import Path

    from rich.console import Console

    from mlip.deploy.compile import SUFFIXES, compile_potential, inductor_settings
    from mlip.deploy.errors import CompileError
    from mlip.deploy.model_source import load_model, source_name
    from mlip.deploy.targets import resolve_target
    from mlip.training.finetuning import apply_modifiers

    target = resolve_target(options.target, options.input_fields, options.output_fields)
    source, output = source_name(options.input_path), Path(options.output_path)
    if not output.name.endswith(SUFFIXES[options.mode]):
        raise CompileError(f"the output of --mode {options.mode} must end with {SUFFIXES[options.mode]}: {output}")
    if options.threads < 1:
        raise CompileError(f"--threads must be at least 1, got {options.threads}")
    if options.table_tolerance is not None and not 0.0 <= options.table_tolerance < 1.0:
        raise CompileError(f"--table-tolerance must be at least 0 and below 1, got {options.table_tolerance}")
    settings = inductor_settings(options.inductor_configs)
    if options.constant_fold:
        settings["aot_inductor.use_runtime_constant_folding"] = True
    for message in (".*treespec.*", ".*instance-level annotations.*", ".*torch.jit.*deprecated.*"):  # torch knows
        warnings.filterwarnings("ignore", message=message)
    console = Console(stderr=True)
    started = time.monotonic()
    with console.status("loading") as status:
        potential = load_model(options.input_path, options.model)
        potential = apply_modifiers(potential, [{"modifier": name} for name in options.modifiers], options.device)
        deviation = compile_potential(
            potential,
            output,
            mode=options.mode,
            device=options.device,
            target=target,
            threads=options.threads,
            allow_tf32=options.tf32,
            inductor_configs=settings,
            stages=options.stages,
            table_tolerance=options.table_tolerance,
            source=source,
            use_cache=options.cache,
            progress=lambda stage: status.update(f"{stage} {source} for {target.name}"),
        )
    seconds = time.monotonic() - started
    checked = "unchecked" if math.isnan(deviation) else f"equal to the model within {deviation:.0e}"
    print(f"{output}: {options.mode}, {options.device}, target {target.name}, {checked}, {seconds:.0f} s")


if __name__ == "__main__":
    main()

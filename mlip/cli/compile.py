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
        "input_path", metavar="MODEL", help="checkpoint (.ckpt), package (.nequip.zip) or nequip.net:GROUP/NAME:VERSION"
    )
    p.add_argument("output_path", help="ends with .nequip.pt2 (aotinductor) or .nequip.pth (torchscript)")
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
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when the model cannot be compiled."""
    options = parser().parse_args(args)

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
    settings = inductor_settings(options.inductor_configs)
    if options.constant_fold:
        settings["aot_inductor.use_runtime_constant_folding"] = True
    for message in (".*treespec.*", ".*instance-level annotations.*", ".*torch.jit.*deprecated.*"):  # torch knows
        warnings.filterwarnings("ignore", message=message)
    console = Console(stderr=True)
    started = time.monotonic()
    with console.status("loading") as status:
        potential = load_model(options.input_path, options.model)
        potential = apply_modifiers(potential, [{"modifier": name} for name in options.modifiers])
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
            source=source,
            progress=lambda stage: status.update(f"{stage} {source} for {target.name}"),
        )
    seconds = time.monotonic() - started
    checked = "unchecked" if math.isnan(deviation) else f"equal to the model within {deviation:.0e}"
    print(f"{output}: {options.mode}, {options.device}, target {target.name}, {checked}, {seconds:.0f} s")


if __name__ == "__main__":
    main()

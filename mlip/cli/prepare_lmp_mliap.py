"""``nequip-prepare-lmp-mliap``: a trained model becomes a file for ``pair_style mliap unified`` of LAMMPS."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """The options of ``nequip-prepare-lmp-mliap``."""
    p = argparse.ArgumentParser(
        prog="nequip-prepare-lmp-mliap",
        description="Prepare a trained model for ML-IAP, LAMMPS' interface to Python (docs/mliap.md). Where the pair "
        "styles nequip and allegro are available, nequip-compile makes faster files for those.",
        epilog="example: nequip-prepare-lmp-mliap best.ckpt cu.nequip.lmp.pt",
    )
    p.add_argument(
        "input_path", metavar="MODEL", help="checkpoint (.ckpt), package (.nequip.zip) or nequip.net:GROUP/NAME:VERSION"
    )
    p.add_argument("output_path", help="ends with .nequip.lmp.pt")
    p.add_argument("--model", default="sole_model", help="which model of the file (default: %(default)s)")
    p.add_argument(
        "--modifiers", nargs="+", default=[], metavar="NAME", help="changes to the model, see nequip-package"
    )
    p.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="let LAMMPS compile the model in its first step, for speed: about a minute, seconds when it was compiled "
        "there before; needs a C++ compiler where LAMMPS runs (default: --compile)",
    )
    p.add_argument("--tf32", action=argparse.BooleanOptionalAction, default=False, help="TF32 on NVIDIA GPUs")
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when the model cannot be prepared."""
    options = parser().parse_args(args)

    from mlip.config.errors import ConfigError
    from mlip.deploy.errors import StoredModelError
    from mlip.integrations.lammps_mliap import MLIAPError

    try:
        _run(options)
    except (ConfigError, StoredModelError, MLIAPError) as error:
        sys.exit(f"nequip-prepare-lmp-mliap: {error}")


def _run(options: argparse.Namespace) -> None:
    from pathlib import Path

    from mlip.deploy.model_source import load_model, source_name
    from mlip.integrations.lammps_mliap import SUFFIX, MLIAPError, write_mliap_file
    from mlip.training.finetuning import apply_modifiers

    source, output = options.input_path, Path(options.output_path)
    if not output.name.endswith(SUFFIX):  # before a large checkpoint is read
        raise MLIAPError(f"the output must end with {SUFFIX}, got {output.name}")
    changes = [{"modifier": name} for name in options.modifiers]
    potential = apply_modifiers(load_model(source, options.model), changes)
    write_mliap_file(potential, output, compiled=options.compile, allow_tf32=options.tf32, source=source_name(source))
    names = " ".join(potential.type_names)
    print(f"{output}: for pair_style mliap unified {output.name} 0 and pair_coeff * * with names among {names}")


if __name__ == "__main__":
    main()

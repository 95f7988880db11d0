"""``mlip export-reference``: a trained model becomes a file that the NequIP framework's own calculator loads."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SUFFIX = ".nequip.pt2"
# what NequIPCalculator.from_compiled_model of the framework asks a file for
CONTRACT = (
    "r_max",
    "type_names",
    "num_types",
    "model_dtype",
    "allow_tf32",
    "nequip_aoti_inputs",
    "nequip_aoti_outputs",
)


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip export-reference``."""
    p = argparse.ArgumentParser(
        prog="mlip export-reference",
        description="Compile a model for NequIPCalculator of the NequIP framework (nequip 0.17 or newer), which reads "
        "it without mlip. The torch of that environment must be of the same version as the one here. The file is that "
        "of nequip-compile --mode aotinductor --target ase, and runs in mlip's calculator, too.",
        epilog="example: mlip export-reference best.ckpt cu.nequip.pt2",
    )
    p.add_argument("input_path", metavar="MODEL", help="checkpoint (.ckpt) or package (.nequip.zip)")
    p.add_argument("output_path", type=Path, help=f"ends with {SUFFIX}")
    p.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    p.add_argument("--model", default="sole_model", help="which model of the file (default: %(default)s)")
    p.add_argument("--threads", type=int, default=1, help="CPU threads the code is made for (default: %(default)s)")
    p.add_argument("--tf32", action=argparse.BooleanOptionalAction, default=False, help="TF32 on NVIDIA GPUs")
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when the model cannot be exported."""
    options = parser().parse_args(args)

    from mlip.deploy.errors import CompileError, StoredModelError

    try:
        _run(options)
    except (CompileError, StoredModelError) as error:
        sys.exit(f"mlip export-reference: {error}")


def _run(options: argparse.Namespace) -> None:
    import warnings

    import torch
    from rich.console import Console

    from mlip.deploy.compile import compile_potential
    from mlip.deploy.errors import CompileError
    from mlip.deploy.load import load_compiled
    from mlip.deploy.model_source import load_model, source_name
    from mlip.deploy.targets import TARGETS

    output: Path = options.output_path
    if not output.name.endswith(SUFFIX):
        raise CompileError(f"the output must end with {SUFFIX}, got {output.name}")
    if options.threads < 1:
        raise CompileError(f"--threads must be at least 1, got {options.threads}")
    warnings.filterwarnings("ignore", message=".*treespec.*|.*instance-level annotations.*")
    console, target = Console(stderr=True), TARGETS["ase"]
    with console.status("loading") as status:
        potential = load_model(options.input_path, options.model)
        compile_potential(
            potential,
            output,
            mode="aotinductor",
            device=options.device,
            target=target,
            threads=options.threads,
            allow_tf32=options.tf32,
            source=source_name(options.input_path),
            progress=lambda stage: status.update(f"{stage} {output.name}"),
        )
        check_contract(load_compiled(output, options.device).metadata.to_strings(), target.inputs, target.outputs)
    names = " ".join(potential.type_names)
    print(f"{output}: for NequIPCalculator.from_compiled_model with torch {torch.__version__}, types {names}")


def check_contract(strings: Mapping[str, str], inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Refuse a file whose metadata are not those the reference's calculator relies on.

    Args:
        strings: the metadata.
        inputs: field names the calculator gives, in order.
        outputs: field names it takes, in order.

    Raises:
        CompileError: a key is missing, or the fields are others.
    """
    from mlip.deploy.errors import CompileError

    missing = [key for key in CONTRACT if key not in strings]
    if missing:
        raise CompileError(f"the compiled file lacks {', '.join(missing)}, which the NequIP framework asks for")
    for key, expected in (("nequip_aoti_inputs", inputs), ("nequip_aoti_outputs", outputs)):
        if strings[key].split() != list(expected):
            raise CompileError(f"the compiled file has {key} {strings[key]!r} instead of {' '.join(expected)!r}")


if __name__ == "__main__":
    main()

"""``mlip import``: a model of the NequIP framework becomes a file of ours."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip import``."""
    p = argparse.ArgumentParser(
        prog="mlip import",
        description="Convert a checkpoint or package of the NequIP framework (nequip 0.7 or newer, nequip-allegro 0.5 "
        "or newer). Nothing of it is run, and the framework need not be installed. nequip-compile and the other "
        "commands take such files directly, too.",
        epilog="example: mlip import theirs.nequip.zip ours.nequip.zip",
    )
    p.add_argument("input_path", type=Path, help="their checkpoint (.ckpt) or package (.nequip.zip)")
    p.add_argument("output_path", type=Path, help="ours: .nequip.zip or .ckpt")
    p.add_argument("--model", default="sole_model", help="which model of a file with several (default: %(default)s)")
    p.add_argument(
        "--base",
        type=Path,
        metavar="FILE",
        help="for a model that was trained further from another file: that file, if it is no longer where it was",
    )
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when the model cannot be imported."""
    options = parser().parse_args(args)

    from mlip.deploy.errors import StoredModelError

    try:
        _run(options)
    except StoredModelError as error:
        sys.exit(f"mlip import: {error}")


def _run(options: argparse.Namespace) -> None:
    from mlip.deploy.container import FileKind, kind_of
    from mlip.deploy.errors import StoredModelError
    from mlip.deploy.package import SUFFIX, write_package
    from mlip.deploy.reference_import import reference_package, write_as_checkpoint

    source, output = options.input_path, options.output_path
    if not output.name.endswith((SUFFIX, ".ckpt")):  # before a large file is read
        raise StoredModelError(f"the output must end with {SUFFIX} or .ckpt, got {output.name}")
    if output.exists() and source.exists() and output.samefile(source):
        raise StoredModelError(f"{output} is the input: give another name, so that nothing is lost")
    if source.is_file() and kind_of(source) in {FileKind.CHECKPOINT, FileKind.PACKAGE}:
        raise StoredModelError(f"{source} is a file of mlip already; there is nothing to import")
    package = reference_package(source, options.model, options.base)
    if output.name.endswith(SUFFIX):
        write_package(package, output)
    else:
        write_as_checkpoint(package, output)
    count = sum(tensor.numel() for tensor in package.weights.values())
    name = str(package.model["_target_"]).rpartition(".")[2]
    print(
        f"{output}: {name}, {package.model_dtype}, types {' '.join(package.type_names)}, r_max {package.r_max:g} Å, "
        f"{count} weights"
    )


if __name__ == "__main__":
    main()

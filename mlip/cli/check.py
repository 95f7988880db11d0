"""``mlip check``: look for mistakes in whatever file it is, with the command that knows such files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

_MODELS = (".ckpt", ".zip", ".pt2", ".pth", ".lmp.pt")
_CONFIGS = (".yaml", ".yml")


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip check``."""
    p = argparse.ArgumentParser(
        prog="mlip check",
        description="Check a training config (as nequip-train --check), a model file (as mlip doctor MODEL) or data "
        "files (as mlip data check). The suffix says which it is.",
        epilog="examples: mlip check config.yaml; mlip check model.nequip.pt2; mlip check train.xyz val.xyz",
    )
    p.add_argument("file", metavar="FILE")
    p.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="further files, or options of that command")
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits as the command that does the work."""
    options = parser().parse_args(args)
    words = [options.file, *options.rest]
    name = Path(options.file).name
    if name.endswith(_CONFIGS):
        from mlip.cli import train

        train.main([*words, "--check"])
    elif name.endswith(_MODELS):
        from mlip.cli import doctor

        doctor.main(words)
    else:
        from mlip.cli import data

        data.main(["check", *words])


if __name__ == "__main__":
    main()

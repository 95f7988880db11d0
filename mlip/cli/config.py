"""``mlip config``: what the keys and names of training configs mean, and whether a config is valid."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip config``."""
    p = argparse.ArgumentParser(prog="mlip config", description="Explain and check training configs.")
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    explain = commands.add_parser(
        "explain",
        help="the parameters of a key or name",
        description="Print the parameters of a _target_ (nequip.train.EMALightningModule), or what a key "
        "(trainer.max_epochs, training_module.model.l_max, r_max) means: one line each, with type and default.",
        epilog="example: mlip config explain nequip.train.callbacks.SoftAdapt",
    )
    explain.add_argument("words", nargs="*", metavar="KEY|TARGET")
    explain.add_argument("--markdown", action="store_true", help="print the reference page of all names")
    check = commands.add_parser(
        "check",
        help="check a config, as nequip-train --check",
        description="The same as nequip-train --check.",
    )
    check.add_argument("arguments", nargs=argparse.REMAINDER, metavar="CONFIG [key=value ...]")
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when there is nothing of a name."""
    options = parser().parse_args(args)
    if options.command == "check":
        from mlip.cli import train

        train.main([*options.arguments, "--check"])
        return
    from mlip.config.describe import explain, markdown
    from mlip.config.errors import ConfigError

    if options.markdown:
        print(markdown(), end="")
        return
    if not options.words:
        parser().error("name a key or a _target_")
    try:
        lines = [line for word in options.words for line in explain(word)]
    except ConfigError as error:
        print(f"mlip config: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - flushed at exit


if __name__ == "__main__":
    main()

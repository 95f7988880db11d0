"""``mlip``: one command with subcommands, each in a module that is loaded when it is used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec

# name -> (module with main(args), one line of help). The module is imported when its command is called, so that
# `mlip --help` is instant; one that is not installed is left out of the list.
COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("mlip.cli.train", "train a potential from a config (nequip-train)"),
    "compile": ("mlip.cli.compile", "make a file for LAMMPS, ASE or torch-sim of a model (nequip-compile)"),
    "relax": ("mlip.cli.relax", "relax a structure with a model"),
    "md": ("mlip.cli.md", "run molecular dynamics of a structure with a model"),
    "check": ("mlip.cli.check", "look for mistakes in a config, a model file or data files"),
    "data": ("mlip.cli.data", "convert and check data files"),
    "config": ("mlip.cli.config", "explain and check training configs"),
    "package": ("mlip.cli.package", "make packages of models, look into them and change them (nequip-package)"),
    "import": ("mlip.cli.import_", "convert checkpoints and packages of the NequIP framework"),
    "export-reference": ("mlip.cli.export_reference", "write a model file for the NequIP framework's calculator"),
    "doctor": ("mlip.cli.doctor", "check that Python, torch, MPI, GPU libraries and LAMMPS belong together"),
    "job": ("mlip.cli.job", "job scripts for clusters: Frontier, Perlmutter, LUMI, any with Slurm"),
    "report": ("mlip.cli.report", "the errors, learning curves and worst frames of a training run on one page"),
    "plot": ("mlip.cli.plot", "figures of models and simulations: dimers, equation of state, parity, rdf, drift"),
    "stack": ("mlip.cli.stack", "versions that fit each other, and images made of them"),
    "completion": ("mlip.cli.completion", "let the shell complete these commands"),
}
EXIT_CODES = """\
exit status: 0 done; 1 a file, config or model cannot be used, and a sentence says why; 2 wrong options;
3 the work ended without what was asked (a relaxation that did not converge); 130 interrupted
"""


def available() -> dict[str, tuple[str, str]]:
    """The subcommands that are there."""
    return {name: entry for name, entry in COMMANDS.items() if find_spec(entry[0]) is not None}


def usage() -> str:
    """What ``mlip --help`` prints."""
    commands = available()
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {about}" for name, (_, about) in commands.items()]
    return "\n".join(
        [
            "usage: mlip COMMAND ...",
            "",
            "Machine-learned interatomic potentials: train, compile, run, look.",
            "",
            *lines,
            "",
            "mlip COMMAND --help says more; mlip completion bash|zsh|fish is for the tab key.",
            EXIT_CODES,
        ]
    )


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; ``args`` are the command line's by default. Exits with status 2 on an unknown command."""
    arguments = list(sys.argv[1:] if args is None else args)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage(), end="")
        raise SystemExit(0 if arguments else 2)
    name, *rest = arguments
    if name == "--version":
        from importlib.metadata import version

        print(f"mlip {version('mlip')}")
        return
    commands = available()
    if name not in commands:
        near = get_close_matches(name, commands, n=1)
        hint = f" (did you mean {near[0]}?)" if near else f"; there is {', '.join(commands)}"
        print(f"mlip: no such command: {name}{hint}", file=sys.stderr)
        raise SystemExit(2)
    importlib.import_module(commands[name][0]).main(rest)


if __name__ == "__main__":
    main()

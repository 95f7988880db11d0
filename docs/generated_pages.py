"""The parts of the reference that are made from the code whenever the site is built, as Markdown.

A page has ``<!-- generated: NAME -->`` where the block of that name in ``BLOCKS`` goes. So the reference follows the
code without a step that could be forgotten; ``docs/reference/configs.md`` alone is kept as a file, to be read without
the site.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Commands with a name of their own; those of `mlip` are asked for.
PROGRAMS = {
    "nequip-train": "mlip.cli.train",
    "nequip-compile": "mlip.cli.compile",
    "nequip-package": "mlip.cli.package",
    "nequip-prepare-lmp-mliap": "mlip.cli.prepare_lmp_mliap",
}


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Every command that has an argument parser, by what a user types: ``nequip-compile``, ``mlip data``, ..."""
    from mlip.cli.main import available

    modules = PROGRAMS | {f"mlip {name}": module for name, (module, _) in available().items()}
    loaded = {command: importlib.import_module(module) for command, module in modules.items()}
    return {command: module.parser() for command, module in loaded.items() if hasattr(module, "parser")}


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a command's subcommands."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    return {name: sub for group in groups for name, sub in group.choices.items()}


def commands() -> str:
    """What ``--help`` of every command says."""
    from mlip.cli.main import available, usage
    from mlip.cli.train import USAGE, shipped_configs

    os.environ["COLUMNS"] = "110"  # argparse wraps at the terminal's width
    texts = {"nequip-train": USAGE.format(shipped=", ".join(shipped_configs())), "mlip": usage()}
    parts = [_help(command, text, 2) for command, text in texts.items()]
    twins = [(f"mlip {name}", twin) for name in available() if (twin := _twin(f"mlip {name}"))]
    parts += [table(("command", "is"), [(code(command), f"[{twin}](#{twin})") for command, twin in twins])]
    for command, parser in parsers().items():
        if command not in dict(twins):
            parts.append(_help(command, parser.format_help(), 2))
            parts += [_help(f"{command} {name}", sub.format_help(), 3) for name, sub in subcommands(parser).items()]
    return "\n".join(parts)


def _twin(command: str) -> str | None:
    """The command of its own name that a subcommand of ``mlip`` is."""
    from mlip.cli.main import COMMANDS

    module = COMMANDS[command.removeprefix("mlip ")][0]
    return next((name for name, other in PROGRAMS.items() if other == module), None)


def _help(title: str, text: str, level: int) -> str:
    return f"{'#' * level} {title}\n\n```text\n{text.rstrip()}\n```\n"


def make_targets() -> str:
    """The tasks of the Makefile, as ``make help`` lists them."""
    rows = re.findall(r"(?m)^([a-z][\w-]*):.*?## (.*)$", (ROOT / "Makefile").read_text())
    return table(("task", "what it does"), [(f"`make {name}`", about) for name, about in rows])


def registered_styles() -> dict[str, tuple[str, Path]]:
    """Name -> kind and header of every style that the sources of the plugin register."""
    return {
        name if kind == "Pair" else f"compute {name}": (kind.lower(), path)
        for path in sorted((ROOT / "lammps/src").rglob("*.h"))
        for kind, name in re.findall(r"(?m)^(Pair|Compute)Style\(([\w/]+),", path.read_text())
    }


def option_values() -> dict[str, list[str]]:
    """Option of a pair style -> its values, default first, as the styles' own messages list them."""
    texts = "\n".join(path.read_text() for path in sorted((ROOT / "lammps/src").glob("pair_*.*")))
    lists = re.findall(r'option_names\(\) (?:const \{ return|\+) "([^"]*)"', texts)
    words = [option.split() for listed in lists for option in listed.strip(", ").split(", ")]
    return {name: values.split("|") for name, values in words}


def pair_styles() -> str:
    """The styles and their options."""
    rows = [
        (code(name), kind, "a LAMMPS with KOKKOS" if "/kk" in name else "", code(str(path.relative_to(ROOT))))
        for name, (kind, path) in registered_styles().items()
    ]
    only_nequip = {"exchange", "layers"}
    options = [
        (code(name), ", ".join(map(code, values)), "`nequip`, `nequip/kk`" if name in only_nequip else "all")
        for name, values in option_values().items()
    ]
    styles = table(("style", "kind", "needs", "source"), sorted(rows, key=lambda row: (row[1] != "pair", row[0])))
    return styles + "\n" + table(("option", "values", "pair styles"), options)


def targets() -> str:
    """What compiled files take and give."""
    from mlip.deploy.targets import TARGETS

    rows = [
        (f"`{target.name}`", ", ".join(map(code, target.inputs)), ", ".join(map(code, target.outputs)))
        for target in TARGETS.values()
    ]
    return table(("`--target`", "inputs in order", "outputs in order"), rows)


def data_formats() -> str:
    """The formats of data and the suffixes that name them."""
    from mlip.data.open_frames import FORMATS

    return table(("format", "suffix"), [(name, ", ".join(map(code, suffixes))) for name, suffixes in FORMATS.items()])


def fields() -> str:
    """The public names of what frames hold."""
    from mlip.data.fields import ASE_KEYS, FIELDS, PREDICTED_FIELDS, Kind

    per = {Kind.NODE: "atom", Kind.EDGE: "edge", Kind.GRAPH: "frame"}
    ase = {public: key for key, public in ASE_KEYS.items()}
    rows = [
        (
            code(name),
            per[field.kind],
            " x ".join(map(str, field.shape)) or "number",
            field.unit,
            code(ase[name]) if name in ase else "",
            "yes" if name in PREDICTED_FIELDS else "",
        )
        for name, field in FIELDS.items()
    ]
    return table(("name", "one row per", "shape of a row", "unit", "in files of ASE", "predicted"), rows)


def versions_of_formats() -> str:
    """The formats of checkpoints and packages that are written now."""
    from mlip.deploy.upgrades import CHECKPOINT_VERSION, PACKAGE_VERSION

    rows = [("checkpoint", str(CHECKPOINT_VERSION)), ("package", str(PACKAGE_VERSION))]
    return table(("file", "version that is written"), rows)


def stacks() -> str:
    """What is in each stack, from its recipe."""
    from mlip.stack import recipe

    loaded = [recipe.load(name) for name in recipe.names()]
    rows = [
        (
            code(stack.name),
            stack.summary,
            " ".join(stack.gpu_arch) or "-",
            f"{stack.torch.version}+{stack.torch.build}",
            stack.lammps.version,
            f"{stack.kokkos.version} ({', '.join(stack.kokkos.backends)})",
            f"{stack.mpi.package} {stack.mpi.version}",
            stack.python.version,
        )
        for stack in loaded
    ]
    others = "".join(f"\n`{name}` is another name for `{target}`.\n" for name, target in recipe.aliases().items())
    return table(("stack", "for", "GPU", "torch", "LAMMPS", "Kokkos", "MPI", "Python"), rows) + others


def code(text: str) -> str:
    """A word as code."""
    return f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; bars in cells are escaped."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


BLOCKS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "make": make_targets,
    "pair-styles": pair_styles,
    "targets": targets,
    "data-formats": data_formats,
    "fields": fields,
    "format-versions": versions_of_formats,
    "stacks": stacks,
}

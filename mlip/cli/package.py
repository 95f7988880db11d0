"""``nequip-package``: make packages of models, look into them, compare and change them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlip.deploy.package import Package

NO_SENSE = 2  # exit status of what cannot be done with packages that hold no code
_MODES = {"nequip": "weights and config of the model: all that every command needs, in eager and in compiled training"}
_MODEL = "checkpoint (.ckpt), package (.nequip.zip) or nequip.net:GROUP/NAME:VERSION"


def parser() -> argparse.ArgumentParser:
    """The options of ``nequip-package``."""
    p = argparse.ArgumentParser(
        prog="nequip-package",
        description="Make, inspect and change packages: one file with a model's weights, config and origin, and no "
        "code (docs/model-files.md).",
        epilog="example: nequip-package build best.ckpt cu.nequip.zip",
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="make a package of a checkpoint")
    build.add_argument("ckpt_path", metavar="CKPT", help=_MODEL)
    build.add_argument("output_path", metavar="OUT", help="ends with .nequip.zip")
    build.add_argument("--mode", default="nequip", help="what to put in, see `modes` (default: %(default)s)")
    build.add_argument("--model", default="sole_model", help="which model of the file (default: %(default)s)")
    commands.add_parser("modes", help="what a package can be made of")
    listed = commands.add_parser("list", help="the files in a package")
    listed.add_argument("pkg_path", metavar="PKG")
    diff = commands.add_parser("diff", help="how a file in a package differs from another")
    diff.add_argument("pkg_path", metavar="PKG")
    diff.add_argument("zip_path", metavar="ZIP_PATH", help="model.json or weights.safetensors")
    diff.add_argument("local_file", metavar="LOCAL_FILE", nargs="?", help="a file, or another package")
    update = commands.add_parser(
        "update",
        help="write a package in the newest format",
        description="Write a package in the newest format, with files in it replaced if asked for. Predictions stay "
        "the same, or nothing is written.",
    )
    update.add_argument("input_path", metavar="IN")
    update.add_argument("output_path", metavar="OUT")
    update.add_argument(
        "--replace", nargs="+", action="append", default=[], metavar="ZIP_PATH LOCAL", help="replace a file; repeatable"
    )
    modify = commands.add_parser("modify", help="write a package with a changed model")
    modify.add_argument("input_path", metavar="IN", help=_MODEL)
    modify.add_argument("output_path", metavar="OUT")
    modify.add_argument(
        "--modifier",
        nargs="+",
        action="append",
        required=True,
        metavar="NAME [KEY=VALUE ...]",
        help="a change, its values in YAML; repeatable. `info PKG --get-modifiers` lists them",
    )
    info = commands.add_parser("info", help="what a package is")
    info.add_argument("pkg_path", metavar="PKG", help=_MODEL)
    info.add_argument("--get-modifiers", action="store_true", help="the changes `modify` can make, instead")
    info.add_argument("--yaml", action="store_true", help="everything, for programs to read")
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits with status 1 and one sentence when a file does not fit, with 2 when a request does not."""
    options = parser().parse_args(args)

    from mlip.config.errors import ConfigError
    from mlip.deploy.errors import StoredModelError

    run = {
        "build": _build,
        "modes": _modes,
        "list": _list,
        "diff": _diff,
        "update": _update,
        "modify": _modify,
        "info": _info,
    }[options.command]
    try:
        run(options)
    except (ConfigError, StoredModelError) as error:
        sys.exit(f"nequip-package {options.command}: {error}")


def _refuse(command: str, sentence: str) -> SystemExit:
    print(f"nequip-package {command}: {sentence}", file=sys.stderr)
    return SystemExit(NO_SENSE)


# Making -------------------------------------------------------------------------------------------------------------


def _build(options: argparse.Namespace) -> None:
    from mlip.deploy.model_source import open_model
    from mlip.deploy.package import check_target, write_package
    from mlip.deploy.package_contents import refuse_same_file

    if options.mode not in _MODES:
        raise _refuse("build", f"there is no mode {options.mode!r}; there is {', '.join(_MODES)}")
    check_target(options.output_path)
    refuse_same_file(options.ckpt_path, options.output_path)
    package = open_model(options.ckpt_path, options.model)
    write_package(package, options.output_path)
    print(_written(options.output_path, package))


def _update(options: argparse.Namespace) -> None:
    from mlip.deploy.package import check_target, write_package
    from mlip.deploy.package_contents import MEMBERS, refuse_same_file, replaced

    for words in options.replace:
        if words[0] not in MEMBERS:
            raise _refuse(
                "update",
                f"a package holds no code, so there is no {words[0]} to replace; there is {' and '.join(MEMBERS)}",
            )
        if len(words) != 2:
            raise _refuse("update", f"nothing installed stands for {words[0]}: write --replace {words[0]} LOCAL")
    check_target(options.output_path)
    refuse_same_file(options.input_path, options.output_path)
    package = replaced(options.input_path, {name: file for name, file in options.replace})  # noqa: C416 - pairs
    write_package(package, options.output_path)
    print(_written(options.output_path, package))


def _modify(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from mlip.deploy.acceleration_names import ACCELERATIONS
    from mlip.deploy.model_source import open_model
    from mlip.deploy.package import check_target, write_package
    from mlip.deploy.package_contents import refuse_same_file
    from mlip.training.finetuning import apply_modifiers

    changes = [_modifier(words) for words in options.modifier]
    check_target(options.output_path)
    refuse_same_file(options.input_path, options.output_path)
    before = open_model(options.input_path)
    potential = apply_modifiers(before.potential(), changes)
    kept = [change for change in changes if change["modifier"] not in ACCELERATIONS]
    for change in changes:
        if change not in kept:
            print(f"{change['modifier']} is not stored: kernels are chosen where the model runs", file=sys.stderr)
    after = replace(
        before,
        model=dict(potential.config),
        modifiers=[*before.modifiers, *kept],
        weights=dict(potential.state_dict()),
    )
    write_package(after, options.output_path)
    print(_written(options.output_path, after))


def _modifier(words: Sequence[str]) -> dict[str, Any]:
    import yaml

    from mlip.config.errors import ConfigError

    name, *pairs = words
    found: dict[str, Any] = {"modifier": name}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--modifier {name} takes KEY=VALUE, not {pair!r}")
        try:
            found[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--modifier {name}: {text!r} is no YAML value") from error
    return found


def _written(path: str, package: Package) -> str:
    from pathlib import Path

    count = sum(tensor.numel() for tensor in package.weights.values())
    return f"{path}: {_model(package)}, {count} weights, {Path(path).stat().st_size / 1e3:.1f} kB"


def _model(package: Package) -> str:
    name = str(package.model.get("_target_")).rpartition(".")[2]
    return f"{name}, {package.model_dtype}, types {' '.join(package.type_names)}, r_max {package.r_max:g} Å"


# Looking ------------------------------------------------------------------------------------------------------------


def _modes(_: argparse.Namespace) -> None:
    for name, about in _MODES.items():
        print(f"{name}: {about}")


def _list(options: argparse.Namespace) -> None:
    from mlip.deploy.package_contents import members

    for size, name in members(options.pkg_path):
        print(f"{size:>12}  {name}")


def _diff(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.text import Text

    from mlip.deploy.package_contents import differences

    if options.local_file is None:
        print(f"A package holds no code that could differ from what is installed; name a file to compare "
              f"{options.zip_path} with.")  # fmt: skip
        return
    console = Console(soft_wrap=True, highlight=False)
    styles = {"+": "green", "-": "red", "@": "cyan", "!": "yellow"}
    for line in differences(options.pkg_path, options.zip_path, options.local_file):
        console.print(Text(line.rstrip("\n"), style=styles.get(line[:1], "")))


def _info(options: argparse.Namespace) -> None:
    from mlip.deploy.model_source import describe_model

    package = describe_model(options.pkg_path)
    if options.get_modifiers:
        _print_modifiers(package, as_yaml=options.yaml)
    elif options.yaml:
        print(_yaml(_description(package)), end="")
    else:
        print(f"{options.pkg_path}: {_model(package)}")
        rest = {key: value for key, value in _description(package).items() if key not in {"model", "units"} and value}
        print(_yaml({key: rest[key] for key in rest if key not in {"type_names", "r_max", "model_dtype"}}), end="")
        print("--yaml also gives the config of the model and its units")


def _description(package: Package) -> dict[str, Any]:
    from dataclasses import fields

    return {field.name: getattr(package, field.name) for field in fields(package) if field.name != "weights"}


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)
    return text


def _print_modifiers(package: Package, *, as_yaml: bool) -> None:
    from mlip.deploy.acceleration_names import ACCELERATIONS
    from mlip.training.finetuning import MODIFIERS

    possible = [name for name in MODIFIERS if name not in ACCELERATIONS]
    if "per_type_energy_scales" not in package.model:
        possible = []  # a pair term alone has neither a scale nor the choice
    found = {"available": possible, "applied": package.modifiers}
    if as_yaml:
        print(_yaml(found), end="")
        return
    about = {
        "modify_PerTypeScaleShift": "scales={Cu: 1.0} shifts={Cu: -3.5} scales_trainable=true shifts_trainable=true",
        "enable_ForceStressOutput": "forces and stress along with energies",
        "disable_ForceStressOutput": "energies alone",
    }
    for name in possible:
        print(f"{name}: {about[name]}")
    if not possible:
        print("this model has nothing that can be changed")


if __name__ == "__main__":
    main()

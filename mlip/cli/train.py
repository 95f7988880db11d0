"""``nequip-train``: train a potential from a Hydra config."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from omegaconf import DictConfig

USAGE = """\
usage: nequip-train -cn NAME [-cp FOLDER] [key=value ...]
       nequip-train path/to/config.yaml [key=value ...]

Train a potential, and evaluate it, as a config says. NAME is looked for in FOLDER (the current one by default), then
among the configs that come with mlip: {shipped}.

  key=value        change an entry of the config; +key=value adds one, ++key=value does either, ~key removes one
  ++ckpt_path=X    continue the run that wrote the checkpoint X
  --check          only check the config: every mistake with its file, line and the nearest valid name
  --cfg job        print the config and stop
  --hydra-help     all options of Hydra
  --debug          show the traceback of an error (also: HYDRA_FULL_ERROR=1)
"""


# Hydra's options that take the next word
_WITH_VALUE = (
    *("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--cfg", "-c", "--package", "-p", "--experimental-rerun"),
)


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; ``args`` are the command line's by default. Exits with status 1 on an error of the user's."""
    arguments = list(sys.argv[1:] if args is None else args)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE.format(shipped=", ".join(shipped_configs()) or "none"), end="")
        raise SystemExit(0 if arguments else 1)
    if "--debug" in arguments:
        arguments.remove("--debug")
        os.environ["HYDRA_FULL_ERROR"] = "1"
    only_check = "--check" in arguments
    words = hydra_arguments([argument for argument in arguments if argument != "--check"], Path.cwd())
    _check_overrides(words)
    if only_check:
        _check(words)
    else:
        _run_hydra(words, _job)


def hydra_arguments(arguments: Sequence[str], folder: Path) -> list[str]:
    """The command line in Hydra's form: a config's path or name becomes a folder and a name.

    Args:
        arguments: as the user wrote them.
        folder: the current folder.
    """
    if arguments and not arguments[0].startswith("-") and "=" not in arguments[0]:
        path = folder / arguments[0]
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            raise _failure(
                f"no such config file: {arguments[0]} (to name a config in this folder: nequip-train -cn NAME)"
            )
        _check_yaml(path)
        return ["--config-path", str(path.parent.resolve()), "--config-name", path.name, *arguments[1:]]
    name = _option(arguments, "-cn", "--config-name") or "config"
    given = _option(arguments, "-cp", "--config-path")
    searched = folder / given if given else folder
    file_name = name if Path(name).suffix in (".yaml", ".yml") else f"{name}.yaml"
    if (searched / file_name).is_file() or _option(arguments, "-cd", "--config-dir"):
        _check_yaml(searched / file_name)
        # Hydra takes a relative folder from where its own caller lies; the last one given counts
        return [*arguments, "--config-path", str(searched.resolve())] if given else list(arguments)
    if given is None and (shipped := shipped_configs().get(Path(file_name).stem)):
        return ["--config-path", str(shipped.parent), *arguments]
    if "--hydra-help" in arguments:
        return list(arguments)
    raise _failure(
        f"no config {file_name} in {searched}; configs that come with mlip: {', '.join(shipped_configs()) or 'none'}"
    )


def options_first(arguments: Sequence[str]) -> list[str]:
    """The command line with overrides behind options, in their order: Lightning adds overrides of its own at the end.

    Hydra takes no override behind an option that stands behind another override.
    """
    options: list[str] = []
    overrides: list[str] = []
    waiting = False  # for the value of an option
    for argument in arguments:
        (options if waiting or argument.startswith("-") else overrides).append(argument)
        waiting = not waiting and argument in _WITH_VALUE
    return [*options, *overrides]


def shipped_configs() -> dict[str, Path]:
    """Name -> path of the configs beside the package, in a checkout or in an installation."""
    import mlip

    package = Path(mlip.__file__).resolve().parent
    checkout = package.parent / "pyproject.toml"
    folder = package.parent / "configs" if checkout.is_file() else package / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _check_yaml(path: Path) -> None:
    import yaml

    if not path.is_file():
        return
    try:
        yaml.compose(path.read_text())
    except yaml.YAMLError as error:
        raise _failure(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error


def _check_overrides(arguments: Sequence[str]) -> None:
    """Say which key an override may have meant; Hydra itself only says that there is none of that name."""
    import yaml

    from mlip.config.sources import place_of
    from mlip.config.targets import nearest

    name = _option(arguments, "-cn", "--config-name") or "config"
    file_name = name if Path(name).suffix in (".yaml", ".yml") else f"{name}.yaml"
    path = Path(_option(arguments, "-cp", "--config-path") or ".") / file_name
    config = yaml.safe_load(path.read_text()) if path.is_file() else None
    if not isinstance(config, dict) or "defaults" in config:  # what other files add is Hydra's to know
        return
    for argument in arguments:
        key, is_override, _ = argument.partition("=")
        plain = key[:1].isalpha() and key.replace(".", "").isidentifier() and not key.startswith("hydra")
        if not is_override or not plain:
            continue
        node, place = config, place_of(key)
        for depth, part in enumerate(place):
            if not isinstance(node, dict):
                break  # a list, or an interpolation
            if part not in node:
                known = [".".join(map(str, (*place[:depth], other))) for other in node]
                wrong = ".".join(map(str, place[: depth + 1]))
                raise _failure(
                    f"override {argument}: the config has no {wrong}{nearest(wrong, known)}; +{argument} adds it"
                )
            node = node[part]


def _option(arguments: Sequence[str], *names: str) -> str | None:
    for index, argument in enumerate(arguments):
        for name in names:
            if argument == name and index + 1 < len(arguments):
                return arguments[index + 1]
            if argument.startswith(f"{name}="):
                return argument.partition("=")[2]
    return None


def _check(arguments: list[str]) -> None:
    """Compose the config as a run would, check it, and leave nothing behind."""
    # hydra.main alone resolves everything a config may ask Hydra for, and it wants a folder to run in
    with tempfile.TemporaryDirectory() as folder:
        nowhere = [f"hydra.run.dir={folder}", "hydra.output_subdir=null", "hydra/job_logging=none"]
        _run_hydra([*arguments, *nowhere], _check_job)


def _check_job(config: DictConfig) -> None:
    from mlip.config.errors import ConfigError
    from mlip.config.sources import sources_of_this_job
    from mlip.config.validate import located
    from mlip.training.check import check_training_config

    sources = sources_of_this_job()
    try:
        notes = check_training_config(config, sources)
    except ConfigError as error:
        raise SystemExit(_report(str(error))) from error
    for note in notes:
        print(f"note: {located(note, sources)}")
    print("The config is valid.")


def _report(problems: str) -> int:
    count = len(problems.splitlines())
    print(problems, file=sys.stderr)
    print(f"nequip-train: {count} {'problem' if count == 1 else 'problems'} found", file=sys.stderr)
    return 1


def _run_hydra(arguments: list[str], job: Callable[[DictConfig], None]) -> None:
    import hydra

    from mlip.config.output_folders import ignore_output_folders

    ignore_output_folders()
    before = sys.argv
    # the program's own name stays: Lightning starts further processes of a distributed run with it
    sys.argv = [before[0], *options_first(arguments)]
    try:
        hydra.main(version_base=None, config_path=str(Path.cwd()), config_name="config")(job)()
    finally:
        sys.argv = before


def _job(config: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from mlip.config.errors import ConfigError
    from mlip.data.errors import DataError
    from mlip.deploy.checkpoint import CheckpointError
    from mlip.training.errors import TrainingError
    from mlip.training.interruption import EXIT_STATUS, TerminatedError
    from mlip.training.run import run_training

    try:
        run_training(config, Path(HydraConfig.get().runtime.output_dir))
    except (ConfigError, DataError, CheckpointError, TrainingError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        raise _failure(str(error), EXIT_STATUS if isinstance(error, TerminatedError) else 1) from error


def _failure(message: str, status: int = 1) -> SystemExit:
    print(f"nequip-train: {message}", file=sys.stderr)
    return SystemExit(status)


if __name__ == "__main__":
    main()

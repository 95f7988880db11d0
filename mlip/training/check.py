"""The whole config checked before any data are touched: its text, and whether its parts can be made.

Data modules, transforms, losses, optimizers, callbacks and the model refuse what does not fit when they are made, and
none of that reads data or writes files. So a check makes them, one by one, and collects what they say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlip.config.errors import ConfigError
from mlip.config.instantiate import instantiate
from mlip.config.load import CheckedConfig, inspect_config
from mlip.config.problems import Place, Problem, name_of
from mlip.config.validate import UNKNOWN, agreement, error_of
from mlip.data.errors import DataError
from mlip.training.errors import TrainingError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_REFUSALS = (ConfigError, DataError, TrainingError, ValueError, TypeError)
# Loggers that need a package of their own: a run goes on without them, and logs to metrics.csv.
_OPTIONAL_LOGGERS = {
    "WandbLogger": "wandb",
    "TensorBoardLogger": "tensorboard",
    "MLFlowLogger": "mlflow",
    "CometLogger": "comet-ml",
    "NeptuneLogger": "neptune",
}


def check_training_config(config: DictConfig, sources: Mapping[Place, str] | None = None) -> list[Problem]:
    """Check a config; returns notes, things a run can go on with.

    Args:
        config: the whole config.
        sources: where its entries were written, for the messages.

    Raises:
        ConfigError: everything found wrong, one sentence per line, each with its place.
    """
    found = inspect_config(config)
    problems = found.problems + [found.explained(problem) for problem in trial_problems(found)]
    if any(not problem.note for problem in problems):
        raise error_of([problem for problem in problems if not problem.note], sources)
    return problems


def trial_problems(checked: CheckedConfig) -> Iterator[Problem]:
    """What the parts of a config say when they are made; parts with a problem already are left out."""
    plain = checked.plain
    bad = [problem.place for problem in checked.problems]

    def is_sound(place: Place) -> bool:
        return not any(other[: len(place)] == place or place[: len(other)] == other for other in bad if other)

    trials = [*_data_trials(plain.get("data")), *_trainer_trials(plain.get("trainer"))]
    trials += list(_module_trials(plain.get("training_module")))
    for place, make in trials:
        if is_sound(place):
            yield from _refusal(place, make)
    if is_sound(("training_module", "model")) and isinstance(plain.get("training_module"), Mapping):
        model = plain["training_module"].get("model")
        yield from _model_problems(model)
        if is_sound(("data",)):
            yield from _starting_model_problems(plain.get("data"), model)
    if is_sound(("data", "stats_manager")) and isinstance(plain.get("data"), Mapping):
        yield from _statistics_problems(checked)
    yield from missing_loggers(plain.get("trainer"))


def _refusal(place: Place, make: Callable[[], object]) -> Iterator[Problem]:
    try:
        make()
    except _REFUSALS as error:
        text = str(error)
        # messages name the place themselves, or the class; the place comes first in either case
        text = text.removeprefix(f"{name_of(place)}: ").removeprefix(f"{name_of(place)} ")
        yield Problem(place, text)


def _data_trials(data: Any) -> Iterator[tuple[Place, Callable[[], object]]]:
    if not isinstance(data, Mapping) or "_target_" not in data:
        return
    for place, section in _sections(data, ("data",)):
        if ".transforms." in section["_target_"]:
            yield place, lambda section=section: instantiate(section)  # type: ignore[misc]
    yield ("data",), lambda: instantiate(data, recursive=False, where="data")


def _trainer_trials(trainer: Any) -> Iterator[tuple[Place, Callable[[], object]]]:
    if not isinstance(trainer, Mapping):
        return
    for key in ("callbacks", "strategy", "plugins", "profiler"):
        entries = trainer.get(key)
        listed = entries if isinstance(entries, list) else [entries]
        for index, entry in enumerate(listed):
            if isinstance(entry, Mapping) and "_target_" in entry:
                place: Place = ("trainer", key, index) if isinstance(entries, list) else ("trainer", key)
                where = name_of(place)
                yield place, lambda entry=entry, where=where: instantiate(entry, where=where)  # type: ignore[misc]


def _module_trials(module: Any) -> Iterator[tuple[Place, Callable[[], object]]]:
    if not isinstance(module, Mapping):
        return
    from mlip.training.module import make_metrics

    for key in ("loss", "train_metrics", "val_metrics", "test_metrics"):
        if module.get(key) is not None:
            place: Place = ("training_module", key)
            where = name_of(place)
            yield place, lambda key=key, where=where: make_metrics(module[key], where)  # type: ignore[misc]
    if isinstance(module.get("optimizer"), Mapping):
        yield ("training_module", "optimizer"), lambda: _trial_optimizer(module)
        if isinstance(module.get("lr_scheduler"), Mapping):
            yield ("training_module", "lr_scheduler"), lambda: _trial_scheduler(module)


def _trial_optimizer(module: Mapping[str, Any]) -> Any:
    import torch

    from mlip.training.optimizers import build_optimizer

    # named like a model's weights, so that functions that divide them into groups find some of each kind
    stand_in = torch.nn.ModuleDict({"layer": torch.nn.Module(), "readout": torch.nn.Linear(2, 2)})
    stand_in["layer"].weights = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(2, 2))])
    return build_optimizer(module["optimizer"], stand_in)


def _trial_scheduler(module: Mapping[str, Any]) -> Any:
    from mlip.training.optimizers import build_lr_scheduler

    try:
        optimizer = _trial_optimizer(module)
    except _REFUSALS:
        return None  # said of the optimizer already
    return build_lr_scheduler(module["lr_scheduler"], optimizer)


def _model_problems(model: Any) -> Iterator[Problem]:
    """What building the model says; when a parameter is named, the next one is looked for with its default."""
    from mlip.training.finetuning import build_trainable_model

    place: Place = ("training_module", "model")
    if not isinstance(model, Mapping) or _has_unknown(model):
        return
    rest = dict(model)
    while (problem := next(_refusal(place, lambda: build_trainable_model(rest)), None)) is not None:
        name = re.split(r"\W", problem.text, maxsplit=1)[0]
        if name not in rest:
            # a default that cannot stand in for a wrong value says nothing new
            if len(rest) == len(model):
                yield problem
            return
        yield Problem((*place, name), problem.text.removeprefix(name).lstrip(), " ")
        del rest[name]


def _starting_model_problems(data: Any, model: Any) -> Iterator[Problem]:
    """Whether data have the types and the cutoff of a model that is trained further: the config does not say them."""
    from mlip.deploy.errors import StoredModelError
    from mlip.deploy.model_source import describe_model
    from mlip.training.finetuning import starting_file

    source = starting_file(model) if isinstance(model, Mapping) and not _has_unknown(model) else None
    if source is None:
        return
    try:
        trained = describe_model(source)
    except StoredModelError:
        return  # making the model has said it
    yield from agreement(data, list(trained.type_names), trained.r_max)


def _statistics_problems(checked: CheckedConfig) -> Iterator[Problem]:
    """Statistics that are asked for by a name that will not be computed."""
    from mlip.config.targets import nearest

    section = checked.plain["data"].get("stats_manager")
    if not isinstance(section, Mapping) or _has_unknown(section):
        return
    try:
        manager = instantiate(section, where="data.stats_manager")
    except _REFUSALS as error:
        yield Problem(("data", "stats_manager"), str(error).removeprefix("data.stats_manager: "))
        return
    try:
        names = list(manager.get_statistics([]))
    except DataError:
        return  # one that cannot be computed of nothing; the run will say what it misses
    for name, place in checked.statistics.items():
        if name not in names:
            text = (
                f"${{training_data_stats:{name}}}: there is no such statistic{nearest(name, names)}; "
                f"`data.stats_manager` computes {', '.join(names)}"
            )
            yield Problem(place, text)


def missing_loggers(trainer: Any) -> Iterator[Problem]:
    """Notes about loggers whose package is not installed."""
    import importlib.util

    loggers = trainer.get("logger") if isinstance(trainer, Mapping) else None
    for index, entry in enumerate(loggers if isinstance(loggers, list) else [loggers]):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("_target_"), str):
            continue
        name = entry["_target_"].rpartition(".")[2]
        package = _OPTIONAL_LOGGERS.get(name)
        if package is None or importlib.util.find_spec(package.replace("-", "_")) is not None:
            continue
        if package == "tensorboard" and importlib.util.find_spec("tensorboardX") is not None:
            continue
        place: Place = ("trainer", "logger", index) if isinstance(loggers, list) else ("trainer", "logger")
        text = (
            f"{name} needs the package {package}, which is not installed; metrics go to metrics.csv alone: "
            f"pip install {package}"
        )
        yield Problem(place, text, note=True)


def _sections(node: Any, place: Place) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield place, node
        for key, value in node.items():
            yield from _sections(value, (*place, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _sections(value, (*place, index))


def _has_unknown(node: Any) -> bool:
    if isinstance(node, Mapping):
        return any(map(_has_unknown, node.values()))
    if isinstance(node, list):
        return any(map(_has_unknown, node))
    return node is UNKNOWN

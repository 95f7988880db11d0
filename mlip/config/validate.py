"""Checks of a whole training config before any data are touched; all problems are found, not only the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlip.config.errors import ConfigError
from mlip.config.problems import Place, Problem, name_of
from mlip.config.ranges import out_of_range
from mlip.config.signatures import Parameter, load_target, parameters_of
from mlip.config.targets import MODEL_PARTS, nearest
from mlip.config.value_types import conforms, in_words

REQUIRED = ("run", "data", "trainer", "training_module")
OPTIONAL = ("ckpt_path", "global_options", "hydra")
STAGES = ("train", "val", "test")
# What each stage cannot do without.
NEEDED_SECTIONS = {"train": ("loss", "val_metrics", "optimizer"), "val": ("val_metrics",), "test": ("test_metrics",)}
_MODULE_KEYS = (
    "_target_",
    "model",
    "loss",
    "train_metrics",
    "val_metrics",
    "test_metrics",
    "optimizer",
    "lr_scheduler",
)
GLOBAL_OPTIONS = ("allow_tf32",)
_HYDRA_KEYS = ("_target_", "_args_", "_recursive_", "_convert_", "_partial_")
_DATA_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader", "dataloader_kwargs")
_TORCH_LOADER = "torch.utils.data.DataLoader"

# Sections without _target_ whose keys are known.
_METRIC_KEYS = ("metric", "field", "coeff", "name", "per_type", "per_type_coeffs", "ignore_nan")
_STATISTIC_KEYS = ("metric", "field", "name", "per_type", "ignore_nan")
_LR_SCHEDULER_KEYS = ("scheduler", "monitor", "interval", "frequency", "strict", "name", "reduce_on_plateau")

# A value that could not be resolved; that has its own problem already.
UNKNOWN = object()


def stages(run: Any) -> list[str]:
    """The stages of ``run`` in order.

    Raises:
        ConfigError: not a stage, none at all, or train twice.
    """
    entries = [run] if isinstance(run, str) else list(run or [])
    for entry in entries:
        if entry not in STAGES:
            hint = nearest(entry, list(STAGES)) if isinstance(entry, str) else ""
            raise ConfigError(f"run: {entry!r} is not one of {', '.join(STAGES)}{hint}")
    if not entries:
        raise ConfigError(f"run: name at least one of {', '.join(STAGES)}")
    if entries.count("train") > 1:
        raise ConfigError("run: train may stand there once")
    return entries


def find_problems(config: Mapping[str, Any]) -> list[Problem]:
    """Everything found wrong with a resolved config: sections, stages, targets, their parameters, and agreement.

    Args:
        config: plain dictionaries and lists without interpolations; :data:`UNKNOWN` where there is no value.
    """
    return [
        *_top_level(config),
        *(
            problem
            for section in ("data", "trainer", "training_module")
            for problem in _section_problems(config.get(section), (section,))
        ),
        *_agreement(config.get("data"), config.get("training_module")),
    ]


def _top_level(config: Mapping[str, Any]) -> Iterator[Problem]:
    others = [key for key in config if key not in (*REQUIRED, *OPTIONAL)]
    for key in REQUIRED:
        if key not in config:
            hint = nearest(key, others).replace("did you mean", "there is")
            yield Problem((), f"the config has no `{key}`{hint}; it needs {', '.join(REQUIRED)}")
        elif key != "run" and not (isinstance(config[key], Mapping) and "_target_" in config[key]):
            yield Problem((key,), "needs a `_target_`")
    for key in others:
        hint = nearest(key, [known for known in OPTIONAL if known not in config])
        if hint:
            yield Problem((key,), f"unknown key{hint}; keys of your own need another name", note=True)
    yield from _options(config.get("global_options"))
    module = config.get("training_module")
    if isinstance(module, Mapping):
        model = module.get("model")
        if not isinstance(model, Mapping) or "_target_" not in model:
            text = "needs a `_target_`, such as allegro.model.AllegroModel"
            yield Problem(("training_module", "model"), text)
    yield from _run(config)
    trainer = config.get("trainer")
    if isinstance(trainer, Mapping) and "inference_mode" in trainer:
        text = "cannot be set: forces need gradients in validation too; remove it"
        yield Problem(("trainer", "inference_mode"), text, " ")


def _options(options: Any) -> Iterator[Problem]:
    for key, value in (options or {}).items() if isinstance(options, (Mapping, type(None))) else ():
        if key not in GLOBAL_OPTIONS:
            text = f"unknown{nearest(key, list(GLOBAL_OPTIONS))}; there is {', '.join(GLOBAL_OPTIONS)}"
            yield Problem(("global_options", key), text)
        elif not isinstance(value, bool):
            yield Problem(("global_options", key), f"must be true or false, not {value!r}", " ")


def _run(config: Mapping[str, Any]) -> Iterator[Problem]:
    if config.get("run", UNKNOWN) is UNKNOWN:
        return
    try:
        run = stages(config["run"])
    except ConfigError as error:
        yield Problem(("run",), str(error).removeprefix("run: "))
        return
    module = config.get("training_module")
    missing = {
        section: stage
        for stage in reversed(run)
        for section in NEEDED_SECTIONS[stage]
        if isinstance(module, Mapping) and module.get(section) is None
    }
    for section, stage in missing.items():
        hint = (
            nearest(section, [key for key in module if key not in _MODULE_KEYS]) if isinstance(module, Mapping) else ""
        )
        hint = hint.replace("did you mean", "there is").replace("?", "")
        yield Problem(("training_module", section), f"is missing, and `run` has {stage}{hint}", " ")


def _section_problems(node: Any, place: Place) -> Iterator[Problem]:
    """Problems of a part of the config and everything in it."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield from _target_problems(node, place)
        elif place and place[-1] in _DATA_LOADERS:
            # without a target, torch's loader is meant; a problem it has with its arguments is the section's
            yield from _target_problems({"_target_": _TORCH_LOADER, **node}, place)
        else:
            yield from _plain_section_problems(node, place)
        for key, value in node.items():
            yield from _section_problems(value, (*place, key))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _section_problems(value, (*place, index))


def _plain_section_problems(node: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    known: Sequence[str] = ()
    if place[:2] == ("training_module", "lr_scheduler") and len(place) == 2:
        known = _LR_SCHEDULER_KEYS
        if "scheduler" not in node:
            yield Problem(place, "needs `scheduler`, and may have monitor, interval, frequency", " ")
    elif len(place) > 1 and place[-2] in {"metrics", "extra_metrics"} and isinstance(place[-1], int):
        known = _STATISTIC_KEYS if "stats_manager" in place else _METRIC_KEYS
        if node.get("metric") is None:
            yield Problem(place, "needs `metric`", " ")
    for key in node if known else ():
        if key not in known:
            yield Problem((*place, key), f"unknown key{nearest(str(key), list(known))}; known are {', '.join(known)}")


def _target_problems(node: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    """Problems of one section: its target, and the names, types and ranges of its arguments."""
    name = node["_target_"]
    if name is UNKNOWN:
        return
    try:
        load_target(name)
        parameters = parameters_of(name)
    except ConfigError as error:
        yield Problem((*place, "_target_"), str(error))
        return
    if parameters is not None:
        yield from _argument_problems(name, node, parameters, place)


def _argument_problems(
    name: str, node: Mapping[str, Any], parameters: Sequence[Parameter], place: Place
) -> Iterator[Problem]:
    known = {parameter.name: parameter for parameter in parameters}
    extra = _supplied_by_place(place)
    tolerated = ("type_names",) if name in MODEL_PARTS else ()
    for key, value in node.items():
        if key in _HYDRA_KEYS or key in extra or key in tolerated:
            continue
        if key not in known:
            yield Problem((*place, key), f"{name} has no such parameter{nearest(str(key), sorted(known))}")
        else:
            yield from _value_problems(name, known[key], value, (*place, key))
    if "_args_" not in node and not node.get("_partial_"):
        for parameter in parameters:
            if parameter.is_required and parameter.name not in node and parameter.name not in extra:
                yield Problem((*place, parameter.name), f"is missing; {name} cannot do without", " ")


def _supplied_by_place(place: Place) -> tuple[str, ...]:
    """Parameters that a section at this place is given, or may have, beyond those of its target."""
    last = place[-1]
    if last == "optimizer":
        return ("params", "param_groups")
    if last == "param_groups":
        return ("model",)
    if last == "scheduler" or (len(place) > 1 and place[-2] == "schedulers"):
        return ("optimizer", "schedulers")
    if last in _DATA_LOADERS:
        return ("dataset",)
    return ()


def _value_problems(target: str, parameter: Parameter, value: Any, place: Place) -> Iterator[Problem]:
    if value is UNKNOWN or _holds_unknown(value):
        return
    # of other packages' annotations, a whole number for a switch is the usual looseness
    loose = isinstance(value, int) and not isinstance(value, bool) and value in {0, 1} and not _is_ours(target)
    if not conforms(value, parameter.annotation) and not (loose and conforms(bool(value), parameter.annotation)):
        yield Problem(place, f"is {_shown(value)}; it must be {in_words(parameter.annotation)}", " ")
        return
    text = out_of_range(target, parameter.name, value)
    if text:
        yield Problem(place, text, " ")


def _holds_unknown(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(item is UNKNOWN or _holds_unknown(item) for item in value.values())
    return isinstance(value, list) and any(item is UNKNOWN or _holds_unknown(item) for item in value)


def _is_ours(target: str) -> bool:
    return target.startswith(("nequip.", "allegro.", "mlip."))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _targets(node: Any, place: Place) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Every mapping with ``_target_`` and its place, outermost first."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield place, node
        for key, value in node.items():
            yield from _targets(value, (*place, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, (*place, index))


def _agreement(data: Any, module: Any) -> Iterator[Problem]:
    model = module.get("model") if isinstance(module, Mapping) else None
    if isinstance(model, Mapping):
        yield from agreement(data, model.get("type_names"), model.get("r_max"))


def agreement(data: Any, types: Any, r_max: Any) -> Iterator[Problem]:
    """Types and cutoff of data and model must be the same: otherwise the numbers are wrong and nothing says so.

    Args:
        data: the section of the data.
        types: names of the model's types; checked if it is a list.
        r_max: its cutoff radius, Å; checked if it is a number.
    """
    for place, node in _targets(data, ("data",)):
        target = node["_target_"].rsplit(".", 1)[-1]
        if target == "ChemicalSpeciesToAtomTypeMapper" and isinstance(types, list):
            names = node.get("model_type_names", node.get("chemical_symbols"))
            if isinstance(names, list) and names != types:
                text = f"the data's types {names} are not the model's type_names {types}; use one list for both"
                yield Problem(place, text)
        radius = node.get("r_max")
        if not isinstance(r_max, (int, float)) or not isinstance(radius, (int, float)):
            continue
        if target.endswith("NeighborListTransform") and radius < r_max:
            text = f"is {radius} Å, less than the model's r_max {r_max} Å: neighbours would be missing"
            yield Problem((*place, "r_max"), text, " ")


def error_of(problems: Sequence[Problem], sources: Mapping[Place, str] | None = None) -> ConfigError:
    """One error that lists all problems, each with where it was written."""
    return ConfigError("\n".join(located(problem, sources or {}) for problem in problems))


def located(problem: Problem, sources: Mapping[Place, str]) -> str:
    """``file:line:column: place: text``, or without the file where that is not known."""
    from mlip.config.sources import source_of

    where, origin = source_of(sources, problem.place), problem.origin
    text = f"{where}: {problem}" if where else str(problem)
    if not origin:
        return text
    from_where = source_of(sources, origin)
    return f"{text} (from {name_of(origin)}{f', {from_where}' if from_where else ''})"

"""The parameters of every public name in words: for ``mlip config explain`` and for the reference pages."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from mlip.config.errors import ConfigError
from mlip.config.ranges import range_of
from mlip.config.resolvers import RESOLVERS
from mlip.config.signatures import Parameter, load_target, parameters_of
from mlip.config.targets import MODEL_PARTS, REFUSED, SECTIONS, TARGETS, nearest
from mlip.config.value_types import in_words

TOP_LEVEL = {
    "run": "train, val, test, or a list of them in order",
    "data": "section of a data module: which data there are and how they are batched",
    "trainer": "section of lightning.Trainer: epochs, devices, callbacks, loggers",
    "training_module": "section of a training module: model, loss, metrics, optimizer",
    "ckpt_path": "a checkpoint to continue, or without train in run to evaluate",
    "global_options": "{allow_tf32: true or false}: TF32 for matrix products on NVIDIA GPUs; false by default",
    "hydra": "Hydra's own section; hydra.run.dir is the folder of the run",
}
# what a place of the config holds, for keys without a target of their own
_PLACES = {
    "training_module.lr_scheduler": "{scheduler: section of a torch scheduler, monitor, interval, frequency}",
    "training_module.model": "section of a model",
    "training_module.loss": "section of a loss, or a list of metrics with coeff",
    "training_module.train_metrics": "section of metrics",
    "training_module.val_metrics": "section of metrics",
    "training_module.test_metrics": "section of metrics",
    "training_module.optimizer": "section of an optimizer; param_groups may be nequip.model.MuonParamGroups",
}
_HEAD = """# Configs: names and parameters

Made by `mlip config explain --markdown` from the table of public names and the code; do not edit by hand.

A config is YAML for [Hydra](https://hydra.cc). `nequip-train --check CONFIG` names every mistake in one with its line.
Names of other packages (`torch.*`, `lightning.*`, `schedulefree.*`, ...) work as their documentation says.
"""


def explain(word: str) -> list[str]:
    """Lines about a target, a place in a config (``trainer.max_epochs``), a parameter or a resolver.

    Raises:
        ConfigError: nothing of that name; says the nearest.
    """
    simple = {**{name: f"not available; {text}" for name, text in REFUSED.items()}, **TOP_LEVEL, **_PLACES}
    if word in simple:
        return [f"{word}: {simple[word]}"]
    if word in RESOLVERS or word == "training_data_stats":
        return [f"${{{word}:...}}: {_resolver_text(word)}"]
    ours = [*TARGETS, *MODEL_PARTS]
    by_class = [name for name in ours if word in {name, name.rpartition(".")[2]}]
    if by_class or ("." in word and _loads(word)):
        return _target_lines(by_class[0] if by_class else word)
    found = list(_uses(word.rpartition(".")[2], word))
    if found:
        return found
    known = [*TARGETS, *MODEL_PARTS, *TOP_LEVEL, *RESOLVERS, *_parameter_names()]
    raise ConfigError(f"there is nothing called {word}{nearest(word, known)}")


def _loads(name: str) -> bool:
    if name.partition(".")[0] in TOP_LEVEL:
        return False
    try:
        load_target(name)
    except ConfigError:
        return False
    return True


def _target_lines(name: str) -> list[str]:
    parameters = parameters_of(name)
    lines = [f"{name}: {summary_of(name)}"]
    if parameters is None:
        return [*lines, "  takes any parameters; see its own documentation"]
    return lines + [f"  {_line(name, parameter)}" for parameter in parameters]


def _line(target: str, parameter: Parameter) -> str:
    default = "required" if parameter.is_required else f"default {_default(parameter)}"
    text = f": {_plain(parameter.text)}" if parameter.text else ""
    limits = range_of(target, parameter.name)
    words = f"; {limits}" if limits else ""
    return f"{parameter.name} ({in_words(parameter.annotation)}{words}, {default}){text}"


def _default(parameter: Parameter) -> str:
    value = parameter.default
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, str):
        return value or '""'
    return str(value) if isinstance(value, (int, float)) else type(value).__name__


def _uses(parameter: str, word: str) -> Iterator[str]:
    """Where a parameter occurs; for ``trainer.KEY`` that is Lightning's trainer alone."""
    section = word.partition(".")[0]
    if section == "trainer":
        names = ["lightning.Trainer"]
    elif section == "data":
        names = [name for part in ("Data modules", "Data sets", "Transforms") for name in SECTIONS[part]]
    elif word.startswith("training_module.model"):
        names = [*SECTIONS["Models"], *MODEL_PARTS]
    else:
        names = [*TARGETS, *MODEL_PARTS, "lightning.Trainer"] if section == word else list(TARGETS)
    for name in names:
        for known in parameters_of(name) or []:
            if known.name == parameter:
                yield f"{name}: {_line(name, known)}"


def _parameter_names() -> set[str]:
    return {parameter.name for name in [*TARGETS, *MODEL_PARTS] for parameter in parameters_of(name) or []}


def summary_of(name: str) -> str:
    """The first sentence of a target's documentation."""
    documentation = inspect.getdoc(load_target(name)) or ""
    first = " ".join(documentation.split("\n\n")[0].split())
    return _plain(first)


def _plain(text: str) -> str:
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "").rstrip(".")


def _resolver_text(name: str) -> str:
    if name == "training_data_stats":
        return "a statistic of this run's training data by name, which data.stats_manager computes"
    documentation = inspect.getdoc(RESOLVERS[name]) or "see the documentation"
    return documentation.splitlines()[0].replace("``", "").rstrip(".")


def markdown() -> str:
    """The reference page of all public names."""
    parts = [_HEAD, "## The sections of a config\n", _table(("key", "meaning"), TOP_LEVEL.items())]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += _by_class(names)
    parts.append("## Parts of models\n")
    parts += _by_class(dict.fromkeys(MODEL_PARTS, ""))
    parts += ["## Names that are refused, and what to write instead\n", _table(("name", "instead"), REFUSED.items())]
    rows = [(f"`${{{name}:...}}`", _resolver_text(name)) for name in [*RESOLVERS, "training_data_stats"]]
    parts += ["## Functions in configs\n", _table(("call", "value"), rows)]
    return "\n".join(parts)


def _by_class(names: dict[str, str]) -> Iterator[str]:
    """One part per class or function, however many names it has."""
    grouped: dict[str, list[str]] = {}
    for name, path in names.items():
        grouped.setdefault(path or name, []).append(name)
    for group in grouped.values():
        titles = ", ".join(f"`{name}`" for name in group)
        yield f"### {titles}\n\n{_escaped(summary_of(group[0]))}.\n"
        parameters = parameters_of(group[0])
        if parameters:
            rows = [
                (
                    f"`{p.name}`",
                    in_words(p.annotation) + _range_words(group[0], p),
                    "required" if p.is_required else f"`{_default(p)}`",
                    p.text,
                )
                for p in parameters
            ]
            yield _table(("parameter", "type", "default", "meaning"), rows)


def _range_words(target: str, parameter: Parameter) -> str:
    limits = range_of(target, parameter.name)
    return f"; {limits}" if limits else ""


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_escaped(str(cell)) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text).replace("``", "`").replace("|", "\\|")

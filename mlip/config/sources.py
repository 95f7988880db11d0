"""Where in the user's files, or on the command line, each entry of a composed config was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlip.config.problems import Place

if TYPE_CHECKING:
    import yaml

# place of an entry -> "file:line:column", or the override that set it
Sources = Mapping[Place, str]


def positions(path: Path, package: Place = ()) -> dict[Place, str]:
    """``file:line:column`` of every entry of a YAML file; lines and columns start at 1.

    Args:
        path: the file.
        package: where in the whole config its content goes.
    """
    import yaml

    root = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    if root is None:
        return {}
    return {place: f"{path}:{mark.line + 1}:{mark.column + 1}" for place, mark in _marks(root, package)}


def _marks(node: yaml.Node, place: Place) -> Iterator[tuple[Place, yaml.Mark]]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            yield inner, key.start_mark
            yield from _marks(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*place, index), value.start_mark
            yield from _marks(value, (*place, index))


def with_overrides(sources: Sources, overrides: Iterable[str]) -> dict[Place, str]:
    """The sources with entries that the command line sets, or sets again, named as such."""
    found = dict(sources)
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~").partition("@")[0]
        place = place_of(key)
        for known in [known for known in found if known[: len(place)] == place]:
            del found[known]
        found[place] = f"override {override}"
    return found


def source_of(sources: Sources, place: Place) -> str:
    """Where ``place`` was written, or what holds it; "" when that is not known."""
    for length in range(len(place), 0, -1):
        if place[:length] in sources:
            return sources[place[:length]]
    return ""


def sources_of_this_job() -> dict[Place, str]:
    """Sources of the config that Hydra composed for the running command; nothing outside of Hydra."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    if not HydraConfig.initialized() or not GlobalHydra.instance().is_initialized():
        return {}
    job = HydraConfig.get()
    folders = [Path(source.path) for source in job.runtime.config_sources if source.schema == "file"]
    # as the user wrote them: read entry by entry, interpolations in them would be resolved
    given: Any = OmegaConf.to_container(job.overrides, resolve=False)
    task = [str(override) for override in given["task"]]
    loader = GlobalHydra.instance().config_loader()
    listed = loader.compute_defaults_list(job.job.config_name, [*map(str, given["hydra"]), *task], RunMode.RUN).defaults
    found: dict[Place, str] = {}
    for entry in listed:
        if not entry.config_path or entry.config_path.startswith("hydra/"):
            continue
        package: Place = tuple(part for part in (entry.package or "").split(".") if part and part != "_global_")
        path = _first_file(folders, entry.config_path)
        if path is not None:
            found.update(positions(path, package))
    return with_overrides(found, task)


def place_of(key: str) -> Place:
    """``data.transforms.0`` or ``data.transforms[0]`` as ``("data", "transforms", 0)``."""
    parts = key.replace("[", ".").replace("]", "").split(".")
    return tuple(int(part) if part.isdigit() else part for part in parts)


def _first_file(folders: Iterable[Path], name: str) -> Path | None:
    for folder in folders:
        for suffix in ("", ".yaml", ".yml"):
            path = folder / f"{name}{suffix}"
            if path.is_file():
                return _shortest(path)
    return None


def _shortest(path: Path) -> Path:
    """Relative to the current folder where it lies in it: what the user typed, and what an editor opens."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path

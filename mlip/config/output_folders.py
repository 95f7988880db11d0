"""Folders of finished runs beside a config are not groups of configs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any


@cache
def ignore_output_folders() -> None:
    """Let Hydra take no folder that it has written itself for a group of configs.

    Hydra sees a group in every folder beside a config. After a run into ``run`` the override ``run=[test]`` would ask
    for a config of that group, and fail.
    """
    from hydra._internal.sources_registry import SourcesRegistry
    from hydra.core.plugins import Plugins

    Plugins.instance()  # fills the registry, with classes of its own loading
    source: Any = SourcesRegistry.instance().resolve("file")
    is_group = source.is_group

    def is_group_of_configs(self: Any, config_path: str) -> bool:
        return bool(is_group(self, config_path)) and not (Path(self.path) / config_path / ".hydra").is_dir()

    source.is_group = is_group_of_configs

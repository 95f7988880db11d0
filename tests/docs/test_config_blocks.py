"""YAML in the documentation is accepted by the programs that would read it."""

from __future__ import annotations

import contextlib
import copy
import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlip.cli import train
from mlip.config.describe import TOP_LEVEL
from mlip.jobs import profile
from mlip.stack import recipe
from tests import golden_model_files as golden
from tests.docs.pages import ROOT, Block, blocks

YAML = blocks("yaml")
WHOLE = {"data", "trainer", "training_module"}
OTHER_PER_BLOCK = 0.25
PACKAGE = golden.FOLDER / "package-1.nequip.zip"


def kind(block: Block) -> str:
    """What a block is a part of."""
    content = yaml.safe_load(block.text)
    if not isinstance(content, dict):
        return "other"
    if {"sources", "batch"} & set(content):
        return "site"
    if "extends" in content or {"torch", "mpi"} <= set(content):
        return "recipe"
    return "config" if set(content) & set(TOP_LEVEL) else "other"


def of_kind(wanted: str) -> list[Block]:
    """The blocks of a kind."""
    return [block for block in YAML if kind(block) == wanted]


@pytest.mark.parametrize("block", of_kind("config"), ids=str)
def test_configs_are_valid(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"[\w.-]+\.nequip\.zip", block.text):
        shutil.copy(PACKAGE, name)
    content = yaml.safe_load(block.text)
    if not set(content) >= WHOLE and "defaults" not in content:
        demo = yaml.safe_load((ROOT / "configs/demo_allegro.yaml").read_text())
        content = filled(demo, content)
    content = with_parameters(content, sections_of_the_demos())
    Path("block.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        train.main(["block.yaml", "--check"])
    assert not said.getvalue(), f"{block}: {said.getvalue()}"


def filled(base: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A part of a config with the rest of a whole one around it; a section with another ``_target_`` is its own."""
    whole = copy.deepcopy(base)
    for key, value in part.items():
        before = whole.get(key)
        own = isinstance(value, dict) and "_target_" in value and isinstance(before, dict)
        replaces = own and value["_target_"] != before.get("_target_")  # type: ignore[union-attr]
        if isinstance(value, dict) and isinstance(before, dict) and not replaces and "batch_sampler" not in value:
            whole[key] = filled(before, value)
        else:
            whole[key] = value
    return whole


def sections_of_the_demos() -> dict[str, Any]:
    """``_target_`` -> the whole section of a model in the configs of the demos."""
    configs = [yaml.safe_load((ROOT / f"configs/demo_{name}.yaml").read_text()) for name in ("allegro", "nequip")]
    models = [config["training_module"]["model"] for config in configs]
    return {model["_target_"]: model for model in models}


def with_parameters(value: Any, sections: dict[str, Any]) -> Any:
    """The same with whole sections where a page gives but the ``_target_`` of a model."""
    if isinstance(value, list):
        return [with_parameters(item, sections) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"_target_"} and value["_target_"] in sections:
        return sections[value["_target_"]]
    return {key: with_parameters(item, sections) for key, item in value.items()}


@pytest.mark.parametrize("block", of_kind("recipe"), ids=str)
def test_recipes_are_valid(block: Block, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    (tmp_path / "recipes/stacks/of-a-page.yaml").write_text(block.text)
    assert recipe.load("of-a-page", tmp_path).name == "of-a-page"


@pytest.mark.parametrize("block", of_kind("site"), ids=str)
def test_sites_are_valid(block: Block, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    (tmp_path / "recipes/sites/of-a-page").mkdir()
    (tmp_path / "recipes/sites/of-a-page/site.yaml").write_text(block.text)
    assert "of-a-page" in profile.names(tmp_path)
    assert profile.read("of-a-page", tmp_path).value["summary"]


def test_other_yaml_is_rare() -> None:
    """What no program of ours reads is looked at for its form only, by being read here."""
    assert len(of_kind("other")) <= OTHER_PER_BLOCK * len(YAML)

"""How two stacks differ: keys of the recipes and artifacts of the locks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mlip.stack import diff, recipe
from mlip.stack.diff import Difference
from tests.unit.stack.recipes import change


@dataclass(frozen=True)
class Item:
    """An artifact, as locks have them."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Artifacts:
    """What a lock contains."""

    debs: list[Item] = field(default_factory=list)
    wheels: list[Item] = field(default_factory=list)
    sources: list[Item] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)


class TestRecipes:
    def test_a_stack_does_not_differ_from_itself(self) -> None:
        assert not diff.recipes(recipe.load("cpu"), recipe.load("cpu"))

    def test_the_versions_of_frontier_s_stacks(self) -> None:
        found = diff.recipes(recipe.load("rocm-6.4"), recipe.load("rocm-7.1"))
        assert found == [
            Difference("recipe", "site.cpe", "25.09", "26.03"),
            Difference("recipe", "site.cray_mpich", "9.0.1", "9.1.0"),
            Difference("recipe", "toolkit.version", "6.4.2", "7.1.1"),
            Difference("recipe", "torch.build", "rocm6.4", "rocm7.1"),
            Difference("recipe", "torch.version", "2.9.1", "2.10.0"),
        ]

    def test_items_of_lists_one_by_one(self) -> None:
        found = {
            entry.name: (entry.first, entry.second) for entry in diff.recipes(recipe.load("cpu"), recipe.load("cuda"))
        }
        assert found["kokkos.backends: CUDA"] == (None, "yes")
        assert "kokkos.backends: OPENMP" not in found

    def test_versions_that_come_from_the_recipe_of_lammps(self) -> None:
        found = {
            entry.name: (entry.first, entry.second) for entry in diff.recipes(recipe.load("cpu"), recipe.load("cuda"))
        }
        assert found["lammps.version"] == ("20260704", "20260330")

    def test_one_version_changed_is_one_line(self, checkout: Path) -> None:
        before = recipe.load("rocm-6.4")
        change(checkout / "recipes/stacks/rocm-6.4.yaml", "version: 2.9.1", "version: 2.9.0")
        assert diff.recipes(before, recipe.load("rocm-6.4")) == [
            Difference("recipe", "torch.version", "2.9.1", "2.9.0")
        ]


class TestLocks:
    one = Artifacts(
        debs=[Item("bash", "5.2", "aa" * 32), Item("less", "643", "bb" * 32)],
        wheels=[Item("torch", "2.9.1", "cc" * 32)],
    )

    def test_versions_files_added_and_files_removed(self) -> None:
        other = replace(
            self.one,
            debs=[Item("bash", "5.3", "dd" * 32)],
            wheels=[*self.one.wheels, Item("triton", "3.5.1", "ee" * 32)],
        )
        assert diff.artifacts(self.one, other) == [
            Difference("deb", "bash", "5.2 (aaaaaaaa)", "5.3 (dddddddd)"),
            Difference("deb", "less", "643 (bbbbbbbb)", None),
            Difference("wheel", "triton", None, "3.5.1 (eeeeeeee)"),
        ]

    def test_another_file_under_the_same_version(self) -> None:
        other = replace(self.one, wheels=[Item("torch", "2.9.1", "ff" * 32)])
        assert diff.artifacts(self.one, other) == [
            Difference("wheel", "torch", "2.9.1 (cccccccc)", "2.9.1 (ffffffff)"),
        ]

    def test_several_versions_under_one_name(self) -> None:
        two = replace(self.one, debs=[Item("bash", "5.2", "aa" * 32), Item("bash", "5.3", "dd" * 32)])
        assert diff.artifacts(two, two) == []
        assert [entry.name for entry in diff.artifacts(self.one, two)] == ["bash", "less"]

    def test_that_are_not_there_are_said_and_recipes_still_compared(self, checkout: Path) -> None:
        found, note = diff.compare(recipe.load("rocm-6.4"), recipe.load("rocm-7.1"))
        assert found
        assert "run mlip stack lock rocm-6.4" in note

    @pytest.mark.parametrize("name", ["summary", "source", "date"])
    def test_words_about_a_stack_are_no_difference(self, name: str) -> None:
        stack = recipe.load("cpu")
        other = replace(stack, raw={**stack.raw, name: "other words"})
        assert not diff.recipes(stack, other)

"""The checks that need a Spack, with one that only says what the test wants."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlip.stack import recipe, spack_job, spack_machine
from mlip.stack.errors import StackError
from mlip.stack.spack_machine import Machine
from tests.unit.stack.spack_checkout import spack_checkout
from tests.unit.stack.test_spack_locks import LOCK, changed

SOURCES = [{"name": "py-thing", "version": "1.0", "file": "thing-1.0.tar.gz", "sha256": "0" * 64}]


@dataclass(frozen=True)
class Pretended(Machine):
    """A machine whose Spack finds a lock, and fails where it is told to."""

    folder: Path = Path()
    lock: dict[str, Any] = field(default_factory=dict)
    fails: str = ""
    called: list[str] = field(default_factory=list)

    @property
    def work(self) -> Path:
        return self.folder

    def run(self, *words: str, capture: bool = True) -> subprocess.CompletedProcess[str]:
        self.called.append(" ".join(words))
        said = f"@@ {json.dumps([{**one, 'url': 'https://code.example.org/x'} for one in SOURCES])}\n"
        if "concretize" in words:
            (self.folder / "envs/cpu/spack.lock").write_text(json.dumps(self.lock))
        failed = bool(self.fails) and self.fails in words
        return subprocess.CompletedProcess(words, int(failed), "no solution" if failed else said, "")


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pretended]:
    """Makes such a machine; the checkout is a copy."""
    copy = spack_checkout(tmp_path / "checkout")
    monkeypatch.setattr(spack_job, "checkout", lambda: copy)
    monkeypatch.setattr("mlip.stack.places.checkout", lambda: copy)
    (tmp_path / "work/tmp").mkdir(parents=True)

    def make(lock: dict[str, Any] = LOCK, fails: str = "") -> Pretended:
        empty = Path("/nowhere")
        return Pretended(empty, empty, empty, empty, empty, folder=tmp_path / "work", lock=lock, fails=fails)

    return make


class TestConcretizing:
    def test_writes_lock_and_sources_where_that_is_asked_for(
        self, pretended: Callable[..., Pretended], tmp_path: Path
    ) -> None:
        said = spack_job.concretize(pretended(), recipe.load("cpu"), write=True)
        assert said == "2 packages, 2 of them built; written"
        folder = tmp_path / "checkout/spack/envs/cpu"
        assert json.loads((folder / "spack.lock").read_text()) == LOCK
        assert json.loads((folder / "sources.json").read_text()) == SOURCES

    def test_is_content_with_the_same_again(self, pretended: Callable[..., Pretended]) -> None:
        spack_job.concretize(pretended(), recipe.load("cpu"), write=True)
        assert spack_job.concretize(pretended(), recipe.load("cpu"), write=False).endswith("as in spack.lock")

    def test_names_what_has_changed(self, pretended: Callable[..., Pretended]) -> None:
        spack_job.concretize(pretended(), recipe.load("cpu"), write=True)
        other = pretended(changed("bbb", "parameters", {"openmp": False}))
        with pytest.raises(StackError, match=r"make spack-lock:\nkokkos@5\.0\.2: parameters was"):
            spack_job.concretize(other, recipe.load("cpu"), write=False)

    def test_fails_where_spack_finds_no_solution(self, pretended: Callable[..., Pretended]) -> None:
        with pytest.raises(StackError, match=r"concretize --force ended with 1:\nno solution"):
            spack_job.concretize(pretended(fails="concretize"), recipe.load("cpu"), write=False)

    def test_starts_from_what_is_committed_and_from_no_lock(
        self, pretended: Callable[..., Pretended], tmp_path: Path
    ) -> None:
        folder = spack_job.environment_copy(pretended(), recipe.load("cpu"))
        (folder / "spack.lock").touch()
        spack_job.environment_copy(pretended(), recipe.load("cpu"))
        assert {path.name for path in folder.iterdir()} == {"spack.yaml", "machine.yaml"}
        assert (folder / "spack.yaml").read_text() == (tmp_path / "checkout/spack/envs/cpu/spack.yaml").read_text()


class TestSteps:
    def test_all_environments_are_concretized_before_anything_is_installed(
        self, pretended: Callable[..., Pretended]
    ) -> None:
        stacks = [recipe.load(name) for name in ("cpu", "cuda", "rocm")]
        names = [name for name, _ in spack_job.steps(pretended(), stacks, write=False, build=True)]
        assert names[:6] == ["audit", "classes", "concretize cpu", "concretize cuda", "concretize rocm-6.4", "mirror"]
        assert names[6:] == ["install py-pyproject-hooks", "install lammps-mlip", "test", "view, modules"]

    def test_a_module_file_that_is_missing_is_an_error(self, pretended: Callable[..., Pretended]) -> None:
        with pytest.raises(StackError, match="no module file"):
            spack_job.view_and_modules(pretended(), recipe.load("cpu"))


class TestSpackItself:
    def test_is_named_by_spack_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SPACK_ROOT", raising=False)
        with pytest.raises(StackError, match="SPACK_ROOT is not set"):
            spack_machine.spack_root()
        monkeypatch.setenv("SPACK_ROOT", str(tmp_path))
        with pytest.raises(StackError, match="there is no bin/spack in SPACK_ROOT"):
            spack_machine.spack_root()

    def test_brings_its_packages_or_is_told_where_they_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SPACK_PACKAGES", raising=False)
        monkeypatch.setenv("SPACK_USER_CACHE_PATH", str(tmp_path))
        with pytest.raises(StackError, match="SPACK_PACKAGES name a clone of spack-packages"):
            spack_machine.package_clone(tmp_path)
        repository = tmp_path / "package_repos/abc/repos/spack_repo/builtin"
        repository.mkdir(parents=True)
        (repository / "repo.yaml").touch()
        assert spack_machine.package_clone(tmp_path) == tmp_path / "package_repos/abc"

"""What made an image is written down: programs by version and hash, of the image and of its Apptainer file."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from mlip.stack import blobs, mmdebstrap, provenance, recipe
from mlip.stack import lock as locks
from mlip.stack.errors import StackError
from tests.fake_archives import own_cache

__all__ = ["own_cache"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with an `apt-get`, a `perl` and a `tool` that tell their versions."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in ("apt-get", "perl", "tool"):
        (path / name).write_text(f"#!{shutil.which('sh')}\necho {name} 1.2\necho more\n")
        (path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(path))
    return path


def test_programs_are_named_by_version_and_hash(folder: Path) -> None:
    content = (folder / "tool").read_bytes()
    wanted = {"version": "tool 1.2", "sha256": hashlib.sha256(content).hexdigest()}
    assert provenance.tools("tool", "nowhere") == {"tool": wanted}
    assert provenance.tools(folder / "tool") == {"tool": wanted}


def test_an_mmdebstrap_of_the_cache_is_named_by_its_package(folder: Path) -> None:
    assert not (folder / "mmdebstrap").exists()
    assert provenance.root_filesystem_tools()["mmdebstrap"]["sha256"] == mmdebstrap.package().sha256


def test_a_machine_without_mmdebstrap_is_told_who_brings_it(folder: Path, own_cache: Path, tmp_path: Path) -> None:
    assert folder.is_dir()
    assert own_cache.is_dir()
    assert [deb.name for deb in mmdebstrap.wanted()] == ["mmdebstrap"]
    assert not blobs.has(mmdebstrap.package().sha256)
    with pytest.raises(StackError, match="no 'mmdebstrap' here or in the cache: mlip stack fetch NAME brings it"):
        mmdebstrap.program(tmp_path)


def test_a_machine_that_has_one_fetches_it_for_others_only(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "tool", folder / "mmdebstrap")
    assert mmdebstrap.wanted() == []
    assert len(mmdebstrap.wanted(elsewhere=True)) == 1
    assert mmdebstrap.program(tmp_path) == [str(folder / "mmdebstrap")]


def test_the_apptainer_file_is_added_to_its_image_and_not_to_another(tmp_path: Path) -> None:
    stack = recipe.load("cpu")
    lock = locks.Lock("cpu", stack.digest, "2026-11-21")
    path = provenance.path_of(stack, tmp_path)
    provenance.record(stack, lock, tmp_path, {"image": "mlip:cpu", "digest": "sha256:1"})
    provenance.record(stack, lock, tmp_path, {"sif": {"digest": "sha256:2"}})
    found = json.loads(path.read_text())
    assert (found["digest"], found["sif"]["digest"], found["lock"]) == ("sha256:1", "sha256:2", lock.digest)
    provenance.record(stack, lock, tmp_path, {"image": "mlip:cpu", "digest": "sha256:3"})
    assert "sif" not in json.loads(path.read_text())

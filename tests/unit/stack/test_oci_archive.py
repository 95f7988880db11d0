"""Archives of images: the kinds are told apart, and one written later has the same bytes."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from mlip.stack import engine, engines
from mlip.stack.errors import StackError
from tests.unit.stack.image_archives import docker_archive, oci_archive


def test_an_oci_archive_written_later_has_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("content")
    for number, names in enumerate((["a", "b"], ["b", "a"])):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as file:
            for name in names:
                os.utime(tmp_path / "blob", (number, number))
                file.add(tmp_path / "blob", name)
        engine.rewrite_archive(tmp_path / f"{number}.tar", tmp_path / f"{number}.new")

    assert (tmp_path / "0.tar").read_bytes() != (tmp_path / "1.tar").read_bytes()
    assert (tmp_path / "0.new").read_bytes() == (tmp_path / "1.new").read_bytes()


def test_kinds_of_archives_are_told_apart(tmp_path: Path) -> None:
    assert not engines.is_oci(docker_archive(tmp_path))
    assert engines.is_oci(oci_archive(tmp_path))
    (tmp_path / "other").write_text("text")
    with pytest.raises(StackError, match="other is no archive of an image"):
        engines.is_oci(tmp_path / "other")

"""A root filesystem is the same bytes whichever mmdebstrap made it."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from mlip.stack.system import drop_devices

pytestmark = pytest.mark.skipif(shutil.which("tar") is None, reason="this machine has no tar")


def archive(path: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as file:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            file.addfile(entry)
    return path


def test_the_folder_of_devices_is_not_in_it(tmp_path: Path) -> None:
    with_devices = archive(tmp_path / "new.tar", ["./", "./dev/", "./bin/"])
    without = archive(tmp_path / "old.tar", ["./", "./bin/"])
    before = without.read_bytes()
    for path in (with_devices, without):
        drop_devices(path)
    with tarfile.open(with_devices) as file:
        assert file.getnames() == [".", "./bin"]
    assert without.read_bytes() == before
    assert with_devices.read_bytes() == before

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from mlip.stack import blobs, bundle, fetch
from mlip.stack.errors import StackError
from mlip.stack.lock import Lock
from tests.fake_archives import lock_of, make_wheel, own_cache, wheel_of

__all__ = ["own_cache"]
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    """A lock whose files are in the cache."""
    files = [make_wheel(tmp_path, name) for name in ("first", "second", "third")]
    made = lock_of(wheels=[wheel_of(file) for file in files])
    for file, wheel in zip(files, made.wheels, strict=True):
        blobs.add(file, wheel.sha256, move=True)
    return made


def empty_the_cache(lock: Lock) -> None:
    for archive in lock.archives():
        blobs.path(archive.sha256).unlink()


def test_a_bundle_brings_all_files_to_another_machine(lock: Lock, tmp_path: Path) -> None:
    bundle.write(lock, tmp_path / "out" / "tiny.tar")
    empty_the_cache(lock)
    bundle.read(lock, tmp_path / "out" / "tiny.tar")
    assert fetch.missing(lock) == []
    assert bundle.lock_of(tmp_path / "out" / "tiny.tar") == lock


def test_the_same_lock_gives_the_same_bytes(lock: Lock, tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        bundle.write(lock, tmp_path / name)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = tar.getmembers()
    assert members[0].name == "lock.json"
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(lock.epoch, 0, 0, "", 0o644)}


def test_a_bundle_needs_all_files(lock: Lock, tmp_path: Path) -> None:
    blobs.path(lock.wheels[1].sha256).unlink()
    with pytest.raises(StackError, match=r"1 files of tiny are not in the cache \(second-1\.0.*mlip stack fetch tiny"):
        bundle.write(lock, tmp_path / "tiny.tar")
    assert not (tmp_path / "tiny.tar").exists()


def test_a_file_that_was_damaged_in_the_cache_is_not_handed_on(lock: Lock, tmp_path: Path) -> None:
    path = blobs.path(lock.wheels[1].sha256)
    path.chmod(0o644)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(StackError, match=r"second-1\.0.* was damaged in the cache and is removed"):
        bundle.write(lock, tmp_path / "tiny.tar")
    assert list(tmp_path.glob("tiny.tar*")) == []


def test_a_bundle_that_ends_early_gives_what_it_has_and_the_next_try_the_rest(lock: Lock, tmp_path: Path) -> None:
    whole = tmp_path / "tiny.tar"
    bundle.write(lock, whole)
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[: -len(whole.read_bytes()) // 2])
    empty_the_cache(lock)
    with pytest.raises(StackError, match=r"cut\.tar .*copy it here again|cut\.tar lacks"):
        bundle.read(lock, tmp_path / "cut.tar")
    there = {a.sha256: blobs.path(a.sha256).stat().st_ino for a in lock.archives() if blobs.has(a.sha256)}
    assert 0 < len(there) < 3
    bundle.read(lock, whole)
    assert fetch.missing(lock) == []
    for sha256, node in there.items():  # not written again
        assert blobs.path(sha256).stat().st_ino == node


def test_a_file_that_was_changed_in_the_bundle_is_refused(lock: Lock, tmp_path: Path) -> None:
    file = tmp_path / "tiny.tar"
    bundle.write(lock, file)
    with tarfile.open(file) as tar:
        start = tar.getmembers()[2].offset_data
    content = bytearray(file.read_bytes())
    content[start + 10] ^= 1
    file.write_bytes(content)
    empty_the_cache(lock)
    with pytest.raises(StackError, match=r"in .*tiny\.tar has the sha256"):
        bundle.read(lock, file)
    assert len(fetch.missing(lock)) == 2


def test_a_bundle_of_an_older_lock_says_so(lock: Lock, tmp_path: Path) -> None:
    older = replace(lock, date="2026-01-01", wheels=lock.wheels[:2])
    bundle.write(older, tmp_path / "tiny.tar")
    empty_the_cache(lock)
    with pytest.raises(StackError, match=r"lacks 1 files of tiny \(third.*from the lock of tiny of 2026-01-01"):
        bundle.read(lock, tmp_path / "tiny.tar")


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100])
def test_another_file_is_no_bundle(lock: Lock, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(StackError, match=r"x\.tar is no bundle"):
        bundle.read(lock, tmp_path / "x.tar")


def test_another_archive_is_no_bundle(lock: Lock, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("README"))
    with pytest.raises(StackError, match="is a tar archive but no bundle"):
        bundle.read(lock, tmp_path / "x.tar")


def test_a_bundle_that_is_not_there_names_the_command_that_writes_one(lock: Lock, tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"there is no bundle .*--bundle"):
        bundle.read(lock, tmp_path / "x.tar")

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

from mlip.stack import blobs
from mlip.stack.errors import StackError
from tests.fake_archives import own_cache, sha256

__all__ = ["own_cache"]
CONTENT = b"an archive"
HASH = sha256(CONTENT)
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "archive.tar"
    file.write_bytes(CONTENT)
    return file


def everything_in_the_cache() -> list[Path]:
    return [path for path in blobs.folder().rglob("*") if path.is_file()]


@pytest.mark.parametrize("move", [False, True])
def test_a_file_is_kept_under_its_hash(archive: Path, move: bool) -> None:
    path = blobs.add(archive, HASH, move=move)
    assert path == blobs.path(HASH)
    assert path.parent.name == HASH[:2]
    assert path.read_bytes() == CONTENT
    assert archive.exists() != move
    assert everything_in_the_cache() == [path]


def test_nobody_can_write_to_a_file_of_the_cache_by_accident(archive: Path) -> None:
    assert blobs.add(archive, HASH).stat().st_mode & 0o222 == 0


@pytest.mark.parametrize("move", [False, True])
def test_a_file_with_another_hash_is_refused_and_the_cache_is_as_before(archive: Path, move: bool) -> None:
    with pytest.raises(StackError, match=r"archive\.tar has the sha256 .* the lock says 0000.*cache is as before"):
        blobs.add(archive, "0" * 64, move=move)
    assert everything_in_the_cache() == []
    assert archive.exists()


def test_a_full_disk_is_said_in_a_sentence_and_leaves_nothing_half_written(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StackError, match=r"no room left for archive\.tar in .*MLIP_CACHE"):
        blobs.add(archive, HASH)
    assert everything_in_the_cache() == []


def test_an_interrupted_copy_leaves_nothing_half_written() -> None:
    class BrokenOff(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        blobs.add_stream(BrokenOff(), HASH, "archive.tar")
    assert everything_in_the_cache() == []


def test_a_file_of_another_size_does_not_count_as_there(archive: Path) -> None:
    assert not blobs.has(HASH)
    blobs.add(archive, HASH)
    assert blobs.has(HASH)
    assert blobs.has(HASH, len(CONTENT))
    assert not blobs.has(HASH, len(CONTENT) + 1)


def test_a_damaged_file_is_found_and_removed(archive: Path) -> None:
    path = blobs.add(archive, HASH)
    assert not blobs.damaged(HASH)
    path.chmod(0o644)
    path.write_bytes(b"an archivE")
    assert blobs.damaged(HASH)
    assert not blobs.has(HASH)


def test_files_are_laid_out_under_their_own_names(archive: Path, tmp_path: Path) -> None:
    blobs.add(archive, HASH)
    target = blobs.link(HASH, tmp_path / "context" / "archive.tar")
    assert target.read_bytes() == CONTENT
    assert target.samefile(blobs.path(HASH))
    blobs.link(HASH, target)  # again, over the one that is there


def test_on_another_disk_they_are_copied_with_the_same_mode(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_disk(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    blobs.add(archive, HASH)
    monkeypatch.setattr(os, "link", other_disk)
    target = blobs.link(HASH, tmp_path / "copy.tar")
    assert target.read_bytes() == CONTENT
    assert target.stat().st_mode == blobs.path(HASH).stat().st_mode


def test_laying_out_what_is_not_there_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"archive\.tar is not in the cache .*mlip stack fetch"):
        blobs.link(HASH, tmp_path / "archive.tar")


def test_what_is_no_hash_is_refused() -> None:
    with pytest.raises(StackError, match="is no sha256"):
        blobs.path("../../etc/passwd")

from __future__ import annotations

import errno
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlip.stack import apt, blobs, downloads, fetch
from mlip.stack.errors import StackError
from mlip.stack.lock import Unresolved
from tests.fake_archives import (
    deb_of,
    lock_of,
    make_deb,
    make_index,
    make_repository,
    make_wheel,
    needs_apt,
    own_cache,
    sha256,
    source_of,
    wheel_of,
)
from tests.local_server import LocalServer, local_server

__all__ = ["own_cache"]
ARCHIVE = bytes(range(256)) * 1000
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server() as running:
        running.files["/tiny-1.tar.gz"] = ARCHIVE
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


def work_left() -> list[str]:
    return sorted(path.name for path in fetch.work_folder().rglob("*") if path.is_file() and path.suffix != ".txt")


def test_a_source_is_fetched_once(server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    lock = lock_of(sources=[source_of(ARCHIVE, f"{server.url}/tiny-1.tar.gz")])
    assert [a.file for a in fetch.missing(lock)] == ["tiny-1.tar.gz"]
    fetch.fetch(lock)
    assert fetch.missing(lock) == []
    assert blobs.path(lock.sources[0].sha256).read_bytes() == ARCHIVE
    assert "fetched 1 of 1 files" in capsys.readouterr().out
    fetch.fetch(lock)
    assert len(server.requests) == 1
    assert "all 1 files are in the cache" in capsys.readouterr().out
    assert work_left() == []


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server: LocalServer) -> None:
    server.break_after = len(ARCHIVE) // 3
    fetch.fetch(lock_of(sources=[source_of(ARCHIVE, f"{server.url}/tiny-1.tar.gz")]))
    starts = [0 if wanted is None else int(wanted.strip("bytes=-")) for _, wanted in server.requests]
    assert starts == [n * server.break_after for n in range(4)]


def test_a_download_that_breaks_off_for_good_says_so_and_the_next_run_goes_on(server: LocalServer) -> None:
    lock = lock_of(sources=[source_of(ARCHIVE, f"{server.url}/tiny-1.tar.gz")])
    server.break_after = 1000
    with pytest.raises(StackError, match=r"tiny-1\.tar\.gz broke off 5 times, after 5000 bytes: fetch again"):
        fetch.fetch(lock)
    assert len(fetch.missing(lock)) == 1
    server.break_after = None
    fetch.fetch(lock)
    assert server.requests[-1] == ("/tiny-1.tar.gz", "bytes=5000-")


def test_a_server_that_gives_no_parts_is_asked_for_the_whole(server: LocalServer) -> None:
    lock = lock_of(sources=[source_of(ARCHIVE, f"{server.url}/tiny-1.tar.gz")])
    fetch.work_folder().mkdir()
    (fetch.work_folder() / "tiny-1.tar.gz.partial").write_bytes(ARCHIVE[:1000])
    server.ranges = False
    fetch.fetch(lock)
    assert fetch.missing(lock) == []


def test_another_content_than_the_locks_is_not_used(server: LocalServer) -> None:
    lock = lock_of(sources=[source_of(b"what was locked", f"{server.url}/tiny-1.tar.gz")])
    with pytest.raises(StackError, match=r"tiny-1\.tar\.gz has the sha256 .*, the lock says .*MLIP_SOURCES"):
        fetch.fetch(lock)
    assert len(fetch.missing(lock)) == 1
    assert work_left() == []


@pytest.mark.parametrize(
    "status,words", [(404, "is gone .*MLIP_SOURCES.*another address"), (503, "answers 503 .*try later")]
)
def test_an_address_that_refuses_is_named(server: LocalServer, status: int, words: str) -> None:
    server.status = status
    with pytest.raises(StackError, match=words):
        fetch.fetch(lock_of(sources=[source_of(ARCHIVE, f"{server.url}/tiny-1.tar.gz")]))


def test_without_a_network_the_other_ways_are_named() -> None:
    lock = lock_of(sources=[source_of(ARCHIVE, "http://127.0.0.1:9/tiny-1.tar.gz")])
    with pytest.raises(StackError, match=r"no network to http://127\.0\.0\.1:9.*MLIP_SOURCES or a bundle"):
        fetch.fetch(lock)


@pytest.mark.parametrize("name", ["tiny-1.tar.gz", "by-hash", "renamed.tar.gz"])
def test_brought_files_are_taken_before_anything_is_downloaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    wheel = wheel_of(make_wheel(folder, "small"))
    source = source_of(ARCHIVE, "http://127.0.0.1:9/tiny-1.tar.gz")
    (folder / "within").mkdir()
    if name == "renamed.tar.gz":  # found by its size, which a wheel's entry states
        (folder / wheel.file).rename(folder / "within" / name)
        lock = lock_of(wheels=[wheel])
    else:
        (folder / "within" / (source.sha256 if name == "by-hash" else name)).write_bytes(ARCHIVE)
        lock = lock_of(sources=[source])
    monkeypatch.setenv("MLIP_SOURCES", f"{folder}{os.pathsep}")
    fetch.fetch(lock)
    assert fetch.missing(lock) == []


def test_a_brought_file_of_another_content_is_passed_over(
    folder: Path, server: LocalServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tiny-1.tar.gz").write_bytes(b"something else")
    monkeypatch.setenv("MLIP_SOURCES", str(folder))
    lock = lock_of(sources=[source_of(ARCHIVE, f"{server.url}/tiny-1.tar.gz")])
    fetch.fetch(lock)
    assert fetch.missing(lock) == []
    assert "is passed over" in capsys.readouterr().out


def test_a_folder_of_mlip_sources_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLIP_SOURCES", "/nowhere")
    with pytest.raises(StackError, match="MLIP_SOURCES names /nowhere"):
        fetch.fetch(lock_of(sources=[source_of(ARCHIVE, "http://127.0.0.1:9/")]))


def test_what_an_interrupted_run_left_whole_is_used() -> None:
    lock = lock_of(sources=[source_of(ARCHIVE, "http://127.0.0.1:9/tiny-1.tar.gz")])
    (fetch.work_folder() / "debian").mkdir(parents=True)
    (fetch.work_folder() / "debian" / "tiny-1.tar.gz").write_bytes(ARCHIVE)
    fetch.fetch(lock)
    assert fetch.missing(lock) == []
    assert work_left() == []


def test_a_disk_that_is_too_small_is_said_before_downloading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StackError, match=r"1 files of 0 MB are missing and .* has room for 0 MB.*MLIP_CACHE"):
        fetch.fetch(lock_of(wheels=[wheel_of(make_wheel(folder, "small"))]))


def test_a_disk_that_fills_up_meanwhile_is_said(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(downloads, "_continue", full)
    with pytest.raises(StackError, match=r"no room left for tiny-1\.tar\.gz .*what is complete there stays"):
        fetch.fetch(lock_of(sources=[source_of(ARCHIVE, f"{server.url}/tiny-1.tar.gz")]))


def test_what_the_lock_could_not_pin_is_said_after_all_else_is_fetched(server: LocalServer) -> None:
    lock = lock_of(sources=[source_of(ARCHIVE, f"{server.url}/tiny-1.tar.gz")])
    lock = replace(lock, unresolved=[Unresolved("the digest of an image", "no registry in reach", "pull it")])
    with pytest.raises(StackError, match=r"the digest of an image is not in the lock of tiny: no registry.*pull it"):
        fetch.fetch(lock)
    assert fetch.missing(lock) == []


def test_one_missing_file_does_not_keep_the_others_away(server: LocalServer) -> None:
    gone = replace(source_of(b"gone", f"{server.url}/gone.tar.gz", "gone.tar.gz"), name="gone")
    lock = lock_of(sources=[gone, source_of(ARCHIVE, f"{server.url}/tiny-1.tar.gz")])
    with pytest.raises(StackError, match=r"gone\.tar\.gz is gone"):
        fetch.fetch(lock)
    assert [a.file for a in fetch.missing(lock)] == ["gone.tar.gz"]


def test_only_the_wanted_set_is_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = [wheel_of(make_wheel(folder, "inside")), wheel_of(make_wheel(folder, "tool"), sets=("toolchain",))]
    lock = lock_of(wheels=wheels)
    monkeypatch.setenv("MLIP_SOURCES", str(folder))
    fetch.fetch(lock, ["runtime"])
    assert [a.file for a in fetch.missing(lock)] == [wheels[1].file]


def test_wheels_come_through_pip_whatever_machine_they_are_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [make_wheel(folder, "pure"), make_wheel(folder, "binary", tag="cp311-cp311-manylinux_2_28_x86_64")]
    monkeypatch.setenv("PIP_INDEX_URL", make_index(folder))
    lock = lock_of(wheels=[wheel_of(file) for file in files])
    fetch.fetch(lock)
    assert fetch.missing(lock) == []


def test_a_build_of_another_name_is_not_taken_for_the_same_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1.0+cpu satisfies ==1.0 for pip, and lies in a folder of this machine
    wanted = make_wheel(folder, "tensors", "1.0")
    monkeypatch.setenv("PIP_INDEX_URL", make_index(folder))
    other = folder / "links"
    other.mkdir()
    make_wheel(other, "tensors", "1.0+cpu")
    monkeypatch.setenv("PIP_FIND_LINKS", str(other))
    lock = lock_of(wheels=[wheel_of(wanted)])
    fetch.fetch(lock)
    assert fetch.missing(lock) == []


def test_a_source_archive_of_the_index_comes_as_it_is_and_nothing_in_it_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "setup.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    file = folder / "old-1.0.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        archive.add(folder / "setup.py", "old-1.0/setup.py")
    monkeypatch.setenv("PIP_INDEX_URL", make_index(folder))
    lock = lock_of(wheels=[replace(wheel_of(make_wheel(folder, "old")), file=file.name, **content_of(file))])
    fetch.fetch(lock)
    assert fetch.missing(lock) == []
    assert not (folder / "ran").exists()


def content_of(file: Path) -> dict[str, Any]:
    """What a lock says of a file's content."""
    return {"sha256": sha256(file.read_bytes()), "size": file.stat().st_size}


def test_a_wheel_of_another_content_is_not_used_and_the_others_come(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = make_wheel(folder, "good"), make_wheel(folder, "bad")
    monkeypatch.setenv("PIP_INDEX_URL", make_index(folder))
    lock = lock_of(wheels=[wheel_of(good), replace(wheel_of(bad), sha256="1" * 64)])
    with pytest.raises(StackError, match=r"bad-1\.0-py3-none-any\.whl of the index has the sha256 .* says 1111"):
        fetch.fetch(lock)
    assert [a.file for a in fetch.missing(lock)] == [bad.name]


def test_a_wheel_that_is_gone_from_the_index_is_named_with_the_cure(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = wheel_of(make_wheel(folder, "small", "1.0"))
    (folder / gone.file).unlink()
    make_wheel(folder, "small", "2.0")
    monkeypatch.setenv("PIP_INDEX_URL", make_index(folder))
    with pytest.raises(StackError, match=r"finds no small-1\.0-.*--update.*PIP_EXTRA_INDEX_URL.*MLIP_SOURCES"):
        fetch.fetch(lock_of(wheels=[gone]))


def test_no_network_to_the_index_is_said(folder: Path) -> None:
    with pytest.raises(StackError, match=r"no network to the Python index for small 1\.0.*bundle"):
        fetch.fetch(lock_of(wheels=[wheel_of(make_wheel(folder, "small"))]))


@needs_apt
def test_packages_come_through_apt_also_those_with_an_epoch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debs = [deb_of(make_deb(folder, "plain")), deb_of(make_deb(folder, "dated", "2:1.5+x"), version="2:1.5+x")]
    monkeypatch.setenv("DEBIAN_MIRROR", make_repository(folder))
    lock = lock_of(debs=debs)
    fetch.fetch(lock)
    assert fetch.missing(lock) == []
    assert work_left() == []


@needs_apt
def test_a_version_that_is_gone_from_the_archive_is_named_with_the_cures(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = deb_of(make_deb(folder, "kept")), deb_of(make_deb(folder, "moved", "1.0"))
    (folder / gone.file).unlink()
    make_deb(folder, "moved", "1.1")
    monkeypatch.setenv("DEBIAN_MIRROR", make_repository(folder))
    lock = lock_of(debs=[kept, gone])
    with pytest.raises(StackError) as caught:
        fetch.fetch(lock)
    words = str(caught.value)
    assert words.startswith("Debian's archive no longer has moved 1.0 (it has 1.1 now)")
    for cure in ("--update", "DEBIAN_MIRROR", "MLIP_SOURCES"):
        assert cure in words
    assert [a.file for a in fetch.missing(lock)] == [gone.file]


@needs_apt
def test_a_package_of_another_content_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deb = deb_of(make_deb(folder, "rebuilt"))
    monkeypatch.setenv("DEBIAN_MIRROR", make_repository(folder))
    with pytest.raises(StackError, match=r"rebuilt_1\.0_all\.deb of Debian's archive has the sha256"):
        fetch.fetch(lock_of(debs=[replace(deb, sha256="2" * 64)]))


@needs_apt
@pytest.mark.skipif(not apt.KEYRING.is_file(), reason="Debian's keys are not installed")
def test_no_network_to_the_archive_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deb = deb_of(make_deb(folder, "plain"))
    monkeypatch.setenv("DEBIAN_MIRROR", "http://127.0.0.1:9/debian")
    monkeypatch.setattr(apt, "RETRIES", 0)
    with pytest.raises(StackError, match=r"no network to the lists of Debian's archive .*what is in the cache stays"):
        fetch.fetch(lock_of(debs=[deb]))


def test_a_machine_without_a_debian_archive_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "apt-get").write_text("#!/bin/sh\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=r"knows no Debian archive.*DEBIAN_MIRROR"):
        apt.mirrors()


@pytest.mark.parametrize(
    "text",
    [
        "E: Failed to fetch x.deb  Error writing to file - write (28: No space left on device)",
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    ],
)
def test_a_full_disk_that_apt_or_pip_meets_is_said(folder: Path, text: str) -> None:
    words = r"no room left for .*MLIP_CACHE.*what is complete there stays"
    assert re.search(words, str(apt.explained(text, "x.deb")))
    assert re.search(words, str(downloads._of_pip(text, wheel_of(make_wheel(folder, "small")))))


def test_a_connection_that_pip_loses_is_said(folder: Path) -> None:
    text = "ERROR: Exception: ProtocolError('Connection broken: IncompleteRead(5 bytes read, 7 more expected)')"
    found = str(downloads._of_pip(text, wheel_of(make_wheel(folder, "small"))))
    assert found.startswith("small-1.0-py3-none-any.whl broke off on its way from the index: fetch again")


def test_small_wheels_share_a_call_of_pip_and_large_ones_do_not(folder: Path) -> None:
    one = wheel_of(make_wheel(folder, "one"))
    large = [replace(one, name=f"large{n}", size=10**9) for n in range(2)]
    small = [replace(one, name=f"small{n}", size=1000) for n in range(3)]
    source = replace(one, name="source", file="source-1.0.tar.gz")
    calls = [[wheel.name for wheel in group] for group in downloads.groups([*small, *large, source])]
    assert calls == [["large0"], ["large1"], ["small0", "small1", "small2"], ["source"]]

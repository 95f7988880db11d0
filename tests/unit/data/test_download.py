"""Downloads against a server on this machine: whole, resumed, checked, or one sentence."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlip.data.download import Source, download, unpack
from mlip.data.errors import DataError
from tests.local_server import LocalServer, local_server

CONTENT = bytes(range(256)) * 1000
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server() as running:
        running.files["/data.bin"] = CONTENT
        yield running


def test_a_file_is_downloaded_once(server: LocalServer, tmp_path: Path) -> None:
    source = Source(f"{server.url}/data.bin", "data.bin", HASH)
    for _ in range(2):
        assert download(source, tmp_path / "new").read_bytes() == CONTENT
    assert server.requests == [("/data.bin", None)]


def test_a_download_that_breaks_off_is_resumed(server: LocalServer, tmp_path: Path) -> None:
    server.break_after = 50_000
    source = Source(f"{server.url}/data.bin", "data.bin", HASH)
    with pytest.raises(DataError, match=r"ended after 150000 of 256000 bytes.*what came is kept and will be continued"):
        download(source, tmp_path)
    assert not (tmp_path / "data.bin").exists()
    server.break_after = None
    assert download(source, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/data.bin", "bytes=150000-")


def test_a_server_without_ranges_sends_all_again(server: LocalServer, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "data.bin.partial").write_bytes(CONTENT[:100])
    assert download(Source(f"{server.url}/data.bin", "data.bin", HASH), tmp_path).read_bytes() == CONTENT


def test_a_partial_file_that_is_whole_already(server: LocalServer, tmp_path: Path) -> None:
    (tmp_path / "data.bin.partial").write_bytes(CONTENT)
    assert download(Source(f"{server.url}/data.bin", "data.bin", HASH), tmp_path).read_bytes() == CONTENT


def test_another_content_is_refused_and_removed(server: LocalServer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gave a file with the sha256"):
        download(Source(f"{server.url}/data.bin", "data.bin", "0" * 64), tmp_path)
    assert not list(tmp_path.glob("data*"))
    (tmp_path / "data.bin").write_bytes(b"other")
    with pytest.raises(DataError, match="remove it to download it again"):
        download(Source(f"{server.url}/data.bin", "data.bin", HASH), tmp_path)


def test_an_unknown_checksum_is_recorded_and_held(
    server: LocalServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(f"{server.url}/data.bin", "data.bin")
    with caplog.at_level("INFO"):
        download(source, tmp_path).unlink()
    assert f"no checksum; sha256 {HASH} is kept" in caplog.text
    assert (tmp_path / "data.bin.sha256").read_text() == f"{HASH}  data.bin\n"
    server.files["/data.bin"] = b"changed"
    with pytest.raises(DataError, match="was damaged on the way or has changed"):
        download(source, tmp_path)


def test_offline_and_refused_are_one_sentence_each(server: LocalServer, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"cannot download http://127.0.0.1:9/x: .*download it elsewhere and put it at .*x$"
    ):
        download(Source("http://127.0.0.1:9/x", "x"), tmp_path)
    with pytest.raises(DataError, match="HTTP 404"):
        download(Source(f"{server.url}/nothing", "x"), tmp_path)
    assert len(server.requests) == 1, "what does not exist is asked for once"
    server.status = 503
    with pytest.raises(DataError, match="HTTP 503"):
        download(Source(f"{server.url}/data.bin", "x"), tmp_path)
    assert len(server.requests) == 4, "what may come back is asked for again"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="set data_source_dir to another folder"):
        download(Source("http://127.0.0.1:9/x", "x"), tmp_path / "file" / "inner")


def test_archives_stay_in_their_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner/good.txt", "good")
        archive.writestr("../bad.txt", "bad")
    with pytest.raises(DataError, match="wants to write outside"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        member = tarfile.TarInfo("../bad.txt")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"bad"))
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "bad.txt").exists()
    (tmp_path / "a.txt").write_text("no archive")
    with pytest.raises(DataError, match=r"a.txt cannot be unpacked: .*remove it to download it again"):
        unpack(tmp_path / "a.txt", tmp_path)

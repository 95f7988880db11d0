"""Downloads of data sets: resumed where they broke off, checked, and never half a file under the right name."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from mlip.data.errors import DataError

log = logging.getLogger(__name__)

_BLOCK = 1 << 20  # bytes
_TIMEOUT = 30.0  # seconds without an answer
_ATTEMPTS = 3
_PARTIAL = ".partial"
_CHECKSUM = ".sha256"


@dataclass(frozen=True)
class Source:
    """A file of a data set.

    Attributes:
        url: where it is.
        name: its file name here.
        sha256: what it must hash to. None where its publishers give none: then the hash of the first download is kept
            beside the file, and the file must equal that from then on.
    """

    url: str
    name: str
    sha256: str | None = None


def download(source: Source, folder: str | Path) -> Path:
    """The file in a folder, downloaded if it is not there.

    A download that breaks off is continued by the next call. The file appears under its name when it is complete and
    checked. Several processes may call this at once; one downloads.

    Args:
        source: the file.
        folder: made if it is not there.

    Raises:
        DataError: no connection, not found, or another checksum; says where to get the file by hand.
    """
    folder = Path(folder)
    path = folder / source.name
    with locked(folder):
        if path.is_file():
            _verify_known(path, source)
            return path
        partial = path.with_name(path.name + _PARTIAL)
        log.info("Downloading %s from %s", path, source.url)
        try:
            _fetch_with_retries(source, partial)
        except (urllib.error.URLError, HTTPException, OSError) as error:
            raise DataError(_no_connection(source, path, partial, error)) from error
        digest = sha256_of(partial)
        expected = source.sha256 or _recorded(path)
        if expected is not None and digest != expected:
            partial.unlink()
            raise DataError(
                f"{source.url} gave a file with the sha256 {digest}, not {expected}: it was damaged on the way or has "
                "changed; it was removed, try again"
            )
        partial.replace(path)
        if expected is None:
            _record(path, digest)
    return path


def _fetch_with_retries(source: Source, partial: Path) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _fetch(source.url, partial)
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == _ATTEMPTS:  # what the server refuses, it refuses again
                raise
        except (urllib.error.URLError, HTTPException, OSError):
            if attempt == _ATTEMPTS:
                raise
        else:
            return
        time.sleep(0.2 * attempt)


def _fetch(url: str, partial: Path) -> None:
    """Append to the partial file what is missing of it."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "mlip"})  # noqa: S310 - URLs are ours
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310 - the same
    except urllib.error.HTTPError as error:
        if error.code == 416:
            partial.unlink()
            _fetch(url, partial)
            return
        raise
    with response:
        resumed = response.status == 206
        length = response.headers.get("Content-Length")
        expected = None if length is None else int(length) + (have if resumed else 0)
        _copy(response, partial, have if resumed else 0, expected)
    if expected is not None and partial.stat().st_size != expected:
        raise ConnectionError(f"the connection ended after {partial.stat().st_size} of {expected} bytes")


def _copy(response: HTTPResponse, partial: Path, have: int, total: int | None) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        partial.open("ab" if have else "wb") as file,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task(partial.name.removesuffix(_PARTIAL), total=total, completed=have)
        while block := response.read(_BLOCK):
            file.write(block)
            progress.advance(task, len(block))


def _no_connection(source: Source, path: Path, partial: Path, error: Exception) -> str:
    reason = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else str(getattr(error, "reason", error))
    kept = " (what came is kept and will be continued)" if partial.exists() and partial.stat().st_size else ""
    return (
        f"cannot download {source.url}: {reason}{kept}; without a network, download it elsewhere and put it at {path}"
    )


def sha256_of(path: Path) -> str:
    """The sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _verify_known(path: Path, source: Source) -> None:
    expected = source.sha256
    if expected is not None and sha256_of(path) != expected:
        raise DataError(f"{path} is not what {source.url} holds (another sha256): remove it to download it again")


def _recorded(path: Path) -> str | None:
    record = path.with_name(path.name + _CHECKSUM)
    return record.read_text().split()[0] if record.is_file() else None


def _record(path: Path, digest: str) -> None:
    path.with_name(path.name + _CHECKSUM).write_text(f"{digest}  {path.name}\n")
    log.info("%s: its publishers give no checksum; sha256 %s is kept for later downloads", path, digest)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes, those of a distributed run for example, from writing the folder meanwhile."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".download.lock").open("w")
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}; set data_source_dir to another folder") from error
    with lock:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def unpack(archive: str | Path, folder: str | Path, wanted: str | None = None) -> None:
    """Unpack a zip or tar file; what would land outside the folder is refused.

    Args:
        archive: the file; tar files may be compressed in any way.
        folder: where to.
        wanted: only members whose path ends with this.

    Raises:
        DataError: not an archive, damaged, or one that writes elsewhere.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder, wanted)
        else:
            with tarfile.open(archive) as tar:
                members = [m for m in tar.getmembers() if wanted is None or m.name.endswith(wanted)]
                tar.extractall(folder, members=members, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{archive} cannot be unpacked: {str(error).splitlines()[0]}; remove it to download it again"
        ) from error


def _unpack_zip(archive: Path, folder: Path, wanted: str | None) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            if wanted is not None and not member.filename.endswith(wanted):
                continue
            if not (folder / member.filename).resolve().is_relative_to(folder.resolve()):
                raise DataError(f"{archive} wants to write outside {folder}: {member.filename}")
            file.extract(member, folder)

"""Three ways from outside into the cache: apt for Debian's archive, pip for the Python index, HTTP for addresses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib import error as web
from urllib import request
from urllib.parse import unquote

from mlip.stack import apt, blobs
from mlip.stack.artifacts import Archive, Deb, Source, Wheel
from mlip.stack.errors import StackError

# Small files share one call of pip; what breaks off costs at most this much again.
BYTES_A_CALL = 64_000_000
DEBS_A_CALL = 40
TRIES = 5
CUT_OFF = (
    "{name} broke off {where}: fetch again, it goes on where it stopped; or bring the file by MLIP_SOURCES ({reason})"
)
NO_NETWORK = re.compile(
    r"NameResolutionError|Temporary failure in name resolution|Failed to establish a new connection|"
    r"Network is unreachable|Connection refused|ConnectTimeoutError"
)


@dataclass(frozen=True)
class Keep:
    """Takes what was downloaded.

    Attributes:
        folder: where downloads lie until they are checked.
        added: told of each file that is in the cache now.
    """

    folder: Path
    added: Callable[[Archive], None]

    def __call__(self, file: Path, archive: Archive) -> None:
        """Move a file into the cache.

        Raises:
            StackError: the hash is another; the file is removed.
        """
        try:
            blobs.add(file, archive.sha256, move=True)
        finally:
            file.unlink(missing_ok=True)
        self.added(archive)


def from_debian(debs: Sequence[Deb], sources: Sequence[Source], keep: Keep) -> list[str]:
    """Packages and source archives of Debian; a sentence for each that cannot be had.

    Raises:
        StackError: the archive cannot be read at all.
    """
    suites = apt.with_pockets({deb.suite for deb in debs} | {s.debian["suite"] for s in sources if s.debian})
    problems = []
    folder = keep.folder / "debian"
    folder.mkdir(exist_ok=True)
    with apt.opened(suites) as archive:
        there = archive.available(deb.name for deb in debs)
        wanted = []
        for deb in debs:
            found = there.get((deb.name, deb.version))
            if found is None:
                problems.append(vanished(deb.name, deb.version, [v for n, v in there if n == deb.name]))
            elif found[1] != deb.sha256:
                problems.append(str(blobs.mismatch(f"{deb.file} of Debian's archive", found[1], deb.sha256)))
            else:
                wanted.append(deb)
        for start in range(0, len(wanted), DEBS_A_CALL):
            batch = wanted[start : start + DEBS_A_CALL]
            words = [f"{deb.name}={deb.version}" for deb in batch]
            done = archive.run("apt-get", "--quiet=2", "download", *words, cwd=folder)
            problems += _taken(list(batch), folder, keep, done.stderr)
        for source in sources:
            package = (source.debian or {})["package"]
            name = f"{package}={source.version}"
            done = archive.run("apt-get", "--quiet=2", "source", "--download-only", "--only-source", name, cwd=folder)
            if "Can not find version" in done.stderr or "Unable to find a source package" in done.stderr:
                problems.append(vanished(f"the source package {package}", source.version, []))
            else:
                # Other files of a source package may be gone; only the one that is locked counts.
                problems += _taken([source], folder, keep, done.stderr)
    return problems


def vanished(name: str, version: str, others: Sequence[str]) -> str:
    """What to do when the archive has moved on."""
    newer = f"it has {', '.join(sorted(others))} now" if others else "it has none now"
    return (
        f"Debian's archive no longer has {name} {version} ({newer}): take the newer one with mlip stack lock NAME "
        "--update, or let DEBIAN_MIRROR (and DEBIAN_SECURITY_MIRROR) name a snapshot of the lock's day, or bring the "
        "file by MLIP_SOURCES"
    )


def _taken(archives: Sequence[Archive], folder: Path, keep: Keep, stderr: str) -> list[str]:
    """Move what has come into the cache; a sentence for each that has not, or is not right."""
    # apt writes the colon of an epoch as %3a and leaves the rest
    there = {unquote(path.name): path for path in folder.iterdir()}

    def take(archive: Archive) -> None:
        names = [archive.file]
        if isinstance(archive, Deb):
            names.append(f"{archive.name}_{archive.version}_{archive.arch}.deb")
        path = next((there[name] for name in names if name in there), None)
        if path is None:
            raise apt.explained(stderr or "no reason given", archive.file)
        keep(path, archive)

    return [words for archive in archives if (words := problem(take, archive))]


def problem(take: Callable[[Any], None], archive: Archive) -> str | None:
    """What goes wrong with one file, while the others go on."""
    try:
        take(archive)
    except StackError as error:
        return str(error)
    return None


def groups(wheels: Sequence[Wheel]) -> list[list[Wheel]]:
    """Wheels for one call of pip each, large first; source archives alone, since they are had in another way."""
    found: list[list[Wheel]] = []
    room = 0
    for wheel in sorted(wheels, key=lambda w: (is_source(w), -(w.size or 0))):
        size = wheel.size or 0
        if not found or is_source(wheel) or size > room:
            found.append([])
            room = 0 if is_source(wheel) else BYTES_A_CALL
        found[-1].append(wheel)
        room -= size
    return found


def is_source(wheel: Wheel) -> bool:
    """Whether it is a source archive."""
    return not wheel.file.endswith(".whl")


def platforms(wheels: Sequence[Wheel]) -> list[str]:
    """The platform tags of wheels; pip takes a wheel of another machine when its tag is named."""
    return sorted({tag for w in wheels for tag in w.file.removesuffix(".whl").split("-")[-1].split(".")} - {"any"})


def link_of(archive: Wheel) -> str:
    """The address of a source archive, as pip's configuration finds it.

    pip downloads a source archive only together with running what is in it, and what that asks for. Asked for wheels
    alone, it says which archives it passes over.

    Raises:
        StackError: pip does not find it.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-vv", "--no-deps"]
    command += ["--no-cache-dir", "--ignore-requires-python", "--only-binary", ":all:"]
    with tempfile.TemporaryDirectory() as empty:
        command += ["--dest", empty, f"{archive.name}==={archive.version}"]
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, check=False, text=True, capture_output=True, env=environment)
    text = done.stdout + done.stderr
    if "No module named pip" in done.stderr:
        raise no_pip()
    for line in text.splitlines():
        if "Skipping link: " in line:
            for word in line.split():
                address = word.partition("#")[0]
                if unquote(address.rsplit("/", 1)[-1]) == archive.file:
                    return address
    raise _of_pip(text, archive)


def no_pip() -> StackError:
    """The error of a Python without pip."""
    return StackError(
        f"{sys.executable} has no pip: apt-get install python3-pip, or run this with a Python that has it"
    )


def archive_from_index(archive: Wheel, keep: Keep) -> list[str]:
    """A source archive of the Python index, as it is: nothing in it is run.

    Raises:
        StackError: it cannot be had.
    """
    source = Source(archive.name, archive.version, archive.file, archive.sha256, 0, url=link_of(archive))
    return from_url(source, Keep(keep.folder, lambda _: keep.added(archive)))


def from_index(wheels: Sequence[Wheel], keep: Keep) -> list[str]:
    """Wheels of the Python index, by pip with its own configuration; a sentence for each that cannot be had."""
    if is_source(wheels[0]):
        return archive_from_index(wheels[0], keep)
    folder = keep.folder / f"index-{wheels[0].sha256[:12]}"
    folder.mkdir(exist_ok=True)
    lines = "".join(f"{w.name}==={w.version} --hash=sha256:{w.sha256}\n" for w in wheels)
    (folder / "requirements.txt").write_text(lines)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--no-cache-dir", "--require-hashes", "--requirement", str(folder / "requirements.txt")]
    command += ["--dest", str(folder / "files")]
    # chosen when the lock was made: whatever Python runs this, the tags in the files' names count
    version = next((m[1] for w in wheels if (m := re.search(r"-cp3(\d+)-cp3\1-", w.file))), sys.version_info.minor)
    command += ["--ignore-requires-python", "--implementation", "cp", "--python-version", f"3.{version}"]
    command += [word for tag in platforms(wheels) for word in ("--platform", tag)]
    (folder / "temporary").mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(folder / "temporary"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, check=False, text=True, capture_output=True, env=environment)
    if "No module named pip" in done.stderr:
        raise no_pip()
    there = {path.name: path for path in (folder / "files").glob("*")}

    def take(wheel: Wheel) -> None:
        if wheel.file not in there:
            raise _of_pip(done.stdout + done.stderr, wheel)
        keep(there[wheel.file], wheel)

    problems = [words for wheel in wheels if (words := problem(take, wheel))]
    # pip gives up a whole call for one file: the others once more, each by itself
    if len(wheels) > 1 and problems and not there:
        return [words for wheel in wheels for words in from_index([wheel], keep)]
    return problems


def _of_pip(text: str, wheel: Wheel) -> StackError:
    """What pip's words mean for the user."""
    words = (
        "; ".join(line.strip() for line in text.splitlines() if line.startswith("ERROR"))[:400] or text.strip()[-300:]
    )
    name = f"{wheel.name} {wheel.version}"
    if "No space left on device" in text:
        return blobs.full_disk(wheel.file)
    if "DO NOT MATCH THE HASHES" in text:
        found = re.search(r"Got\s+([0-9a-f]{64})", text)
        return blobs.mismatch(f"{wheel.file} of the index", found[1] if found else "another", wheel.sha256)
    if NO_NETWORK.search(text):
        return StackError(
            f"no network to the Python index for {name}: connect, or bring {wheel.file} by MLIP_SOURCES or a bundle "
            "(mlip stack fetch NAME --from-bundle FILE); what is in the cache stays"
        )
    if "Read timed out" in text or "IncompleteRead" in text or "Connection broken" in text:
        return StackError(CUT_OFF.format(name=wheel.file, where="on its way from the index", reason=words))
    if "No matching distribution" in text or "Could not find a version" in text:
        return StackError(
            f"pip's configuration finds no {wheel.file}: if the index no longer has {name}, take a newer one with "
            "mlip stack lock NAME --update; if it lies in another index, let PIP_EXTRA_INDEX_URL name that; or bring "
            "the file by MLIP_SOURCES"
        )
    return StackError(f"{name} cannot be had from the Python index: {words}")


def from_url(source: Source, keep: Keep) -> list[str]:
    """A file by its address; it goes on where an earlier try broke off.

    Raises:
        StackError: it cannot be had.
    """
    url = source.url or ""
    partial = keep.folder / f"{source.file}.partial"
    reason = ""
    for _ in range(TRIES):
        try:
            with blobs.room(source.file):
                if _continue(url, partial):
                    break
            reason = "the connection was closed early"
        except web.HTTPError as error:
            raise _of_status(source, error) from None
        except (HTTPException, OSError) as error:
            if isinstance(error, web.URLError) and not isinstance(error.reason, TimeoutError):
                raise StackError(
                    f"no network to {url} ({error.reason}): connect, or bring {source.file} by MLIP_SOURCES or a "
                    "bundle (mlip stack fetch NAME --from-bundle FILE); what is in the cache stays"
                ) from None
            reason = str(error)
    else:
        there = partial.stat().st_size if partial.exists() else 0
        raise StackError(CUT_OFF.format(name=source.file, where=f"{TRIES} times, after {there} bytes", reason=reason))
    whole = keep.folder / source.file
    partial.replace(whole)
    keep(whole, source)
    return []


def _of_status(source: Source, error: web.HTTPError) -> StackError:
    """What a refusal means for the user."""
    if error.code in {404, 410}:
        return StackError(
            f"{source.url} is gone (HTTP {error.code}): bring {source.file} by MLIP_SOURCES, or name another address "
            "in recipes/lammps.yaml"
        )
    return StackError(
        f"{source.url} answers {error.code} {error.reason}: try later, or bring {source.file} by MLIP_SOURCES"
    )


def _continue(url: str, partial: Path) -> bool:
    """Append to a file what it lacks; whether it is complete now."""
    start = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        answer = request.urlopen(request.Request(url, headers=headers), timeout=120)  # noqa: S310 (of the lock)
    except web.HTTPError as error:
        if error.code == 416:  # nothing lies beyond what is there
            return True
        raise
    with answer:
        if start and answer.status != 206:  # the server sends all of it again
            start = 0
        length = answer.headers.get("Content-Length")
        with partial.open("ab" if start else "wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
            file.flush()
            with suppress(OSError):
                os.fsync(file.fileno())
            end = file.tell()
    return length is None or end == start + int(length)

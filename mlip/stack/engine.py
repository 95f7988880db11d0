"""What a container engine is to a stack: it builds, keeps, saves and runs images.

An image is named by the sha256 of its configuration (Docker calls it the image's id). It covers the configuration and
every layer before compression, so that it is the same for equal content wherever and however the image is stored.

Builds start from nothing each time: Buildah's and Podman's cache of layers looks at the text of `RUN --mount=type=bind`
and not at the files that are mounted, and would give yesterday's image for today's wheels.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlip.stack.errors import StackError

GIB = 1 << 30
# An image being built is there as its context, as unpacked files, and as a layer that is written.
SPACE_FOR_CONTEXT = 4
NO_SPACE = "no space left on device"


def folder_size(folder: Path) -> int:
    """Bytes that the files of a folder take, each file counted once however many names it has."""
    files = {}
    for path, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(Path(path, name))
            files[status.st_dev, status.st_ino] = status.st_size
    return sum(files.values())


def need_space(folder: Path, wanted: int, what: str, remedy: str = "free some") -> None:
    """Refuse to start what would fill the disk.

    Raises:
        StackError: less than `wanted` bytes are free where `folder` is or will be.
    """
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < wanted:
        raise StackError(
            f"{what} takes about {wanted / GIB:.1f} GiB in {folder}, and {free / GIB:.1f} GiB are free: {remedy}"
        )


def stream(command: Sequence[str], what: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
    """Run a command whose output the user sees as it comes.

    Raises:
        StackError: it fails.
    """
    last: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        command, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=cwd
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last.append(line)
    if process.returncode == 0:
        return
    if NO_SPACE in "".join(last).lower():
        raise StackError(f"{what}: the disk is full; free some space and start again")
    raise StackError(f"{what} failed with {process.returncode}; its output is above")


def rewrite_archive(source: Path, target: Path) -> None:
    """Write an archive's files anew, in the order of their names and without times and owners: the same bytes again."""
    with tarfile.open(source) as old, tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda item: item.name):
            entry = tarfile.TarInfo(member.name)
            entry.size, entry.type, entry.mode = member.size, member.type, 0o755 if member.isdir() else 0o644
            entry.linkname = member.linkname
            new.addfile(entry, old.extractfile(member) if member.isreg() else None)


class Engine(ABC):
    """One container engine.

    Args:
        storage: a folder for images of its own, in place of the engine's usual one.
    """

    name: str
    archive_kinds: tuple[str, ...] = ("docker-archive", "oci-archive")

    def __init__(self, storage: Path | None = None) -> None:
        self.storage = storage

    @abstractmethod
    def build_command(
        self, context: Path, dockerfile: Path, tag: str, target: str, epoch: int, network: bool
    ) -> list[str]:
        """The command line of a build, but for arguments, labels and the context, which follow."""

    @abstractmethod
    def save_command(self, tag: str, archive: Path, kind: str) -> list[str]:
        """The command line that writes an archive of one image."""

    @abstractmethod
    def command(self, *words: str) -> list[str]:
        """A command line of this engine, with what every one of them needs before the words."""

    @abstractmethod
    def check(self) -> None:
        """Refuse an engine that cannot work here.

        Raises:
            StackError: why it cannot.
        """

    @abstractmethod
    def storage_folder(self) -> Path:
        """Where images lie on disk."""

    def environment(self) -> dict[str, str]:
        """The environment the engine is started in."""
        return dict(os.environ)

    def ask(self, *words: str) -> str:
        """What a command of the engine prints.

        Raises:
            StackError: it fails; with the engine's own words.
        """
        done = subprocess.run(self.command(*words), check=False, text=True, capture_output=True, env=self.environment())
        if done.returncode != 0:
            raise StackError(f"{self.name} {words[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    def version(self) -> str:
        """The engine's version, as it tells it; for the provenance of a build."""
        done = subprocess.run([self.name, "--version"], check=False, text=True, capture_output=True)
        return done.stdout.strip()

    def build(
        self,
        context: Path,
        dockerfile: Path,
        tag: str,
        target: str,
        build_args: Mapping[str, str],
        labels: Mapping[str, str],
        epoch: int,
        *,
        network: bool = False,
    ) -> str:
        """Build one stage of a Dockerfile; the same content gives the same image.

        Args:
            context: the folder that COPY and RUN --mount see.
            dockerfile: the Dockerfile.
            tag: the image's name, such as ``localhost/mlip:cpu``.
            target: the stage.
            build_args: values of ARG; SOURCE_DATE_EPOCH is among them unless given.
            labels: the image's labels.
            epoch: the time of every file and of the image, in seconds since 1970.
            network: whether RUN has a network, and whether base images may be pulled.

        Returns:
            The image's digest, ``sha256:...``.

        Raises:
            StackError: the engine cannot work here, the disk is too small, or a step fails.
        """
        self.check()
        need_space(self.storage_folder(), GIB + SPACE_FOR_CONTEXT * folder_size(context), f"the image {tag}")
        command = self.build_command(context, dockerfile, tag, target, epoch, network)
        for key, value in sorted({"SOURCE_DATE_EPOCH": str(epoch), **build_args}.items()):
            command += ["--build-arg", f"{key}={value}"]
        for key, value in sorted(labels.items()):
            command += ["--label", f"{key}={value}"]
        stream([*command, str(context)], f"{self.name} build of {tag}", self.environment())
        self.finish(tag, epoch)
        return self.digest(tag)

    def finish(self, tag: str, epoch: int) -> None:  # noqa: B027 (most have nothing to do)
        """What an engine does with an image that it has built."""

    def digest(self, tag: str) -> str:
        """The sha256 of an image's configuration, ``sha256:...``.

        Raises:
            StackError: there is no such image.
        """
        found = self.ask("image", "inspect", "--format", "{{.Id}}", tag)
        return f"sha256:{found.removeprefix('sha256:')}"

    def labels(self, tag: str) -> dict[str, str]:
        """The labels of an image.

        Raises:
            StackError: there is no such image.
        """
        answer = self.ask("image", "inspect", "--format", "{{json .Config.Labels}}", tag)
        return dict(json.loads(answer) or {})

    def own_user(self) -> str:
        """Who in a container is this process' user outside, as ``uid:gid``: files in bound folders are theirs."""
        return f"{os.geteuid()}:{os.getegid()}"

    def exists(self, tag: str) -> bool:
        """Whether an image is in the storage."""
        try:
            self.digest(tag)
        except StackError:
            return False
        return True

    def save(self, tag: str, archive: Path, kind: str = "docker-archive") -> None:
        """Write an image to one file: ``docker-archive`` (fast, large) or ``oci-archive`` (compressed).

        Raises:
            StackError: there is no such image, or no room.
        """
        if kind not in self.archive_kinds:
            raise StackError(f"{self.name} writes {' and '.join(self.archive_kinds)}, not {kind}")
        archive.parent.mkdir(parents=True, exist_ok=True)
        written = archive.with_name(f".{archive.name}.{uuid.uuid4().hex[:8]}")
        unfinished = written.with_name(f"{written.name}.unfinished")
        try:
            stream(self.save_command(tag, written, kind), f"{self.name}: saving {tag}", self.environment())
            if kind == "oci-archive":
                rewrite_archive(written, unfinished)
                unfinished.replace(archive)
            else:
                written.replace(archive)
        finally:
            written.unlink(missing_ok=True)
            unfinished.unlink(missing_ok=True)

    @abstractmethod
    def load(self, archive: Path, tag: str) -> str:
        """Take an image from an archive, under a tag; its digest."""

    @abstractmethod
    def run(
        self,
        tag: str,
        command: Sequence[str],
        binds: Mapping[Path, str] | None = None,
        user: str | None = None,
        *,
        network: bool = False,
        folder: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a container of its own, without the image's entry point; what it printed is captured.

        Args:
            tag: the image.
            command: the command.
            binds: folders of this machine and where the command sees them.
            user: ``uid`` or ``uid:gid``; root where there is none.
            network: whether it has this machine's network.
            folder: where in the image it runs; the image's own working folder by default.
            env: variables beside those of the image.
        """

    def pull(self, reference: str) -> str:
        """Fetch an image from a registry; its digest.

        Raises:
            StackError: it cannot be had here.
        """
        stream(self.command("pull", reference), f"{self.name}: the image {reference}", self.environment())
        return self.digest(reference)

    def remove(self, tag: str) -> None:
        """Remove an image; none is needed to be there."""
        subprocess.run(self.command("rmi", "--force", tag), check=False, capture_output=True, env=self.environment())

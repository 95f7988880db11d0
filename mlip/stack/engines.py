"""The container engines: Buildah, Podman and Docker with BuildKit, and which of them works here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlip.stack import container_runtime, docker_archive
from mlip.stack.cache import digest, scratch
from mlip.stack.engine import Engine
from mlip.stack.errors import StackError

INSTALL = "as root, 'ci/install-engines' installs it on Debian"


def is_oci(archive: Path) -> bool:
    """Whether an archive of an image has OCI's layout only (Docker writes files that have both).

    Raises:
        StackError: it is no archive of an image.
    """
    try:
        with tarfile.open(archive) as file:
            names = {name.removeprefix("./") for name in file.getnames()}
    except (OSError, tarfile.TarError) as error:
        raise StackError(f"{archive} is no archive of an image: {error}") from None
    if "manifest.json" in names:
        return False
    if "oci-layout" in names:
        return True
    raise StackError(f"{archive} is no archive of an image: it has neither manifest.json nor oci-layout")


def _on_overlay(folder: Path) -> bool:
    """Whether a folder lies on an overlay file system, or will."""
    place = folder
    while not place.exists():
        place = place.parent
    done = subprocess.run(
        ["stat", "--file-system", "--format", "%T", str(place)], check=False, text=True, capture_output=True
    )
    return done.stdout.strip() == "overlayfs"


def _what_it_sees(binds: Mapping[Path, str] | None, user: str | None, env: Mapping[str, str] | None) -> list[str]:
    """The options of a run that all engines have."""
    options = ["--user", user] if user is not None else []
    for outside, inside in (binds or {}).items():
        options += ["--volume", f"{outside}:{inside}"]
    for name, value in (env or {}).items():
        options += ["--env", f"{name}={value}"]
    return options


class _LibraryEngine(Engine):
    """What Buildah and Podman have in common: storage, settings, and the code that builds."""

    def command(self, *words: str) -> list[str]:
        """A command line of this engine."""
        command = [self.name]
        if self.storage is not None:
            command += ["--root", str(self.storage / "storage"), "--runroot", str(self._run_folder(self.storage))]
        return [*command, *self._driver(), *words]

    @staticmethod
    def _run_folder(storage: Path) -> Path:
        """Where containers that run have their files: Podman wants a path of 50 characters at most."""
        folder = storage / "run"
        return folder if len(str(folder)) <= 50 else Path(tempfile.gettempdir(), f"mlip-run-{digest(str(storage))}")

    def _driver(self) -> list[str]:
        """Overlays cannot lie on an overlay, as in a container: then files are copied, which is slow and works."""
        if "STORAGE_DRIVER" in os.environ or not _on_overlay(self.storage_folder()):
            return []
        return ["--storage-driver", "vfs"]

    def storage_folder(self) -> Path:
        """Where images lie on disk."""
        if self.storage is not None:
            return self.storage / "storage"
        if os.geteuid() == 0:
            return Path("/var/lib/containers/storage")
        data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return Path(data) / "containers" / "storage"

    def own_user(self) -> str:
        """An ordinary user is root inside."""
        return super().own_user() if os.geteuid() == 0 else "0:0"

    def environment(self) -> dict[str, str]:
        """The environment, with settings for this machine."""
        return container_runtime.environment(container_runtime.usable_runtime())

    def check(self) -> None:
        """Refuse an engine that cannot work here."""
        if shutil.which(self.name) is None:
            raise StackError(f"no '{self.name}' here: {INSTALL}")
        if why := container_runtime.namespaces_missing() or container_runtime.user_ids_missing():
            raise StackError(f"{self.name} cannot make containers: {why}")

    def isolation(self, *, network: bool) -> tuple[list[str], list[str]]:
        """How RUN is kept apart: what comes before the command line, and options of it.

        Without a working runtime it is a changed root, which has no network of its own: the whole engine gets one.
        """
        runtime = container_runtime.usable_runtime()
        if runtime is not None:
            return [], ["--isolation", "oci", "--network", "host" if network else "none"]
        if os.geteuid() != 0:
            raise StackError(f"{self.name} needs runc or crun to make containers of an ordinary user: {INSTALL}")
        options = ["--isolation", "chroot", "--network", "host"]
        return ([] if network else ["unshare", "--net", "--"]), options

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
        """Build as every engine does, and remove what lost or never had a name by it: stages, the tag's last image."""
        self.check()
        last = {self.digest(tag)} if self.exists(tag) else set()
        try:
            return super().build(context, dockerfile, tag, target, build_args, labels, epoch, network=network)
        finally:
            nameless = self._nameless()
            for image in (nameless & last) | self._of_stages(nameless, labels):
                subprocess.run(self.command("rmi", image), check=False, capture_output=True, env=self.environment())

    def _nameless(self, *filters: str) -> set[str]:
        """Images without a name, all or those that a filter takes."""
        words = [word for one in ("dangling=true", *filters) for word in ("--filter", one)]
        return set(self.ask("images", *words, "--quiet", "--no-trunc").split())

    def _of_stages(self, nameless: set[str], labels: Mapping[str, str]) -> set[str]:
        """Those that have a build's labels, as its stages do, also of a build that was killed; others' have not."""
        if not labels:
            return set()
        return nameless.intersection(*(self._nameless(f"label={key}={value}") for key, value in labels.items()))

    def build_command(
        self, context: Path, dockerfile: Path, tag: str, target: str, epoch: int, network: bool
    ) -> list[str]:
        """The command line of a build."""
        before, options = self.isolation(network=network)
        runtime = container_runtime.usable_runtime()
        if runtime is not None and self.name == "buildah":
            options += ["--runtime", runtime]
        pull = [] if network else ["--pull=never"]
        return [
            *before,
            *self.command("build"),
            *options,
            *pull,
            "--format=oci",
            "--layers=false",
            "--no-cache",
            "--force-rm",
            "--identity-label=false",
            *("--timestamp", str(epoch), "--target", target, "--tag", tag, "--file", str(dockerfile)),
        ]

    def save_command(self, tag: str, archive: Path, kind: str) -> list[str]:
        """The command line that writes an archive."""
        return self.command("push", tag, f"{kind}:{archive}:{tag}")

    def load(self, archive: Path, tag: str) -> str:
        """Take an image from an archive."""
        kind = "oci-archive" if is_oci(archive) else "docker-archive"
        loaded = self.ask("pull", "--quiet", f"{kind}:{archive}").splitlines()[-1]
        self.ask("tag", loaded, tag)
        return self.digest(tag)


class Buildah(_LibraryEngine):
    """Buildah: builds and runs without a daemon."""

    name = "buildah"

    def digest(self, tag: str) -> str:
        """The sha256 of an image's configuration."""
        found = self.ask("inspect", "--type", "image", "--format", "{{.FromImageID}}", tag)
        return f"sha256:{found.removeprefix('sha256:')}"

    def labels(self, tag: str) -> dict[str, str]:
        """The labels of an image."""
        config = json.loads(json.loads(self.ask("inspect", "--type", "image", tag))["Config"])
        return config["config"].get("Labels") or {}

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
        """Run a command in a container of its own."""
        self.check()
        container = self.ask("from", "--pull=never", "--name", f"mlip-{uuid.uuid4().hex[:12]}", tag)
        before, options = self.isolation(network=network)
        runtime = container_runtime.usable_runtime()
        options += ["--runtime", runtime] if runtime is not None else []
        options += _what_it_sees(binds, user, env)
        options += ["--workingdir", folder] if folder is not None else []
        words = [*before, *self.command("run"), *options, container, "--", *command]
        try:
            return subprocess.run(
                words, check=False, text=True, capture_output=True, stdin=subprocess.DEVNULL, env=self.environment()
            )
        finally:
            self.ask("rm", container)


def _workdir(folder: str | None) -> list[str]:
    return ["--workdir", folder] if folder is not None else []


def _run_options(tag: str, command: Sequence[str], options: Sequence[str], *, network: bool) -> list[str]:
    """The words of `podman run` and `docker run`."""
    isolation = ["--rm", "--network", "host" if network else "none"]
    return ["run", *isolation, *options, "--entrypoint", command[0], tag, *command[1:]]


class Podman(_LibraryEngine):
    """Podman: the same code builds, its own runs."""

    name = "podman"

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
        """Run a command in a container of its own."""
        self.check()
        if container_runtime.usable_runtime() is None:
            raise StackError(
                "podman runs no container here: neither runc nor crun starts one; MLIP_ENGINE=buildah can, with less "
                "isolation"
            )
        words = self.command(
            *_run_options(tag, command, [*_what_it_sees(binds, user, env), *_workdir(folder)], network=network)
        )
        return subprocess.run(
            words, check=False, text=True, capture_output=True, stdin=subprocess.DEVNULL, env=self.environment()
        )


class Docker(Engine):
    """Docker with BuildKit: a daemon and the `buildx` plugin."""

    name = "docker"
    archive_kinds = ("docker-archive",)

    def command(self, *words: str) -> list[str]:
        """A command line of this engine."""
        return [self.name, *words]

    def storage_folder(self) -> Path:
        """Where images lie on disk."""
        return Path("/var/lib/docker")

    def check(self) -> None:
        """Refuse an engine that cannot work here."""
        if shutil.which(self.name) is None:
            raise StackError("no 'docker' here: install it, or MLIP_ENGINE=buildah")
        for words, problem in (
            (("info", "--format", "{{.ServerVersion}}"), "has no daemon that answers: start it (it needs root)"),
            (("buildx", "version"), "has no BuildKit ('docker buildx'): install the buildx plugin"),
        ):
            done = subprocess.run([self.name, *words], check=False, text=True, capture_output=True)
            if done.returncode != 0 or not done.stdout.strip():
                raise StackError(f"docker {problem}; or take another engine: MLIP_ENGINE=buildah or podman")

    def build_command(
        self, context: Path, dockerfile: Path, tag: str, target: str, epoch: int, network: bool
    ) -> list[str]:
        """The command line of a build."""
        return [
            *self.command("buildx", "build"),
            *("--network", "host" if network else "none"),
            *(["--allow", "network.host"] if network else []),
            "--no-cache",
            "--provenance=false",
            "--sbom=false",
            *("--output", f"type=docker,name={tag}"),
            *("--target", target, "--file", str(dockerfile)),
        ]

    def finish(self, tag: str, epoch: int) -> None:
        """Give files the times of their content: BuildKit cannot where Docker itself keeps the images."""
        built = self.digest(tag)
        with scratch("docker") as folder:
            saved, rewritten = folder / "saved.tar", folder / "image.tar"
            self.save(tag, saved)
            docker_archive.rewrite(saved, rewritten, epoch)
            self.load(rewritten, tag)
        if self.digest(tag) != built:
            self.remove(built)

    def save_command(self, tag: str, archive: Path, kind: str) -> list[str]:
        """The command line that writes an archive."""
        return self.command("save", "--output", str(archive), tag)

    def load(self, archive: Path, tag: str) -> str:
        """Take an image from an archive."""
        loaded = self.ask("load", "--quiet", "--input", str(archive)).splitlines()[-1]
        self.ask("tag", loaded.split(": ", 1)[1], tag)
        return self.digest(tag)

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
        """Run a command in a container of its own."""
        self.check()
        words = self.command(
            *_run_options(tag, command, [*_what_it_sees(binds, user, env), *_workdir(folder)], network=network)
        )
        return subprocess.run(words, check=False, text=True, capture_output=True, stdin=subprocess.DEVNULL)


ENGINES: tuple[type[Engine], ...] = (Buildah, Podman, Docker)


def find(name: str | None = None, storage: Path | None = None) -> Engine:
    """The engine of that name, of MLIP_ENGINE, or the first that works here.

    Args:
        name: buildah, podman or docker.
        storage: a folder for images of its own (Buildah and Podman).

    Raises:
        StackError: there is none, or the one that was asked for does not work here; why.
    """
    wanted = name or os.environ.get("MLIP_ENGINE")
    known = {engine.name: engine for engine in ENGINES}
    if wanted:
        if wanted not in known:
            raise StackError(f"no engine is called '{wanted}': {', '.join(known)}")
        chosen = known[wanted](storage)
        chosen.check()
        return chosen
    problems = []
    for kind in ENGINES:
        try:
            engine = kind(storage)
            engine.check()
        except StackError as error:  # noqa: PERF203 (three engines at most)
            if shutil.which(kind.name) is not None:
                problems.append(str(error))
        else:
            return engine
    if problems:
        raise StackError("no container engine works here: " + "; ".join(problems))
    raise StackError(f"no container engine here (buildah, podman or docker): {INSTALL}")

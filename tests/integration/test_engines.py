"""Container engines and Apptainer, for real: a tiny image is built twice from nothing, packed twice, and run.

They run where ci/install-engines has been; elsewhere they are skipped.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlip.stack import container_runtime, engines, sif, sif_file
from mlip.stack.engine import Engine
from mlip.stack.errors import StackError

EPOCH = 1767225600
USER = 1000
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs commands as another user")
FOLDERS = ("dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin", "var")
ETC = {"passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n", "group": "root:x:0:\n"}
DOCKERFILE = """\
FROM scratch AS system
ADD root.tar /
RUN ["/usr/bin/busybox", "--install", "-s", "/usr/bin"]

FROM system AS builder
RUN --mount=type=bind,source=source,target=/mnt/source cp /mnt/source/text /built && date > /when

FROM system AS runtime
ARG WORD=nothing
COPY --from=builder /built /opt/built
RUN --mount=type=bind,source=source,target=/mnt/source cat /mnt/source/text > /opt/text; echo "$WORD" > /opt/word; \\
    grep -c : /proc/net/dev > /opt/interfaces
LABEL io.mlip.kind="test"
ENTRYPOINT ["/usr/bin/false"]
"""
DEFINITION = """\
Bootstrap: docker-archive
From: image.tar

%environment
    export WORD=set
"""


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program that is a whole system: this machine's, or that of its Debian suite."""
    found = shutil.which("busybox")
    folder = tmp_path_factory.mktemp("busybox")
    if found is None and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        subprocess.run(["apt-get", "--quiet=2", "download", "busybox-static"], cwd=folder, check=False)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
            found = str(next(path for path in folder.rglob("busybox") if path.is_file() and os.access(path, os.X_OK)))
    if found is None:
        pytest.skip("no busybox here, and none to be had by apt-get download busybox-static")
    head = Path(found).read_bytes()
    if b"ld-linux" in head[:4096]:
        pytest.skip(f"{found} needs libraries: install busybox-static")
    return Path(found)


def write_context(folder: Path, busybox: Path) -> Path:
    """What the image is built from."""
    (folder / "source").mkdir(parents=True)
    (folder / "source" / "text").write_text("hello\n")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    with tarfile.open(folder / "root.tar", "w") as file:
        for name in FOLDERS:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755, EPOCH
            file.addfile(entry)
        for name, content in {**ETC, "hosts": "", "hostname": "", "resolv.conf": ""}.items():
            entry = tarfile.TarInfo(f"etc/{name}")
            entry.size, entry.mtime = len(content), EPOCH
            file.addfile(entry, io.BytesIO(content.encode()))
        entry = tarfile.TarInfo("bin")
        entry.type, entry.linkname = tarfile.SYMTYPE, "usr/bin"
        file.addfile(entry)
        content = busybox.read_bytes()
        entry = tarfile.TarInfo("usr/bin/busybox")
        entry.size, entry.mode = len(content), 0o755
        file.addfile(entry, io.BytesIO(content))
    return folder


def engine_or_skip(name: str, storage: Path | None) -> Engine:
    try:
        return engines.find(name, storage)
    except StackError as error:
        pytest.skip(str(error))


def build(engine: Engine, context: Path, tag: str) -> str:
    return engine.build(context, context / "Dockerfile", tag, "runtime", {"WORD": "given"}, {"io.mlip.n": "1"}, EPOCH)


@pytest.fixture(scope="module", params=["buildah", "podman"])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, busybox: Path
) -> Iterator[tuple[Engine, str, Path]]:
    """An engine with a storage of its own, the digest of the image t:1 in it, and its archive."""
    folder = tmp_path_factory.mktemp(request.param)
    engine = engine_or_skip(request.param, folder / "storage")
    digest = build(engine, write_context(folder / "context", busybox), "localhost/t:1")
    engine.save("localhost/t:1", folder / "image.tar")
    yield engine, digest, folder / "image.tar"
    engine.remove("localhost/t:1")


def test_a_second_build_from_nothing_is_the_same_image(
    built: tuple[Engine, str, Path], tmp_path: Path, busybox: Path
) -> None:
    engine, digest, archive = built
    other = engines.find(engine.name, tmp_path / "storage")

    assert build(other, write_context(tmp_path / "context", busybox), "localhost/t:1") == digest

    other.save("localhost/t:1", tmp_path / "image.tar")
    assert (tmp_path / "image.tar").read_bytes() == archive.read_bytes()
    other.save("localhost/t:1", tmp_path / "image.oci.tar", "oci-archive")
    assert other.load(tmp_path / "image.oci.tar", "localhost/t:2") == digest
    assert other.load(tmp_path / "image.tar", "localhost/t:3") == digest


def test_a_changed_root_gives_the_same_image_as_a_runtime(
    built: tuple[Engine, str, Path], tmp_path: Path, busybox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, digest, _ = built
    monkeypatch.setattr(container_runtime, "usable_runtime", lambda: None)

    other = engines.find(engine.name, tmp_path / "storage")

    assert build(other, write_context(tmp_path / "context", busybox), "localhost/t:1") == digest


def test_what_is_mounted_is_looked_at_and_not_taken_from_a_cache(
    built: tuple[Engine, str, Path], tmp_path: Path, busybox: Path
) -> None:
    engine, digest, _ = built
    context = write_context(tmp_path / "context", busybox)
    (context / "source" / "text").write_text("other\n")

    assert build(engine, context, "localhost/t:other") != digest
    assert len(engine.ask("images", "--all", "--quiet").split()) == 2  # those with names, and no stages of them
    assert engine.run("localhost/t:other", ["cat", "/opt/built", "/opt/text"]).stdout == "other\nother\n"
    engine.remove("localhost/t:other")
    assert not engine.exists("localhost/t:other")


def test_docker_builds_the_same_image_twice(tmp_path: Path, busybox: Path) -> None:
    docker = engine_or_skip("docker", None)
    context = write_context(tmp_path / "context", busybox)

    digests = {build(docker, context, "localhost/mlip-test:1") for _ in range(2)}

    try:
        assert len(digests) == 1
        done = docker.run("localhost/mlip-test:1", ["sh", "-c", "id -u; cat /opt/interfaces /opt/word"], user="1000")
        assert done.stdout.split() == ["1000", "1", "given"]
        docker.save("localhost/mlip-test:1", tmp_path / "image.tar")
        assert {docker.load(tmp_path / "image.tar", "localhost/mlip-test:2")} == digests
    finally:
        docker.remove("localhost/mlip-test:2")
        docker.remove("localhost/mlip-test:1")


def test_a_build_has_no_network_and_leaves_no_mount_points(built: tuple[Engine, str, Path]) -> None:
    engine, _, _ = built

    done = engine.run("localhost/t:1", ["sh", "-c", "cat /opt/interfaces /opt/word; ls /mnt"])

    assert done.stdout == "1\ngiven\n"  # lo alone


@pytest.mark.parametrize("user", [None, "1000:1000"])
def test_a_command_runs_in_the_image(built: tuple[Engine, str, Path], tmp_path: Path, user: str | None) -> None:
    engine, _, _ = built
    tmp_path.chmod(0o777)
    command = ["sh", "-c", "id -u; grep -c : /proc/net/dev; pwd; echo $A; echo text > file; exit 3"]

    done = engine.run("localhost/t:1", command, {tmp_path: "/mnt"}, user, folder="/mnt", env={"A": "7"})

    assert (done.returncode, done.stdout.split()) == (3, [user.split(":")[0] if user else "0", "1", "/mnt", "7"])
    assert (tmp_path / "file").read_text() == "text\n"


@pytest.fixture(scope="module")
def packed(built: tuple[Engine, str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Apptainer file of the image."""
    try:
        sif.apptainer()
    except StackError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("sif")
    (folder / "image.def").write_text(DEFINITION)
    digest = sif.build(built[2], folder / "image.def", folder / "image.sif", EPOCH)
    assert digest.startswith("sha256:")
    return folder / "image.sif"


def test_a_second_apptainer_file_has_the_same_bytes(
    built: tuple[Engine, str, Path], packed: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.def").write_text(DEFINITION)

    sif.build(built[2], tmp_path / "other.def", tmp_path / "other.sif", EPOCH)

    assert (tmp_path / "other.sif").read_bytes() == packed.read_bytes()


def test_the_apptainer_file_tells_what_it_is(packed: Path) -> None:
    found = sif.inspect(packed)

    assert found["labels"]["io.mlip.kind"] == "test"
    assert found["labels"]["io.mlip.n"] == "1"
    assert found["labels"]["org.label-schema.build-date"] == "2026-01-01T00:00:00Z"
    assert found["compression"] == "zstd"
    assert sif_file.verify(packed, EPOCH).created == EPOCH


@pytest.mark.parametrize("user", [None, pytest.param(USER, marks=AS_ROOT), pytest.param(4242, marks=AS_ROOT)])
@pytest.mark.parametrize("writable", [False, True])
def test_a_command_runs_in_the_apptainer_file(
    packed: Path, tmp_path: Path, user: int | None, *, writable: bool
) -> None:
    tmp_path.chmod(0o777)
    command = [
        "sh",
        "-c",
        'id -u; echo "$WORD" "$A"; pwd; echo text > file; test -w "$HOME"; echo $?; ! touch /opt/new',
    ]

    done = sif.exec(packed, command, {tmp_path: "/mnt"}, user, writable_tmpfs=writable, folder="/mnt", env={"A": "7"})

    assert done.stdout.split() == [str(os.geteuid() if user is None else user), "set", "7", "/mnt", "0"], done.stderr
    assert done.returncode == int(writable)
    assert (tmp_path / "file").stat().st_uid == (os.geteuid() if user is None else user)


@AS_ROOT
def test_a_user_without_fuse_gets_the_file_unpacked(
    packed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sif, "may_use_fuse", lambda _: False)

    done = sif.exec(packed, ["cat", "/opt/text"], user=USER)

    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    assert "unpacked for this command" in capsys.readouterr().out


@AS_ROOT
def test_the_machine_is_as_it_was(packed: Path) -> None:
    of_other_tests = ("mpich_shm_", "torch_", "sem.")  # LAMMPS and trainings that run at the same time

    def state() -> tuple[object, ...]:
        fuse = Path("/dev/fuse").stat()
        shared = sorted(path.name for path in Path("/dev/shm").iterdir() if not path.name.startswith(of_other_tests))  # noqa: S108
        return fuse.st_mode, fuse.st_ino, Path("/proc/self/mountinfo").read_text(), shared

    before = state()

    sif.exec(packed, ["true"], user=USER)

    assert state() == before

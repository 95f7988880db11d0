"""Container engines are found, refused with a reason, and called with the options that make a build reproducible.

The engines here are programs of a few lines on PATH, which write down how they were called.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlip.stack import apptainer, container_runtime, engine, engines, sif
from mlip.stack.errors import StackError
from tests.unit.stack.image_archives import docker_archive

EPOCH = 1767225600
IMAGE = "0123456789abcdef"
# Answers of the stand-in engines: an image's id where one is asked for, and nothing else.
ANSWER = rf"""
case "$*" in
  *inspect*) echo {IMAGE} ;;
  from\ *) echo container ;;
  *ServerVersion*) echo 28.0 ;;
  *version*) echo "$(basename "$0") version 1.2.3" ;;
esac
"""
Install = Callable[..., Path]
USER_IDS_MISSING = container_runtime.user_ids_missing  # before the fixture below says that none are


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine where containers run with runc, whatever this one is."""
    monkeypatch.setenv("MLIP_CACHE", str(tmp_path / "cache"))
    for name in ("MLIP_ENGINE", "CONTAINERS_CONF", "STORAGE_DRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(container_runtime, "usable_runtime", lambda: "runc")
    monkeypatch.setattr(container_runtime, "namespaces_missing", lambda: None)
    monkeypatch.setattr(container_runtime, "user_ids_missing", lambda *_: None)


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[str]]:
    """What the stand-in engines were called with, a line for each call."""
    log = tmp_path / "calls"
    return lambda: log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a program on a PATH that has the shell's tools and no engine else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "basename", "cat", "stat", "true", "unshare"):
        (folder / tool).symlink_to(shutil.which(tool) or "/nowhere")
    monkeypatch.setenv("PATH", str(folder))

    def add(name: str, script: str = ANSWER) -> Path:
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >> {tmp_path}/calls\n{script}\n')
        path.chmod(0o755)
        return path

    return add


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    return folder


def build(name: str, context: Path, storage: Path | None = None, *, network: bool = False) -> str:
    return engines.find(name, storage).build(
        *(context, context / "Dockerfile", "localhost/mlip:cpu", "runtime", {"B": "2", "A": "1"}, {"l": "x y"}, EPOCH),
        network=network,
    )


def test_buildah_builds_without_network_cache_and_anything_of_now(
    install: Install, calls: Callable[[], list[str]], context: Path, tmp_path: Path
) -> None:
    install("buildah")

    digest = build("buildah", context, tmp_path / "store")

    assert digest == f"sha256:{IMAGE}"
    line = next(line for line in calls() if " build " in line)
    assert line.startswith(f"buildah --root {tmp_path}/store/storage --runroot ")
    for option in (
        " build --isolation oci --network none --runtime runc",
        "--pull=never",
        "--layers=false --no-cache",
        "--identity-label=false",
        f"--timestamp {EPOCH}",
        "--target runtime --tag localhost/mlip:cpu",
        f"--build-arg A=1 --build-arg B=2 --build-arg SOURCE_DATE_EPOCH={EPOCH} --label l=x y",
    ):
        assert option in line
    assert line.endswith(str(context))


def test_stages_of_this_build_and_the_last_image_are_removed_and_what_others_left_is_not(
    install: Install, calls: Callable[[], list[str]], context: Path
) -> None:
    # the names of images without a name: the tag's last one, a stage with the build's label, one of somebody else
    script = f"""
case "$*" in
  *label=l=x*) echo sha256:stage ;;
  *dangling*) echo sha256:{IMAGE}; echo sha256:stage; echo sha256:another ;;
  *inspect*) echo {IMAGE} ;;
esac
"""
    install("buildah", script)

    build("buildah", context)

    removed = {line.split()[-1] for line in calls() if " rmi " in line}
    assert removed == {f"sha256:{IMAGE}", "sha256:stage"}


def test_an_image_tells_its_labels(install: Install) -> None:
    config = '{\\"config\\":{\\"Labels\\":{\\"io.mlip.stack\\":\\"cpu\\"}}}'
    install("buildah", f'echo \'{{"Config": "{config}"}}\'')
    install("podman", """echo '{"io.mlip.stack":"cpu"}'""")
    for name in ("buildah", "podman"):
        assert engines.find(name).labels("mlip:cpu") == {"io.mlip.stack": "cpu"}


def test_in_a_container_an_ordinary_user_is_root_and_with_docker_themselves(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("buildah", "podman", "docker"):
        install(name)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(os, "getegid", lambda: 100)
    found = {name: engines.find(name).own_user() for name in ("buildah", "podman", "docker")}
    assert found == {"buildah": "0:0", "podman": "0:0", "docker": "1234:100"}


def test_a_network_is_given_where_it_is_asked_for(
    install: Install, calls: Callable[[], list[str]], context: Path
) -> None:
    install("podman")

    build("podman", context, network=True)

    line = next(line for line in calls() if " build " in line)
    assert "--network host" in line
    assert "--pull" not in line


def test_without_a_runtime_the_root_is_changed_in_a_network_namespace_of_its_own(
    install: Install, calls: Callable[[], list[str]], context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_runtime, "usable_runtime", lambda: None)
    install("buildah")
    (Path(os.environ["PATH"]) / "unshare").unlink()
    install("unshare", 'shift 2; exec "$@"')

    build("buildah", context)

    at = next(number for number, line in enumerate(calls()) if " build " in line)
    assert calls()[at].startswith("unshare --net -- buildah")
    assert "--isolation chroot --network host" in calls()[at + 1]


def test_podman_runs_a_command_as_a_user_without_network_and_entry_point(
    install: Install, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    install("podman", "echo out; exit 3")
    image = engines.find("podman")

    done = image.run("t:1", ["lmp", "-h"], {tmp_path: "/work"}, "1000:1000", folder="/work", env={"A": "1"})

    assert (done.returncode, done.stdout) == (3, "out\n")
    assert calls()[0] == (
        f"podman run --rm --network none --user 1000:1000 --volume {tmp_path}:/work --env A=1 --workdir /work "
        "--entrypoint lmp t:1 -h"
    )


def test_buildah_removes_the_container_it_ran_in(install: Install, calls: Callable[[], list[str]]) -> None:
    install("buildah")

    engines.find("buildah").run("t:1", ["true"], user="1000")

    assert calls()[0].startswith("buildah from --pull=never --name mlip-")
    assert calls()[1] == "buildah run --isolation oci --network none --runtime runc --user 1000 container -- true"
    assert calls()[2] == "buildah rm container"


def test_docker_builds_with_buildkit(
    install: Install, calls: Callable[[], list[str]], context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("docker")
    finished = []
    monkeypatch.setattr(engines.Docker, "finish", lambda _, *words: finished.append(words))

    build("docker", context)

    line = next(line for line in calls() if " build " in line)
    assert line.startswith("docker buildx build --network none --no-cache --provenance=false --sbom=false")
    assert "--output type=docker,name=localhost/mlip:cpu" in line
    assert finished == [("localhost/mlip:cpu", EPOCH)]


def test_docker_without_a_daemon_is_refused(install: Install) -> None:
    install("docker", 'case "$1" in info) exit 1 ;; esac')

    with pytest.raises(StackError, match="docker has no daemon that answers: start it"):
        engines.find("docker")


def test_docker_without_buildkit_is_refused(install: Install) -> None:
    install("docker", 'case "$1" in info) echo 28.0 ;; *) exit 1 ;; esac')

    with pytest.raises(StackError, match=r"docker has no BuildKit \('docker buildx'\): install the buildx plugin"):
        engines.find("docker")


@pytest.mark.usefixtures("install")
def test_no_engine_at_all_says_what_installs_one() -> None:
    with pytest.raises(StackError, match=r"no container engine here .*: as root, 'ci/install-engines' installs it"):
        engines.find()


@pytest.mark.usefixtures("install")
def test_an_engine_that_is_missing_says_what_installs_it() -> None:
    with pytest.raises(StackError, match="no 'podman' here: as root, 'ci/install-engines' installs it"):
        engines.find("podman")


@pytest.mark.usefixtures("install")
def test_an_unknown_engine_lists_the_known_ones() -> None:
    with pytest.raises(StackError, match="no engine is called 'lxc': buildah, podman, docker"):
        engines.find("lxc")


def test_the_first_engine_that_works_is_taken(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("docker")
    assert engines.find().name == "docker"
    install("podman")
    assert engines.find().name == "podman"
    install("buildah")
    assert engines.find().name == "buildah"
    monkeypatch.setenv("MLIP_ENGINE", "docker")
    assert engines.find().name == "docker"


def test_engines_that_do_not_work_say_why(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_runtime, "namespaces_missing", lambda: "ordinary users may make no namespaces here")
    install("buildah")
    install("docker", "exit 1")

    with pytest.raises(StackError, match=r"works here: buildah cannot make containers: ordinary .*; docker has no dae"):
        engines.find()


def test_a_full_disk_is_seen_before_the_build(
    install: Install, calls: Callable[[], list[str]], context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("buildah")
    monkeypatch.setattr(engine.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1 << 20))

    with pytest.raises(StackError, match=r"takes about 1\.0 GiB in .*, and 0\.0 GiB are free: free some"):
        build("buildah", context)
    assert not any(" build " in line for line in calls())


def test_a_disk_that_fills_up_during_the_build_is_named(install: Install, context: Path) -> None:
    install("buildah", "[ $1 != build ] || { echo 'Error: writing blob: No space left on device' >&2; exit 125; }")

    with pytest.raises(StackError, match="build of localhost/mlip:cpu: the disk is full"):
        build("buildah", context)


def test_the_output_of_a_step_that_fails_is_shown(
    install: Install, context: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    install("buildah", "[ $1 != build ] || { echo 'STEP 3: RUN false'; exit 1; }")

    with pytest.raises(StackError, match="buildah build of localhost/mlip:cpu failed with 1; its output is above"):
        build("buildah", context)
    assert "STEP 3: RUN false" in capfd.readouterr().out


def test_an_image_that_is_not_there_is_told_in_the_engines_words(install: Install) -> None:
    install("podman", "echo 'Error: t:1: image not known' >&2; exit 125")

    assert not engines.find("podman").exists("t:1")
    with pytest.raises(StackError, match="podman image: Error: t:1: image not known"):
        engines.find("podman").digest("t:1")


def test_an_archive_appears_when_it_is_whole(install: Install, tmp_path: Path) -> None:
    install("buildah", 'to=${3#*:}; echo part > "${to%:t:1}"; exit 1')

    with pytest.raises(StackError, match="saving t:1 failed"):
        engines.find("buildah").save("t:1", tmp_path / "out" / "image.tar")
    assert list((tmp_path / "out").iterdir()) == []


def test_settings_follow_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(container_runtime, "has_capability", lambda _: False)
    monkeypatch.setattr(container_runtime.resource, "getrlimit", lambda _: (1024, 4096))

    path = Path(container_runtime.environment("runc")["CONTAINERS_CONF"])

    assert path.is_relative_to(tmp_path / "cache" / "engines")
    assert 'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]' in path.read_text()
    assert 'runtime = "runc"' in path.read_text()


def test_a_machine_with_all_capabilities_keeps_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_runtime, "has_capability", lambda _: True)

    assert "ulimits" not in container_runtime.containers_conf("crun")


def test_settings_of_the_user_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINERS_CONF", "/their/containers.conf")

    assert container_runtime.environment("runc")["CONTAINERS_CONF"] == "/their/containers.conf"


def test_a_user_without_ids_for_containers_is_told_the_command(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing = USER_IDS_MISSING
    monkeypatch.setattr(container_runtime.os, "geteuid", lambda: 65534)
    (tmp_path / "subuid").write_text("ann:100000:65536\n")
    (tmp_path / "nsswitch").write_text("passwd: files\n")

    assert missing(tmp_path / "subuid", tmp_path / "nsswitch") == "there is no 'newuidmap' here: install uidmap"
    install("newuidmap")
    assert "'usermod --add-subuids 100000-165535" in (missing(tmp_path / "subuid", tmp_path / "nsswitch") or "")
    (tmp_path / "subuid").write_text("65534:100000:65536\n")
    assert missing(tmp_path / "subuid", tmp_path / "nsswitch") is None
    (tmp_path / "nsswitch").write_text("subid: sss\n")
    assert missing(tmp_path / "none", tmp_path / "nsswitch") is None


def test_a_runtime_that_starts_nothing_is_not_used(install: Install) -> None:
    install("runc", 'case "$1" in spec) echo \'{"process": {}, "mounts": []}\' > config.json ;; *) exit 1 ;; esac')

    assert not container_runtime.starts_containers("runc")
    assert not container_runtime.starts_containers("crun")


@pytest.mark.usefixtures("install")
def test_no_apptainer_says_where_one_comes_from() -> None:
    with pytest.raises(StackError, match="no 'apptainer' here: ask for your cluster's module, or let 'ci/install-"):
        sif.apptainer()


def test_apptainer_on_the_path_is_taken(install: Install) -> None:
    program = install("apptainer")

    assert sif.apptainer() == program
    assert apptainer.install() == sif.apptainer()


def test_a_definition_with_post_is_refused(install: Install, tmp_path: Path) -> None:
    install("apptainer")
    definition = tmp_path / "x.def"
    definition.write_text("Bootstrap: docker-archive\nFrom: x\n\n%post\n    apt-get update\n")

    with pytest.raises(StackError, match=r"x\.def: a %post would run now, and differently each time"):
        sif.build(docker_archive(tmp_path), definition, tmp_path / "x.sif", EPOCH)


def test_a_full_disk_is_seen_before_packing(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("apptainer")
    definition = tmp_path / "x.def"
    definition.write_text("Bootstrap: docker-archive\nFrom: x\n")
    monkeypatch.setattr(engine.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))

    with pytest.raises(StackError, match=r"the Apptainer file x\.sif takes about .* are free"):
        sif.build(docker_archive(tmp_path), definition, tmp_path / "x.sif", EPOCH)


def test_without_fuse_the_file_is_unpacked_and_the_user_told(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install("apptainer")
    monkeypatch.setattr(sif, "may_use_fuse", lambda _: False)

    words = sif.command_line(Path("a.sif"), ["id"], user=(1000, 1000))

    assert "--unsquash" in words
    assert "no use of /dev/fuse here: a.sif is unpacked for this command" in capsys.readouterr().out

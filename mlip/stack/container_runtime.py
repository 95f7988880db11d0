"""What this machine lets containers do, and the settings that follow from it for Podman and Buildah.

Nothing is assumed of the machine: a runtime is believed to work once it has started a container here, and limits are
those of this process. The settings go into a file of the cache, never into /etc.
"""

from __future__ import annotations

import functools
import json
import os
import pwd
import re
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from mlip.stack.cache import digest
from mlip.stack.places import cache_folder

RUNTIMES = ("runc", "crun")
# What Podman and Buildah ask for by themselves; more than a machine grants makes the container fail to start.
USUAL_LIMITS = {"nofile": (resource.RLIMIT_NOFILE, 1048576), "nproc": (resource.RLIMIT_NPROC, 32768)}
CAP_SYS_RESOURCE = 24
# The folders that hold /bin/true and its libraries.
PROBE_FOLDERS = ("bin", "lib", "lib64", "usr")


def has_capability(number: int) -> bool:
    """Whether this process has a capability, as the kernel counts them."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")]
    return bool(masks and masks[0] >> number & 1)


def limits() -> list[str]:
    """The limits a container may have here, as containers.conf writes them."""
    words = []
    for name, (number, usual) in USUAL_LIMITS.items():
        _, hard = resource.getrlimit(number)
        most = usual if hard == resource.RLIM_INFINITY else min(usual, hard)
        words.append(f"{name}={most}:{most}")
    return words


def containers_conf(runtime: str | None) -> str:
    """The text of a containers.conf for this machine."""
    containers = ["http_proxy = false", 'umask = "0022"']
    if not has_capability(CAP_SYS_RESOURCE):
        containers.append(f"default_ulimits = {json.dumps(limits())}")
    engine = ['events_logger = "file"']
    if runtime is not None:
        engine.append(f'runtime = "{runtime}"')
    if not Path("/run/systemd/system").is_dir():
        engine.append('cgroup_manager = "cgroupfs"')
    return "\n".join(["[containers]", *containers, "", "[engine]", *engine, ""])


def environment(runtime: str | None) -> dict[str, str]:
    """The environment in which Podman and Buildah are started; where the user names settings, those hold."""
    if "CONTAINERS_CONF" in os.environ:
        return dict(os.environ)
    text = containers_conf(runtime)
    path = cache_folder() / "engines" / f"containers-{digest(text)}.conf"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
    return {**os.environ, "CONTAINERS_CONF": str(path)}


def namespaces_missing() -> str | None:
    """Why no container can be made here at all, as the end of a sentence; None where nothing is in the way."""
    command = ["unshare", "--mount", "true"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount", "true"]
    if shutil.which("unshare") is None:
        return "there is no 'unshare' here: install util-linux"
    if subprocess.run(command, check=False, capture_output=True).returncode == 0:
        return None
    if os.geteuid() == 0:
        return (
            "this machine lets even root make no namespaces, as in a container that was started without privileges: "
            "build on the machine itself"
        )
    return (
        "ordinary users may make no namespaces here: build as root, or let root run "
        "'sysctl kernel.unprivileged_userns_clone=1' (Ubuntu: 'sysctl kernel.apparmor_restrict_unprivileged_userns=0')"
    )


def user_ids_missing(subuid: Path = Path("/etc/subuid"), nsswitch: Path = Path("/etc/nsswitch.conf")) -> str | None:
    """Why an ordinary user's containers can have no users of their own, as the end of a sentence; None if they can."""
    if os.geteuid() == 0:
        return None
    if shutil.which("newuidmap") is None:
        return "there is no 'newuidmap' here: install uidmap"
    if nsswitch.is_file() and re.search(r"(?m)^subid:", nsswitch.read_text(encoding="utf-8", errors="replace")):
        return None  # kept elsewhere
    name = pwd.getpwuid(os.geteuid()).pw_name
    lines = subuid.read_text(encoding="utf-8").splitlines() if subuid.is_file() else []
    if any(line.split(":")[0] in {name, str(os.geteuid())} for line in lines):
        return None
    return (
        f"{subuid} has no line for {name}: let root run "
        f"'usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}'"
    )


def _bundle(folder: Path, spec: dict[str, Any]) -> None:
    """Write a container that runs `true` with this machine's own programs, changed from what the runtime proposes."""
    rootfs = folder / "rootfs"
    rootfs.mkdir()
    spec["process"].update(terminal=False, args=["true"])
    spec["process"].pop("rlimits", None)
    spec["root"] = {"path": "rootfs", "readonly": False}
    for name in PROBE_FOLDERS:
        outside = Path("/", name)
        if outside.is_symlink():
            (rootfs / name).symlink_to(outside.readlink())
        elif outside.is_dir():
            mount = {"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": ["rbind", "ro"]}
            spec["mounts"].append(mount)
    (folder / "config.json").write_text(json.dumps(spec), encoding="utf-8")


def starts_containers(runtime: str) -> bool:
    """Whether a runtime starts a container here: it is asked to."""
    if shutil.which(runtime) is None:
        return False
    with tempfile.TemporaryDirectory(prefix="mlip-runtime-") as name:
        folder = Path(name)
        made = subprocess.run([runtime, "spec"], cwd=folder, check=False, capture_output=True)
        if made.returncode != 0:
            return False
        _bundle(folder, json.loads((folder / "config.json").read_text(encoding="utf-8")))
        command = [runtime, "--root", str(folder / "state"), "run", f"mlip-probe-{os.getpid()}"]
        try:
            done = subprocess.run(
                command, cwd=folder, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=30
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


@functools.cache
def usable_runtime() -> str | None:
    """The first runtime that starts containers here. An ordinary user's runs inside the engine's own namespace."""
    if os.geteuid() != 0:
        return next((name for name in RUNTIMES if shutil.which(name)), None)
    return next((name for name in RUNTIMES if starts_containers(name)), None)

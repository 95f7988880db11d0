"""Debian's archive through apt with folders of its own: this machine's package lists and packages stay as they are."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from mlip.stack.blobs import full_disk
from mlip.stack.cache import digest, locked, need
from mlip.stack.errors import StackError
from mlip.stack.places import cache_folder

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
POCKETS = ("", "-updates", "-security")
RETRIES = 3
NO_NETWORK = re.compile(
    r"Temporary failure resolving|Could not resolve|Could not connect|Cannot initiate the connection|"
    r"Connection (refused|timed out)|Network is unreachable|Unable to connect"
)


def mirrors() -> tuple[str, str | None]:
    """The archive and the security archive, as this machine's own apt is set up.

    DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR win.

    Raises:
        StackError: apt knows none.
    """
    if mirror := os.environ.get("DEBIAN_MIRROR"):
        return mirror, os.environ.get("DEBIAN_SECURITY_MIRROR")
    need("apt-get", "apt")
    command = ["apt-get", "indextargets", "--format", "$(SUITE)|$(COMPONENT)|$(REPO_URI)"]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    targets = [line.split("|") for line in done.stdout.splitlines()]
    main = [(suite, uri) for suite, component, uri in targets if component == "main" and "debian" in uri]
    plain = [uri for suite, uri in main if "-security" not in suite and "-backports" not in suite]
    security = [uri for suite, uri in main if suite.endswith("-security")]
    if not plain:
        raise StackError(
            "this machine's apt knows no Debian archive (it is needed for root filesystems, not for this machine): "
            "set DEBIAN_MIRROR to the address of one, and DEBIAN_SECURITY_MIRROR to that of its security updates"
        )
    return plain[0], os.environ.get("DEBIAN_SECURITY_MIRROR") or (security[0] if security else None)


def with_pockets(suites: Iterable[str]) -> list[str]:
    """Suites with their updates and security updates: versions move from one to the other; sid has none."""
    names = {suite.split("-")[0] for suite in suites}
    return sorted(name + pocket for name in names for pocket in (POCKETS if name not in {"sid", "unstable"} else ("",)))


def source_lines(suites: Iterable[str]) -> list[str]:
    """What follows `deb` in sources.list for suites (trixie, trixie-security, ...), signed by Debian's keys.

    A mirror with a slash at the end is a plain folder of packages (a flat archive), trusted as it is: tests and sites
    without a network have such.

    Raises:
        StackError: keys or mirrors are missing.
    """
    mirror, security = mirrors()
    if mirror.startswith(("file:", "copy:")) and mirror.endswith("/"):
        return [f"[trusted=yes] {mirror} ./"]
    if not KEYRING.is_file():
        raise StackError(f"Debian's keys are missing ({KEYRING}): apt-get install debian-archive-keyring")
    lines = []
    for suite in sorted(set(suites)):
        place = security if suite.endswith("-security") else mirror
        if place:
            lines.append(f"[signed-by={KEYRING}] {place} {suite} main")
    return lines


class Apt:
    """apt with its own folders, sources and preferences, and no package installed."""

    def __init__(self, root: Path, lines: list[str], preferences: str) -> None:
        self.root = root
        for folder in ("apt.conf.d", "preferences.d"):
            (root / "etc/apt" / folder).mkdir(parents=True, exist_ok=True)
        for folder in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "etc/apt/sources.list").write_text("".join(f"deb {line}\ndeb-src {line}\n" for line in lines))
        self.prefer(preferences)
        (root / "status").write_text("")
        machine = subprocess.run(["apt-config", "dump", "Acquire"], check=False, text=True, capture_output=True).stdout
        # proxies and the like of this machine; what belongs to its own sources is not taken
        network = [line for line in machine.splitlines() if re.match(r"Acquire::(http|https|Retries)[: ]", line)]
        (root / "apt.conf").write_text(
            "\n".join(network) + f'\nDir "{root}"; Dir::State::status "{root}/status"; Dir::Etc::sourceparts "-";\n'
            'APT::Architecture "amd64"; APT::Architectures:: "amd64"; APT::Install-Recommends "false";\n'
            # suites that are pinned by hash may be old: their Release files expire
            'Acquire::Check-Valid-Until "false"; Acquire::Languages "none"; Acquire::ForceHash "SHA256";\n'
            f'Acquire::Retries "{RETRIES}"; APT::Sandbox::User ""; Debug::NoLocking "true";\n'
        )

    def prefer(self, preferences: str) -> None:
        """Say which versions win from now on, in the words of apt_preferences(5)."""
        (self.root / "etc/apt/preferences").write_text(preferences)

    def run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of apt's programs; the caller looks at what came of it."""
        environment = {**os.environ, "APT_CONFIG": str(self.root / "apt.conf"), "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            command, check=False, text=True, capture_output=True, env=environment, cwd=cwd, stdin=subprocess.DEVNULL
        )

    def update(self) -> None:
        """Read the archive's lists.

        Raises:
            StackError: they cannot be read.
        """
        done = self.run("apt-get", "update", "--error-on=any")
        if done.returncode:
            raise explained(done.stderr, "the lists of Debian's archive")

    def available(self, names: Iterable[str]) -> dict[tuple[str, str], tuple[str, str, int]]:
        """The versions the archive has: (name, version) -> (file name, sha256, bytes)."""
        wanted = sorted(set(names))
        found = {}
        for start in range(0, len(wanted), 200):
            text = self.run("apt-cache", "show", "--all-versions", *wanted[start : start + 200]).stdout
            for stanza in text.split("\n\n"):
                fields = dict(re.findall(r"(?m)^(Package|Version|Filename|SHA256|Size): (.*)$", stanza))
                if len(fields) == 5:
                    file = unquote(fields["Filename"].rsplit("/", 1)[-1])
                    found[fields["Package"], fields["Version"]] = (file, fields["SHA256"], int(fields["Size"]))
        return found

    def suites(self, names: Iterable[str]) -> dict[tuple[str, str], set[str]]:
        """The suites that have each version: (name, version) -> {trixie, sid}."""
        found: dict[tuple[str, str], set[str]] = {}
        for line in self.run("apt-cache", "madison", *sorted(set(names))).stdout.splitlines():
            name, version, place = (part.strip() for part in line.split("|"))
            if place.endswith("Packages"):
                # "ADDRESS trixie/main amd64 Packages"; an archive without suites has "ADDRESS ./ Packages"
                words = place.split()
                suite = words[1].split("/")[0] if len(words) > 3 else "."
                found.setdefault((name, version), set()).add(suite)
        return found


def explained(stderr: str, what: str) -> StackError:
    """What apt's words mean for the user."""
    if "No space left on device" in stderr or "don't have enough free space" in stderr:
        return full_disk(what)
    errors = [line for line in stderr.splitlines() if line.startswith(("E:", "W:", "Err"))] or stderr.splitlines()[-3:]
    words = "; ".join(dict.fromkeys(line.strip() for line in errors[:3]))
    if NO_NETWORK.search(stderr):
        return StackError(
            f"no network to {what} ({words}): connect, or bring the files by MLIP_SOURCES or a bundle "
            "(mlip stack fetch NAME --from-bundle FILE); what is in the cache stays"
        )
    return StackError(f"{what} cannot be had: {words}")


@contextmanager
def opened(suites: Iterable[str], preferences: str = "") -> Iterator[Apt]:
    """An apt for some suites, with fresh lists; its folder stays in the cache, so that the next one reads what changed.

    Args:
        suites: trixie, trixie-security, sid, ...
        preferences: which version wins, in the words of apt_preferences(5).

    Raises:
        StackError: there is no apt, or the lists cannot be read.
    """
    need("apt-get", "apt")
    lines = source_lines(suites)
    root = cache_folder() / "apt" / digest(lines)
    with locked(root.with_name(f"{root.name}.lock")):
        root.mkdir(parents=True, exist_ok=True)
        apt = Apt(root, lines, preferences)
        apt.update()
        yield apt

"""Resolve the ``.in`` files beside this into ``.txt``: every version pinned, every file by its sha256 (``make lock``).

cpu.txt is the project's environment, image.txt the part of it that images contain, peer.txt the reference's.

One lock serves Python 3.10 to 3.13. It names no package index: that is the reader's configuration. Libraries for GPUs
are left out (without-gpu.txt), and the CPU builds of torch, which the common index does not carry, are admitted by the
hashes in torch-cpu.sha256.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
HEADER = """\
# Written by `make lock` from {name}.in; not edited by hand.
"""


def resolve(name: str, options: list[str]) -> str:
    """The resolver's answer; versions already in the lock stay unless ``--upgrade`` is among the options."""
    lock = FOLDER / f"{name}.txt"
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    command += ["--python-version", "3.10", "--no-emit-index-url", "--no-emit-find-links", "--no-annotate"]
    command += ["--no-header", "--override", str(FOLDER / "without-gpu.txt"), "--output-file", str(lock), *options]
    subprocess.run([*command, str(FOLDER / f"{name}.in")], check=True)
    return lock.read_text()


def entries(text: str) -> list[str]:
    """One string for each pinned package with its hashes."""
    return [entry for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", text) if "==" in entry]


def admit_cpu_torch(entry: str) -> str:
    """Add the hashes of torch's CPU builds to torch's entry."""
    if not entry.startswith("torch=="):
        return entry
    known = [line.split(maxsplit=1)[0] for line in (FOLDER / "torch-cpu.sha256").read_text().splitlines()]
    hashes = sorted(set(re.findall(r"sha256:([0-9a-f]{64})", entry)) | set(known))
    return f"{entry.split(maxsplit=1)[0]} \\\n" + " \\\n".join(f"    --hash=sha256:{value}" for value in hashes) + "\n"


def main() -> None:
    """Write the locks."""
    as_in_cpu = ["--constraint", str(FOLDER / "cpu.txt")]
    for name, options in (("cpu", sys.argv[1:]), ("image", as_in_cpu), ("peer", sys.argv[1:])):
        print(f"resolving requirements/{name}.in", flush=True)
        kept = [admit_cpu_torch(e) for e in entries(resolve(name, options)) if "sys_platform == 'never'" not in e]
        (FOLDER / f"{name}.txt").write_text(HEADER.format(name=name) + "".join(kept))
        print(f"wrote requirements/{name}.txt: {len(kept)} entries", flush=True)


if __name__ == "__main__":
    main()

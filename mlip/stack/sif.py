"""Apptainer files: built from an image's archive so that two builds give the same bytes, read, and run."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlip.stack import apptainer as apptainer_program
from mlip.stack import container_runtime, private_view, sif_file
from mlip.stack.cache import sha256
from mlip.stack.engine import need_space, stream
from mlip.stack.engines import is_oci
from mlip.stack.errors import StackError

# zstd: half of gzip's time to pack. Owners are root's and there are no extended attributes, in which an ordinary user's
# Apptainer notes the owners: whoever packs gets the same bytes, and they mean nothing where a user runs the file.
SQUASHFS_OPTIONS = "-comp zstd -Xcompression-level 6 -b 1M -all-root -no-xattrs"
DATE_LABEL = "org.label-schema.build-date"
# The archive, its layers as Apptainer fetches them, the unpacked files, and what is packed.
SPACE_FOR_ARCHIVE = 3


def apptainer() -> Path:
    """Apptainer: the one on PATH, or that of ci/install-engines.

    Raises:
        StackError: there is none.
    """
    return apptainer_program.program()


def iso(epoch: int) -> str:
    """A time as labels have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


def definition_text(text: str, archive: Path, name: str, epoch: int) -> str:
    """The definition for one archive: it names no folder of this machine, and the date is the content's.

    Args:
        text: the definition; its header's Bootstrap and From are replaced.
        archive: the image.
        name: what the archive is called where the definition is built.
        epoch: seconds since 1970.

    Raises:
        StackError: it does not start from an archive of an image.
    """
    header = re.match(r"(?:[ \t]*(?:#[^\n]*)?\n)*((?:[A-Za-z]+:[^\n]*\n)+)", text)
    if header is None or not re.search(r"(?im)^bootstrap:[ \t]*(docker|oci)-archive[ \t]*$", header[1]):
        raise StackError(
            "the definition of the Apptainer file must start with 'Bootstrap: docker-archive' and 'From: FILE'"
        )
    kind = "oci-archive" if is_oci(archive) else "docker-archive"
    body = text[header.end() :]
    label = f"    {DATE_LABEL} {iso(epoch)}\n"
    body = re.sub(rf"(?m)^[ \t]*{re.escape(DATE_LABEL)}[ \t][^\n]*\n", "", body)
    if re.search(r"(?m)^%labels[ \t]*$", body):
        body = re.sub(r"(?m)^%labels[ \t]*\n", f"%labels\n{label}", body, count=1)
    else:
        body = f"{body.rstrip()}\n\n%labels\n{label}"
    return f"Bootstrap: {kind}\nFrom: {name}\n{body}"


def build(archive: Path, definition: Path, target: Path, epoch: int) -> str:
    """Build an Apptainer file from an image's archive.

    Args:
        archive: a docker-archive or oci-archive.
        definition: the definition file, which starts from that archive and has no %post.
        target: the file to write.
        epoch: the time of everything in it, in seconds since 1970.

    Returns:
        The file's digest, ``sha256:...``: the same for the same content.

    Raises:
        StackError: there is no Apptainer, no room, or the archive or the definition is damaged.
    """
    program = apptainer()
    text = definition_text(definition.read_text(encoding="utf-8"), archive, "image.tar", epoch)
    if re.search(r"(?m)^%post\b", text):
        raise StackError(f"{definition}: a %post would run now, and differently each time; the image has everything")
    target.parent.mkdir(parents=True, exist_ok=True)
    need_space(target.parent, SPACE_FOR_ARCHIVE * archive.stat().st_size, f"the Apptainer file {target.name}")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".sif-") as temporary:
        folder = Path(temporary)
        (folder / "image.tar").symlink_to(archive.resolve())
        (folder / "image.def").write_text(text, encoding="utf-8")
        (folder / "tmp").mkdir()
        # --force: the image's own labels would else win over the definition's date
        command = [
            str(program),
            "build",
            "--force",
            "--notest",
            "--mksquashfs-args",
            SQUASHFS_OPTIONS,
            "image.sif",
            "image.def",
        ]
        environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("APPTAINER_", "SINGULARITY_"))
            },
            "SOURCE_DATE_EPOCH": str(epoch),
            "APPTAINER_TMPDIR": str(folder / "tmp"),
            "APPTAINER_CACHEDIR": str(folder / "tmp"),
            "APPTAINER_DISABLE_CACHE": "1",
        }
        stream(command, f"building {target.name}", environment, cwd=folder)
        sif_file.normalise(folder / "image.sif", epoch)
        built = sif_file.verify(folder / "image.sif", epoch)
        if (found := sif_file.labels(built).get(DATE_LABEL)) != iso(epoch):
            raise StackError(f"{target.name} says it was built at {found}, not {iso(epoch)}: this Apptainer is unknown")
        (folder / "image.sif").replace(target)
    return f"sha256:{sha256(target)}"


def inspect(sif: Path) -> dict[str, Any]:
    """What an Apptainer file says of itself; read from the file, without Apptainer.

    Returns:
        ``labels``, ``definition``, ``identifier``, ``created`` (seconds since 1970), ``compression`` of its file
        system, and ``objects``: type, name and bytes of each.

    Raises:
        StackError: the file is damaged.
    """
    file = sif_file.verify(sif)
    compression, _, _ = file.squashfs()
    definitions = file.of_kind(sif_file.DEFINITION)
    return {
        "labels": sif_file.labels(file),
        "definition": file.content(definitions[0]).decode("utf-8", "replace") if definitions else "",
        "identifier": str(file.identifier),
        "created": file.created,
        "compression": compression,
        "objects": [{"type": item.type, "name": item.name, "bytes": item.length} for item in file.objects],
    }


def may_use_fuse(user: tuple[int, int] | None) -> bool:
    """Whether the file system in the file can be mounted: by the kernel for root, by FUSE for others."""
    device = Path("/dev/fuse")
    if not device.exists():
        return False
    # For another user a device file of the same number is made, in a view of the files that only the command has.
    return user is not None or os.access(device, os.R_OK | os.W_OK)


def command_line(
    sif: Path,
    command: Sequence[str],
    binds: Mapping[Path, str] | None = None,
    *,
    user: tuple[int, int] | None = None,
    writable_tmpfs: bool = False,
    folder: str | None = None,
) -> list[str]:
    """The words of `apptainer exec`.

    Args:
        sif: the file.
        command: what to run in it.
        binds: folders of this machine and where the command sees them.
        user: the user and group that will run it, if others than this process has.
        writable_tmpfs: whether the command may change the image's files, in memory.
        folder: where in the file it runs.
    """
    words = [str(apptainer()), "exec"]
    if user is None and apptainer_program.lacks_capabilities():
        words.append("--no-privs")
    if (user is not None or os.geteuid() != 0) and not may_use_fuse(user):
        print(f"no use of /dev/fuse here: {sif.name} is unpacked for this command, which takes a while", flush=True)
        words.append("--unsquash")
    if writable_tmpfs:
        words.append("--writable-tmpfs")
    for outside, inside in (binds or {}).items():
        words += ["--bind", f"{outside}:{inside}"]
    if folder is not None:
        words += ["--pwd", folder]
    return [*words, str(sif), *command]


def exec(  # noqa: A001 (Apptainer's own word for it)
    sif: Path,
    command: Sequence[str],
    binds: Mapping[Path, str] | None = None,
    user: int | None = None,
    *,
    writable_tmpfs: bool = False,
    folder: str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command in an Apptainer file; what it printed is captured.

    Args:
        sif: the file.
        command: the command.
        binds: folders of this machine and where the command sees them.
        user: run as this ordinary user (root only): what the user may not read on this machine stays out of reach, but
            for Apptainer, the file and the binds; the home folder is new and empty.
        writable_tmpfs: whether the command may change the image's files, in memory.
        folder: where in the file it runs; / by default.
        env: variables for the command, beside those of this process.

    Raises:
        StackError: there is no Apptainer, the file is damaged, or users may have no namespaces.
    """
    sif = sif.resolve()
    sif_file.read(sif).squashfs()
    owner = None if user is None or user == os.geteuid() else (user, user)
    words = command_line(sif, command, binds, user=owner, writable_tmpfs=writable_tmpfs, folder=folder)
    if os.geteuid() != 0 and (why := container_runtime.namespaces_missing()):
        raise StackError(f"Apptainer cannot make containers: {why}")
    if owner is not None:
        words = private_view.command_line(words, owner, apptainer().parent.parent, [sif, *map(Path, binds or {})])
    names = {f"APPTAINERENV_{name}": value for name, value in (env or {}).items()}
    return subprocess.run(
        words,
        check=False,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, **names},
    )

"""The Singularity image format (SIF): what a file holds, whether it is whole, and the same bytes for the same content.

A SIF is a header, a table of descriptors and the objects they describe: the definition, labels as JSON, and the file
system as a squashfs. Two builds of the same content differ in the header's identifier and in times only; `normalise`
gives both fixed values. All numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mlip.stack.errors import StackError

# launch script, magic, version, architecture, identifier, created, modified, descriptors free and in all, where the
# table is and how long, where the objects are and how long
HEADER = struct.Struct("<32s10s3s3s16sqqqqqqqq")
# type, used, id, group, link, offset, length, length with padding, created, modified, user, group, name, more
DESCRIPTOR = struct.Struct("<i?IIIqqqqqqq128s384s")
MAGIC = b"SIF_MAGIC\0"
IDENTIFIER_AT = 48
HEADER_TIMES_AT = 64
DESCRIPTOR_TIMES_AT = 41  # two times, then the builder's user and group

DEFINITION, FILE_SYSTEM, SIGNATURE, JSON_OBJECT = 0x4001, 0x4004, 0x4005, 0x4006
TYPES = {
    DEFINITION: "definition",
    JSON_OBJECT: "json",
    FILE_SYSTEM: "file system",
    0x4002: "environment",
    0x4003: "labels",
    SIGNATURE: "signature",
    0x4007: "generic",
    0x4008: "cryptographic message",
    0x4009: "software bill of materials",
}
SQUASHFS_MAGIC = b"hsqs"
# magic, inodes, time, block size, fragments, compression, ..., bytes used
SQUASHFS = struct.Struct("<4sIIIIHHHHHHQQ")
COMPRESSIONS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
# the namespace of the identifiers of these files: any fixed value would do
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://sylabs.io/sif")


@dataclass(frozen=True)
class Object:
    """One object of a SIF."""

    kind: int
    name: str
    descriptor_at: int
    offset: int
    length: int
    created: int
    modified: int

    @property
    def type(self) -> str:
        """The type in words."""
        return TYPES.get(self.kind, hex(self.kind))


@dataclass(frozen=True)
class SifFile:
    """What the header and the descriptors say."""

    path: Path
    identifier: uuid.UUID
    created: int
    modified: int
    objects: tuple[Object, ...]

    def of_kind(self, kind: int) -> list[Object]:
        """The objects of one type."""
        return [item for item in self.objects if item.kind == kind]

    def content(self, item: Object) -> bytes:
        """An object's bytes."""
        with self.path.open("rb") as file:
            file.seek(item.offset)
            return file.read(item.length)

    def squashfs(self) -> tuple[str, int, int]:
        """The file system's compression, its time, and how many bytes of it are used.

        Raises:
            StackError: there is no squashfs in the file, or only a part of it.
        """
        systems = self.of_kind(FILE_SYSTEM)
        if not systems:
            raise _damaged(self.path, "it holds no file system")
        with self.path.open("rb") as file:
            file.seek(systems[0].offset)
            start = file.read(min(SQUASHFS.size, systems[0].length))
        if len(start) < SQUASHFS.size or start[:4] != SQUASHFS_MAGIC:
            raise _damaged(self.path, "its file system is not a squashfs")
        _, _, time, _, _, compression, *_, used = SQUASHFS.unpack(start)
        if used > systems[0].length:
            raise _damaged(self.path, f"its file system has {used} bytes, of which {systems[0].length} are there")
        return COMPRESSIONS.get(compression, str(compression)), time, used


def _damaged(path: Path, why: str) -> StackError:
    return StackError(f"{path} is damaged or no Apptainer file: {why}; copy or build it again")


def _objects(path: Path, table: bytes, at: int, size: int) -> Iterator[Object]:
    for number in range(len(table) // DESCRIPTOR.size):
        fields = DESCRIPTOR.unpack_from(table, number * DESCRIPTOR.size)
        kind, used, offset, length, created, modified, name = (*fields[:2], *fields[5:7], *fields[8:10], fields[12])
        if not used:
            continue
        if offset < HEADER.size or length < 0 or offset + length > size:
            raise _damaged(path, f"object {number + 1} ends at byte {offset + length}, the file at {size}")
        text = name.split(b"\0", 1)[0].decode("utf-8", "replace")
        yield Object(kind, text, at + number * DESCRIPTOR.size, offset, length, created, modified)


def read(path: Path) -> SifFile:
    """Read the header and the descriptors.

    Raises:
        StackError: the file is missing, is no SIF, or is not whole.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEADER.size)
            if len(head) < HEADER.size:
                raise _damaged(path, f"it has {size} bytes")
            _, magic, _, _, identifier, created, modified, _, count, at, _, _, _ = HEADER.unpack(head)
            if magic != MAGIC:
                raise _damaged(path, "its header is another")
            if not (0 < count <= 1 << 16 and HEADER.size <= at <= size - count * DESCRIPTOR.size):
                raise _damaged(path, f"its table of {count} descriptors at byte {at} is not inside its {size} bytes")
            file.seek(at)
            table = file.read(count * DESCRIPTOR.size)
    except OSError as error:
        raise StackError(f"{path}: {error.strerror}") from None
    return SifFile(path, uuid.UUID(bytes=identifier), created, modified, tuple(_objects(path, table, at, size)))


def labels(sif: SifFile) -> dict[str, str]:
    """The image's labels.

    Raises:
        StackError: they cannot be read.
    """
    for item in sif.of_kind(JSON_OBJECT):
        try:
            value = json.loads(sif.content(item))
        except ValueError:
            raise _damaged(sif.path, f"'{item.name}' is no JSON") from None
        found = _labels(value)
        if found is not None:
            return found
    return {}


def _labels(value: Any) -> dict[str, str] | None:
    """The labels in what Apptainer keeps for its `inspect`, or in an OCI configuration."""
    attributes = value.get("data", {}).get("attributes", {}) if isinstance(value, dict) else {}
    found = attributes.get("labels") if isinstance(attributes, dict) else None
    return {str(key): str(text) for key, text in found.items()} if isinstance(found, dict) else None


def _hash_without_identifier(file: BinaryIO) -> str:
    """The sha256 of a whole SIF, but for its identifier, which follows from it."""
    value = hashlib.sha256()
    file.seek(0)
    value.update(file.read(IDENTIFIER_AT))
    file.read(16)
    value.update(bytes(16))
    while block := file.read(1 << 20):
        value.update(block)
    return value.hexdigest()


def normalise(path: Path, epoch: int) -> uuid.UUID:
    """Give a SIF the times, the owner and the identifier that follow from its content; the identifier.

    Args:
        path: the file; it is changed in place.
        epoch: seconds since 1970.

    Raises:
        StackError: the file is damaged.
    """
    sif = read(path)
    with path.open("r+b") as file:
        file.seek(HEADER_TIMES_AT)
        file.write(struct.pack("<qq", epoch, epoch))
        for item in sif.objects:
            file.seek(item.descriptor_at + DESCRIPTOR_TIMES_AT)
            file.write(struct.pack("<qqqq", epoch, epoch, 0, 0))
        identifier = uuid.uuid5(NAMESPACE, _hash_without_identifier(file))
        file.seek(IDENTIFIER_AT)
        file.write(identifier.bytes)
    return identifier


def verify(path: Path, epoch: int | None = None) -> SifFile:
    """Read a SIF back: it is whole, and with `epoch`, it is what `normalise` leaves.

    A file that `normalise` has seen names the hash of its content, so that every byte is checked; others, and those to
    which signatures were added since, are checked in their structure.

    Raises:
        StackError: what is wrong with it.
    """
    sif = read(path)
    _, time, _ = sif.squashfs()
    times = {sif.created, sif.modified, time, *(t for item in sif.objects for t in (item.created, item.modified))}
    if epoch is not None and times != {epoch}:
        raise StackError(f"{path} holds other times than {epoch}: {sorted(times - {epoch})}; it would differ next time")
    if epoch is not None or (sif.identifier.version == 5 and not sif.of_kind(SIGNATURE)):
        with path.open("rb") as file:
            wanted = uuid.uuid5(NAMESPACE, _hash_without_identifier(file))
        if sif.identifier != wanted:
            raise _damaged(path, f"its content belongs to the identifier {wanted}, it names {sif.identifier}")
    return sif

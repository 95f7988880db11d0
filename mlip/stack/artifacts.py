"""What a lock lists: files by name, version and sha256, base images by digest, and what could not be pinned."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

# Two sets of files: what images contain, and what LAMMPS is compiled with.
SETS = ("runtime", "toolchain")


class Artifact:
    """What all entries of a lock share: they are written as one JSON object each."""

    def to_json(self) -> dict[str, Any]:
        """The entry's keys; optional ones that have no value are left out."""
        optional = {f.name for f in fields(self) if f.default is None}  # type: ignore[arg-type]
        return {k: v for k, v in asdict(self).items() if not (k in optional and v is None)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Deb(Artifact):
    """A package of Debian's archive, under its file name there."""

    name: str
    version: str
    arch: str
    suite: str
    file: str
    sha256: str
    size: int
    sets: tuple[str, ...]


@dataclass(frozen=True)
class Wheel(Artifact):
    """A file of the Python index: a wheel, or a source archive where there is none.

    Attributes:
        size: bytes; None where the index does not say.
        published_in: where the hash was read, if not from the index itself.
    """

    name: str
    version: str
    file: str
    sha256: str
    size: int | None
    sets: tuple[str, ...]
    published_in: str | None = None


@dataclass(frozen=True)
class Source(Artifact):
    """A source archive.

    Attributes:
        strip: leading folders to drop when unpacking.
        url: where it lies, or
        debian: the suite and the source package it belongs to.
    """

    name: str
    version: str
    file: str
    sha256: str
    strip: int
    url: str | None = None
    debian: dict[str, str] | None = None


@dataclass(frozen=True)
class Image(Artifact):
    """A base image; digest is None where none is published."""

    name: str
    tag: str
    digest: str | None
    published_in: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry's keys; a missing digest is stated."""
        return {**super().to_json(), "digest": self.digest}


@dataclass(frozen=True)
class Unresolved(Artifact):
    """What the stack needs and could not be pinned where the lock was made."""

    what: str
    why: str
    remedy: str


# What lies in the cache: has a file name and a hash.
Archive = Deb | Wheel | Source


def size_of(archive: Archive) -> int | None:
    """Bytes, where known."""
    return None if isinstance(archive, Source) else archive.size


def sets_of(archive: Archive) -> tuple[str, ...]:
    """The sets a file belongs to; sources are compiled, so they are of the toolchain."""
    return ("toolchain",) if isinstance(archive, Source) else archive.sets

"""Apptainer files are read, checked and made the same for the same content, without Apptainer."""

from __future__ import annotations

import json
import struct
import uuid
from pathlib import Path

import pytest

from mlip.stack import sif, sif_file
from mlip.stack.errors import StackError
from tests.unit.stack.image_archives import docker_archive, oci_archive

EPOCH = 1767225600
LABELS = {"io.mlip.stack": "cpu", "org.label-schema.build-date": "2026-01-01T00:00:00Z"}
TABLE_AT = 4096
OBJECTS_AT = 8192


def squashfs(time: int = EPOCH, content: bytes = b"files" * 100) -> bytes:
    """The start of a squashfs, which is all that is looked at, and something for its content."""
    size = sif_file.SQUASHFS.size + len(content)
    return sif_file.SQUASHFS.pack(b"hsqs", 3, time, 131072, 1, 6, 17, 0, 1, 4, 0, 0, size) + content


def write(path: Path, *, time: int, identifier: uuid.UUID, owner: int = 0, system: bytes | None = None) -> Path:
    """A SIF as Apptainer writes it at some time."""
    metadata = json.dumps({"data": {"attributes": {"labels": LABELS}}}).encode()
    contents = [
        (sif_file.DEFINITION, b"", b"Bootstrap: docker-archive\nFrom: image.tar\n"),
        (sif_file.JSON_OBJECT, b"inspect-metadata.json", metadata),
        (sif_file.FILE_SYSTEM, b"", squashfs() if system is None else system),
    ]
    offset, table, data = OBJECTS_AT, b"", b""
    for number, (kind, name, content) in enumerate(contents, 1):
        table += sif_file.DESCRIPTOR.pack(
            *(kind, True, number, 1, 0, offset, len(content), len(content), time, time, owner, owner, name, b"")
        )
        data += content
        offset += len(content)
    table += bytes(sif_file.DESCRIPTOR.size * 2)  # descriptors that are free
    header = sif_file.HEADER.pack(
        *(b"#!/usr/bin/env run-singularity\n", sif_file.MAGIC, b"01\0", b"02\0", identifier.bytes, time, time),
        *(2, 5, TABLE_AT, len(table), OBJECTS_AT, len(data)),
    )
    path.write_bytes((header.ljust(TABLE_AT, b"\0") + table).ljust(OBJECTS_AT, b"\0") + data)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "a.sif", time=1795272000, identifier=uuid.uuid4())


def test_the_structures_have_the_sizes_of_the_format() -> None:
    assert sif_file.HEADER.size == 128
    assert sif_file.DESCRIPTOR.size == 585
    assert sif_file.SQUASHFS.size == 48


def test_objects_labels_and_compression_are_read(file: Path) -> None:
    found = sif.inspect(file)

    assert found["labels"] == LABELS
    assert found["definition"].startswith("Bootstrap: docker-archive")
    assert found["compression"] == "zstd"
    assert [item["type"] for item in found["objects"]] == ["definition", "json", "file system"]


def test_two_builds_of_the_same_content_become_the_same_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "a.sif", time=1795272000, identifier=uuid.uuid4(), owner=0)
    second = write(tmp_path / "b.sif", time=1795999999, identifier=uuid.uuid4(), owner=1000)
    assert first.read_bytes() != second.read_bytes()

    identifiers = {sif_file.normalise(path, EPOCH) for path in (first, second)}

    assert first.read_bytes() == second.read_bytes()
    assert len(identifiers) == 1
    assert sif_file.verify(first, EPOCH).identifier in identifiers
    assert sif_file.read(first).identifier.version == 5


def test_normalising_twice_changes_nothing(file: Path) -> None:
    sif_file.normalise(file, EPOCH)
    once = file.read_bytes()

    sif_file.normalise(file, EPOCH)

    assert file.read_bytes() == once


def test_other_content_has_another_identifier(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / name, time=1, identifier=uuid.uuid4(), system=squashfs(content=name.encode()))
        for name in ("a", "b")
    ]

    assert len({sif_file.normalise(path, EPOCH) for path in paths}) == 2


def test_times_that_are_not_the_contents_are_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sif", time=5, identifier=uuid.uuid4(), system=squashfs(time=1795272000))
    sif_file.normalise(path, EPOCH)

    with pytest.raises(StackError, match=r"holds other times than 1767225600: \[1795272000\]"):
        sif_file.verify(path, EPOCH)


def test_one_changed_byte_is_found_in_a_file_that_was_normalised(file: Path) -> None:
    sif_file.normalise(file, EPOCH)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    with pytest.raises(StackError, match="is damaged or no Apptainer file: its content belongs to the identifier"):
        sif.inspect(file)


@pytest.mark.parametrize(
    "kept, why",
    [(0, "it has 0 bytes"), (100, "it has 100 bytes"), (5000, "table of 5 descriptors"), (-1, "object 3 ends at byte")],
)
def test_a_file_that_was_cut_off_is_refused(file: Path, kept: int, why: str) -> None:
    file.write_bytes(file.read_bytes()[:kept])

    with pytest.raises(StackError, match=f"{file.name} is damaged or no Apptainer file: .*{why}"):
        sif_file.read(file)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    path.write_bytes(b"x" * 10000)

    with pytest.raises(StackError, match="its header is another; copy or build it again"):
        sif_file.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"none\.sif: No such file"):
        sif_file.read(tmp_path / "none.sif")


def test_a_file_system_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sif", time=1, identifier=uuid.uuid4(), system=b"ext3" * 100)

    with pytest.raises(StackError, match="its file system is not a squashfs"):
        sif.inspect(path)


def test_a_file_system_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sif", time=1, identifier=uuid.uuid4(), system=squashfs()[:-10])

    with pytest.raises(StackError, match="its file system has 548 bytes, of which 538 are there"):
        sif.inspect(path)


def test_a_signature_added_later_is_no_damage(file: Path) -> None:
    sif_file.normalise(file, EPOCH)
    content = bytearray(file.read_bytes())
    at = TABLE_AT + 3 * sif_file.DESCRIPTOR.size
    signature = (sif_file.SIGNATURE, True, 4, 1, 0, len(content), 9, 9, 7, 7, 0, 0, b"", b"")
    content[at : at + sif_file.DESCRIPTOR.size] = sif_file.DESCRIPTOR.pack(*signature)
    struct.pack_into("<q", content, 72, 7)
    file.write_bytes(content + b"signature")

    assert sif_file.verify(file).of_kind(sif_file.SIGNATURE)


DEFINITION = """# rendered

Bootstrap: docker-archive
From: somewhere/image.tar

%labels
    org.label-schema.build-date 1970-01-01
    who me

%environment
    export A=1
"""


def test_the_definition_in_the_file_names_no_folder_and_the_contents_date(tmp_path: Path) -> None:
    text = sif.definition_text(DEFINITION, docker_archive(tmp_path), "image.tar", EPOCH)

    assert text.startswith("Bootstrap: docker-archive\nFrom: image.tar\n")
    assert text.count("org.label-schema.build-date") == 1
    assert "    org.label-schema.build-date 2026-01-01T00:00:00Z\n    who me\n" in text


def test_a_definition_without_labels_gets_the_date(tmp_path: Path) -> None:
    text = sif.definition_text("Bootstrap: docker-archive\nFrom: x\n", oci_archive(tmp_path), "image.tar", EPOCH)

    assert text.startswith("Bootstrap: oci-archive\n")
    assert "%labels\n    org.label-schema.build-date 2026-01-01T00:00:00Z\n" in text


def test_a_definition_that_starts_from_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="must start with 'Bootstrap: docker-archive'"):
        sif.definition_text("Bootstrap: docker\nFrom: debian\n", docker_archive(tmp_path), "image.tar", EPOCH)

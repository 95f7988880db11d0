"""What Docker saves becomes the same bytes again, whenever it was built."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from mlip.stack import docker_archive
from mlip.stack.errors import StackError
from tests.unit.stack.image_archives import oci_archive

EPOCH = 1767225600


def layer(time: float) -> bytes:
    """A layer with a file of the content's time, and what RUN wrote at some other time."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as file:
        for name, mtime in (("usr/old", EPOCH - 5.0), ("usr/new", time)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.uid, entry.mode = 4, mtime, 7, 0o750
            entry.pax_headers = {"SCHILY.xattr.security.capability": "cap"}
            file.addfile(entry, io.BytesIO(b"text"))
        link = tarfile.TarInfo("usr/link")
        link.type, link.linkname, link.mtime = tarfile.SYMTYPE, "new", time
        file.addfile(link)
    return content.getvalue()


def saved(path: Path, time: float, images: int = 1) -> Path:
    """An image as `docker save` writes it."""
    config = {"config": {"Labels": {"a": "b"}}, "rootfs": {"type": "layers", "diff_ids": ["sha256:then"]}}
    image = {"Config": "blobs/sha256/c", "RepoTags": ["t:1"], "Layers": ["blobs/sha256/l"]}
    contents = {
        "blobs/sha256/c": json.dumps(config).encode(),
        "blobs/sha256/l": layer(time),
        "manifest.json": json.dumps([image] * images).encode(),
    }
    with tarfile.open(path, "w") as file:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return path


def test_two_builds_become_the_same_archive(tmp_path: Path) -> None:
    digests = {
        docker_archive.rewrite(saved(tmp_path / f"{time}", time), tmp_path / f"{time}.tar", EPOCH)
        for time in (EPOCH + 10.25, EPOCH + 99999.5)
    }

    first, second = (path.read_bytes() for path in tmp_path.glob("*.tar"))
    assert first == second
    assert len(digests) == 1


def test_files_keep_everything_but_times_of_the_build(tmp_path: Path) -> None:
    digest = docker_archive.rewrite(saved(tmp_path / "a", EPOCH + 10.25), tmp_path / "a.tar", EPOCH)

    with tarfile.open(tmp_path / "a.tar") as file:
        manifest = json.load(file.extractfile("manifest.json"))[0]
        config = json.load(file.extractfile(manifest["Config"]))
        with tarfile.open(fileobj=file.extractfile(manifest["Layers"][0])) as inner:
            members = {member.name: member for member in inner}
            assert inner.extractfile("usr/new").read() == b"text"
    assert manifest["RepoTags"] == ["t:1"]
    assert manifest["Config"] == digest.removeprefix("sha256:") + ".json"
    assert config["config"]["Labels"] == {"a": "b"}
    assert config["rootfs"]["diff_ids"] == ["sha256:" + manifest["Layers"][0].removesuffix(".tar")]
    assert members["usr/old"].mtime == EPOCH - 5
    assert members["usr/new"].mtime == members["usr/link"].mtime == EPOCH
    assert (members["usr/new"].uid, members["usr/new"].mode) == (7, 0o750)
    assert members["usr/new"].pax_headers["SCHILY.xattr.security.capability"] == "cap"
    assert members["usr/link"].linkname == "new"


def test_several_images_in_one_archive_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="has 2 images, not one"):
        docker_archive.rewrite(saved(tmp_path / "a", EPOCH, images=2), tmp_path / "a.tar", EPOCH)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"no archive of an image: it has no manifest\.json"):
        docker_archive.rewrite(oci_archive(tmp_path), tmp_path / "a.tar", EPOCH)

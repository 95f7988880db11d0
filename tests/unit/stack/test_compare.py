"""Where two builds differ: the first file, and in what."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from mlip.stack.compare import first_difference_of_archives, first_difference_of_folders

FILES = {"etc/hosts": b"", "usr/bin/lmp": b"\x7fELF" + bytes(3000), "usr/lib/liblammps.so": bytes(100)}


def archive(path: Path, files: dict[str, bytes], *, mtime: int = 0, mode: int = 0o644) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), mtime, mode
            tar.addfile(entry, io.BytesIO(content))
    return path


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def test_equal_archives_do_not_differ(tmp_path: Path) -> None:
    assert first_difference_of_archives(archive(tmp_path / "a", FILES), archive(tmp_path / "b", FILES)) is None


def test_content_is_named_with_its_first_byte(tmp_path: Path) -> None:
    changed = {**FILES, "usr/bin/lmp": FILES["usr/bin/lmp"][:2000] + b"x" + FILES["usr/bin/lmp"][2001:]}
    found = first_difference_of_archives(archive(tmp_path / "a", FILES), archive(tmp_path / "b", changed))
    assert found == "usr/bin/lmp: content from byte 2000 on"


def test_a_file_of_one_side_is_named(tmp_path: Path) -> None:
    found = first_difference_of_archives(archive(tmp_path / "a", FILES), archive(tmp_path / "b", {**FILES, "new": b""}))
    assert found == "new: only in the second"


@pytest.mark.parametrize("change, words", [({"mtime": 5}, "mtime 0 and 5"), ({"mode": 0o600}, "mode 420 and 384")])
def test_times_and_rights_are_named(tmp_path: Path, change: dict[str, int], words: str) -> None:
    found = first_difference_of_archives(archive(tmp_path / "a", FILES), archive(tmp_path / "b", FILES, **change))
    assert found == f"etc/hosts: {words}"


def test_layers_of_an_image_are_looked_into(tmp_path: Path) -> None:
    """An image's archive names its layers after their hashes."""
    images = []
    for name, content in (("one", b"aaaa"), ("two", b"aaba")):
        layer = archive(tmp_path / f"{name}.layer", {"opt/mlip/share/stack.json": content}).read_bytes()
        images.append(archive(tmp_path / name, {f"{name}0123.tar": layer, "manifest.json": name.encode()}))
    found = first_difference_of_archives(*images)
    assert found == "one0123.tar: opt/mlip/share/stack.json: content from byte 2 on"


def test_order_alone_is_said(tmp_path: Path) -> None:
    backwards = dict(reversed(FILES.items()))
    found = first_difference_of_archives(archive(tmp_path / "a", FILES), archive(tmp_path / "b", backwards))
    assert found == "the order of their members, or padding between them"


def test_equal_folders_do_not_differ(tmp_path: Path) -> None:
    assert first_difference_of_folders(folder(tmp_path / "a", FILES), folder(tmp_path / "b", FILES)) is None


def test_folders_differ_in_content_names_rights_and_links(tmp_path: Path) -> None:
    one = folder(tmp_path / "a", FILES)

    def difference(name: str, **files: bytes) -> str | None:
        return first_difference_of_folders(one, folder(tmp_path / name, {**FILES, **files}))

    assert difference("b", new=b"") == "new: only in the second"
    assert difference("c", **{"etc/hosts": b"x"}) == "etc/hosts: content from byte 0 on"
    other = folder(tmp_path / "d", FILES)
    (other / "etc/hosts").chmod(0o755)
    assert first_difference_of_folders(one, other) == "etc/hosts: -rw-r--r-- and -rwxr-xr-x"
    for place, target in ((one, "x"), (tmp_path / "e", "y")):
        folder(place, FILES)
        (place / "link").symlink_to(target)
    assert first_difference_of_folders(one, tmp_path / "e") == "link: leads to x and y"

"""The list of an environment's sources, and the mirror made of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from mlip.stack import blobs, recipe, spack_sources
from mlip.stack.artifacts import Source, Wheel
from mlip.stack.errors import StackError
from tests.unit.stack.spack_checkout import spack_checkout

ADDRESS = "https://code.example.org/thing-1.0.tar.gz"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return spack_checkout(tmp_path / "checkout")


def entry(**values: str) -> dict[str, str]:
    """A source."""
    return {"name": "py-thing", "version": "1.0", "file": "thing-1.0.tar.gz", "sha256": "0" * 64} | values


class TestList:
    def test_is_what_spack_prints_in_one_order(self) -> None:
        said = json.dumps([entry(name="zlib", url=ADDRESS), entry(name="kokkos", url="https://github.com/k/k.tar.gz")])
        found = spack_sources.listed(f"a warning\n@@ {said}\n")
        assert [(one["name"], one.get("url")) for one in found] == [
            ("kokkos", "https://github.com/k/k.tar.gz"),
            ("zlib", None),
        ]

    def test_without_one_spacks_words_are_the_error(self) -> None:
        with pytest.raises(StackError, match="no such environment"):
            spack_sources.listed("Error: no such environment")

    def test_is_missing_where_nothing_was_concretized(self, checkout: Path) -> None:
        (checkout / "spack/envs/cpu/sources.json").unlink(missing_ok=True)
        with pytest.raises(StackError, match=r"spack/envs/cpu has no sources\.json: .* never concretized"):
            spack_sources.load(recipe.load("cpu", checkout), checkout)

    def test_each_source_is_looked_for_where_it_lies(self) -> None:
        stack = recipe.load("cpu")
        lammps = entry(name="lammps-mlip", sha256=stack.sources()["lammps"]["sha256"])
        kokkos = entry(name="kokkos", file="v1.tar.gz", sha256="1" * 64, url="https://github.com/k/v1.tar.gz")
        wrapper = kokkos | {"name": "kokkos-nvcc-wrapper"}
        found = spack_sources.archives(stack, [lammps, kokkos, wrapper, entry()])
        assert [type(one) for one in found] == [Source, Source, Wheel]
        assert found[0].file == stack.sources()["lammps"]["file"]
        assert found[1].file == "kokkos-v1.tar.gz"
        assert (found[2].name, found[2].file) == ("thing", "thing-1.0.tar.gz")


def test_a_mirror_has_every_source_under_its_hash(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLIP_CACHE", str(tmp_path / "cache"))
    content = b"an archive"
    sha256 = hashlib.sha256(content).hexdigest()
    (tmp_path / "thing-1.0.tar.gz").write_bytes(content)
    blobs.add(tmp_path / "thing-1.0.tar.gz", sha256)
    (checkout / "spack/envs/cpu/sources.json").write_text(spack_sources.text([entry(sha256=sha256)]))
    assert spack_sources.write_mirror(recipe.load("cpu", checkout), tmp_path / "mirror", root=checkout) == 1
    file = tmp_path / "mirror/_source-cache/archive" / sha256[:2] / f"{sha256}.tar.gz"
    assert file.read_bytes() == content

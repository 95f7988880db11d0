from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlip.stack import blobs, debian_packages, host, places, recipe, wheels
from mlip.stack import lock as locks
from mlip.stack.artifacts import Unresolved
from mlip.stack.errors import StackError
from mlip.stack.lock import Deb, Lock, Source
from mlip.stack.recipe import Stack
from tests.fake_archives import make_deb, make_index, make_repository, make_wheel, needs_apt, own_cache, sha256

__all__ = ["own_cache"]
CPU = recipe.load("cpu")
LOCK = Lock(
    "cpu",
    CPU.digest,
    "2026-11-21",
    debs=[Deb("libc6", "2.41-1", "amd64", "trixie", "libc6_2.41-1_amd64.deb", "a" * 64, 7, ("runtime", "toolchain"))],
    sources=[Source("lammps", "1", "lammps.tar.gz", "b" * 64, 0, debian={"suite": "sid", "package": "lammps"})],
    unresolved=[Unresolved("an image", "no registry", "pull it")],
)


class TestTheFile:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(locks, "checkout", lambda: tmp_path)

    def test_what_is_written_is_read(self) -> None:
        locks.write(LOCK)
        assert locks.load(CPU) == LOCK

    def test_every_artifact_has_a_line_of_its_own(self) -> None:
        text = locks.write(LOCK).read_text()
        assert sum(line.lstrip().startswith('{"') for line in text.splitlines()) == 3
        assert json.loads(text)["debs"][0]["sets"] == ["runtime", "toolchain"]

    def test_its_day_is_the_time_of_what_is_built(self) -> None:
        assert LOCK.epoch == 1795219200

    def test_its_digest_is_that_of_the_content(self) -> None:
        path = locks.write(LOCK)
        path.write_text(json.dumps(json.loads(path.read_text()), indent=7))
        assert locks.load(CPU).digest == LOCK.digest
        assert replace(LOCK, date="2026-11-22").digest != LOCK.digest

    def test_the_files_of_a_set_are_those_with_its_name_and_sources_are_compiled(self) -> None:
        assert [a.file for a in LOCK.archives(["runtime"])] == ["libc6_2.41-1_amd64.deb"]
        assert [a.file for a in LOCK.archives(["toolchain"])] == ["libc6_2.41-1_amd64.deb", "lammps.tar.gz"]

    def test_a_stack_without_a_lock_names_the_command(self) -> None:
        with pytest.raises(StackError, match=r"the stack cpu has no lock .*: run mlip stack lock cpu"):
            locks.load(CPU)

    def test_a_lock_of_another_recipe_is_refused(self) -> None:
        locks.write(replace(LOCK, recipe="0" * 64))
        with pytest.raises(StackError, match=r"recipe of cpu has changed .*: run mlip stack lock cpu"):
            locks.load(CPU)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda text: text[:-20],
            lambda text: text.replace('"sha256"', '"sha265"'),
            lambda text: text.replace('"date": "2026', '"date": "yesterday'),
            lambda _: "[]",
        ],
    )
    def test_a_damaged_lock_is_refused(self, damage: Callable[[str], str]) -> None:
        path = locks.write(LOCK)
        path.write_text(damage(path.read_text()))
        with pytest.raises(StackError, match=r"cpu\.json is damaged"):
            locks.load(CPU)

    def test_a_lock_of_a_later_program_is_refused(self) -> None:
        path = locks.write(LOCK)
        path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
        with pytest.raises(StackError, match="has format 2, this program reads 1"):
            locks.load(CPU)


RECIPE = {
    "summary": "a stack for tests",
    "device": "cpu",
    "system": {"suite": "trixie", "runtime": ["tool"], "toolchain": ["compiler"]},
    "python": {"version": "3.11", "requirements": "cpu"},
    "torch": {"version": "2.0", "build": "cpu", "source": "tests", "date": "2026-11-21"},
    "mpi": {"package": "mpich", "version": "5.0", "source": "tests", "date": "2026-11-21"},
    "lammps": {"sources": "here"},
    "kokkos": {"backends": ["OPENMP", "SERIAL"]},
}


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Path:
    """A checkout with one recipe, `tiny`, and archives for it."""
    assert own_cache.is_dir()
    root = tmp_path / "checkout"
    for name in ("recipes/stacks", "containers", "requirements", "debian", "index", "local"):
        (root / name).mkdir(parents=True)
    make_deb(root / "debian", "base", essential=True)
    make_deb(root / "debian", "apt", depends="base")
    make_deb(root / "debian", "libtool1")
    make_deb(root / "debian", "tool", "1.0", depends="libtool1")
    make_deb(root / "debian", "compiler", depends="libtool1, assembler")
    make_deb(root / "debian", "assembler")
    libraries = [make_deb(root / "debian", name) for name in ("libkokkos5.2", "libkokkos-dev")]
    for name in ("pip", "setuptools", "numbers"):
        make_wheel(root / "index", name)
    make_wheel(root / "index", "mpich", "5.0", "py3-none-manylinux_2_28_x86_64")
    torch = make_wheel(root / "local", "torch", "2.0+cpu", "cp311-cp311-manylinux_2_28_x86_64")
    pins = ("mpich==5.0", "numbers==1.0", "torch==2.0")
    (root / "requirements" / "cpu.txt").write_text(
        "".join(f"{line} \\\n    --hash=sha256:{'0' * 64}\n" for line in (*pins, "old==1.0 ; python_version < '3.11'"))
    )
    (root / "requirements" / "torch-cpu.sha256").write_text(f"{sha256(torch.read_bytes())}  {torch.name}\n")
    kokkos = [
        {"package": f.name.partition("_")[0], "version": "1.0", "sha256": sha256(f.read_bytes())} for f in libraries
    ]
    archive = {"package": "lammps", "version": "1+dfsg", "file": "lammps.tar.gz", "sha256": "c" * 64, "strip": 0}
    built: dict[str, Any] = {"packages": ["KOKKOS"], "folders": ["src"], "options": {}, "kokkos_styles": {}}
    content = {"sources": {"here": {"suite": "trixie", "lammps": archive, "kokkos": kokkos}}, "lammps": built}
    (root / "recipes" / "lammps.yaml").write_text(yaml.safe_dump(content))
    (root / "recipes" / "stacks" / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    for module in (locks, wheels, places, host):
        monkeypatch.setattr(module, "checkout", lambda: root)
    monkeypatch.setenv("DEBIAN_MIRROR", make_repository(root / "debian"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", make_index(root / "index"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(root / "local"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return root


def tiny(root: Path) -> Stack:
    return recipe.load("tiny", root)


@needs_apt
class TestMaking:
    def test_a_lock_lists_both_systems_both_sets_of_python_packages_and_the_sources(self, fakes: Path) -> None:
        lock = locks.make(tiny(fakes))
        assert locks.load(tiny(fakes)) == lock
        assert {deb.name: deb.sets for deb in lock.debs} == {
            "apt": ("runtime", "toolchain"),
            "base": ("runtime", "toolchain"),
            "libkokkos5.2": ("runtime", "toolchain"),
            "libtool1": ("runtime", "toolchain"),
            "tool": ("runtime", "toolchain"),
            "assembler": ("toolchain",),
            "compiler": ("toolchain",),
            "libkokkos-dev": ("toolchain",),
        }
        assert {wheel.name: (wheel.version, wheel.sets) for wheel in lock.wheels} == {
            "mpich": ("5.0", ("runtime",)),
            "numbers": ("1.0", ("runtime",)),
            "torch": ("2.0+cpu", ("runtime",)),
            "pip": ("1.0", ("toolchain",)),
            "setuptools": ("1.0", ("toolchain",)),
        }
        assert [(s.name, s.debian) for s in lock.sources] == [("lammps", {"suite": "trixie", "package": "lammps"})]
        assert lock.unresolved == []

    def test_locking_again_changes_nothing(self, fakes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        locks.make(tiny(fakes))
        path = locks.file_of("tiny")
        path.write_text(path.read_text().replace(json.loads(path.read_text())["date"], "2026-01-01"))
        before = path.read_bytes()
        locks.make(tiny(fakes))
        assert path.read_bytes() == before

    def test_versions_are_kept_while_they_can_be_had_and_newer_ones_taken_on_request(
        self, fakes: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def versions(lock: Lock) -> tuple[str, str]:
            return next(d.version for d in lock.debs if d.name == "tool"), next(
                w.version for w in lock.wheels if w.name == "pip"
            )

        assert versions(locks.make(tiny(fakes))) == ("1.0", "1.0")
        make_deb(fakes / "debian", "tool", "1.1", depends="libtool1")
        make_wheel(fakes / "index", "pip", "2.0")
        make_repository(fakes / "debian")
        make_index(fakes / "index")
        monkeypatch.setenv("UV_NO_CACHE", "1")
        assert versions(locks.make(tiny(fakes))) == ("1.0", "1.0")
        assert versions(locks.make(tiny(fakes), update=True)) == ("1.1", "2.0")
        (fakes / "debian" / "tool_1.0_all.deb").unlink()
        make_repository(fakes / "debian")
        assert versions(locks.make(tiny(fakes))) == ("1.1", "2.0")

    def test_a_package_that_needs_newer_versions_than_the_lock_has_gets_them(self, fakes: Path) -> None:
        locks.make(tiny(fakes))
        make_deb(fakes / "debian", "tool", "1.1", depends="libtool1")
        make_deb(fakes / "debian", "editor", depends="tool (>= 1.1)")
        make_repository(fakes / "debian")
        changed = RECIPE | {"system": {"suite": "trixie", "runtime": ["tool", "editor"], "toolchain": ["compiler"]}}
        (fakes / "recipes" / "stacks" / "tiny.yaml").write_text(yaml.safe_dump(changed))
        versions = {deb.name: deb.version for deb in locks.make(tiny(fakes)).debs}
        assert versions["tool"] == "1.1"

    def test_a_package_that_the_archive_lacks_is_named_and_the_old_lock_stays(self, fakes: Path) -> None:
        locks.make(tiny(fakes))
        before = locks.file_of("tiny").read_bytes()
        changed = RECIPE | {"system": {"suite": "trixie", "runtime": ["tool", "editor"], "toolchain": []}}
        (fakes / "recipes" / "stacks" / "tiny.yaml").write_text(yaml.safe_dump(changed))
        with pytest.raises(StackError, match=r"apt finds no way .*editor"):
            locks.make(tiny(fakes))
        assert locks.file_of("tiny").read_bytes() == before

    def test_kokkos_that_has_left_the_archive_is_taken_from_the_cache(self, fakes: Path) -> None:
        deb = fakes / "debian" / "libkokkos5.2_1.0_all.deb"
        first = locks.make(tiny(fakes))
        kept = blobs.add(deb, sha256(deb.read_bytes()))
        deb.unlink()
        make_repository(fakes / "debian")
        again = locks.make(tiny(fakes))
        assert {d.sha256 for d in again.debs} == {d.sha256 for d in first.debs}
        kept.unlink()
        with pytest.raises(StackError, match=r"no longer has libkokkos5\.2 1\.0 \(it has none\).*lammps\.yaml"):
            locks.make(tiny(fakes))

    def test_kokkos_of_another_content_is_refused(self, fakes: Path) -> None:
        path = fakes / "recipes" / "lammps.yaml"
        content = yaml.safe_load(path.read_text())
        content["sources"]["here"]["kokkos"][0]["sha256"] = "f" * 64
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(StackError, match=r"lammps\.yaml says sha256 ffff.* of libkokkos5\.2 1\.0, the archive"):
            locks.make(tiny(fakes))

    def test_a_cpu_build_of_torch_that_nobody_offers_is_named(
        self, fakes: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PIP_FIND_LINKS")
        with pytest.raises(StackError, match=r"finds no torch-2\.0\+cpu-cp311.*MLIP_SOURCES"):
            locks.make(tiny(fakes))

    def test_without_uv_the_cure_is_said(self, fakes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        python = tmp_path / "python"
        python.write_text('#!/bin/sh\necho "$0: No module named uv" >&2\nexit 1\n')
        python.chmod(0o755)
        monkeypatch.setattr(wheels.sys, "executable", str(python))
        with pytest.raises(StackError, match=r"locking needs uv.*pip install uv"):
            wheels.compiled(["numbers==1.0"], [], "3.11", dependencies=False)


class TestHostFiles:
    def test_what_a_site_provides_is_recorded_by_content(
        self, fakes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "driver").write_text("6.16.13\n")
        entries = [
            {"what": "driver", "path": f"{tmp_path}/driv*", "why": "the kernel's part"},
            {"what": "network library", "path": f"{tmp_path}/opt/*/libfabric.so.1", "why": "MPI needs it"},
        ]
        stack = replace(tiny(fakes), raw={"host": entries})
        values = json.loads(host.record(stack).read_text())
        assert values["files"] == [
            {
                "what": "driver",
                "path": str(tmp_path / "driver"),
                "sha256": sha256(b"6.16.13\n"),
                "size": 8,
                "text": "6.16.13",
            }
        ]
        assert values["missing"] == [entries[1]]
        assert "this machine has no network library" in capsys.readouterr().out

    def test_libraries_have_their_soname(self) -> None:
        library = next(Path("/").glob("lib/*-linux-gnu/libc.so.6"), None) or pytest.skip("no C library found")
        found = host.found({"what": "C library", "path": str(library), "why": "tests"})
        assert [file.soname for file in found] == ["libc.so.6"]


@pytest.mark.parametrize(
    "names,best",
    [
        (["a-1-cp310-cp310-manylinux_2_17_x86_64.whl", "a-1-cp311-cp311-manylinux_2_17_x86_64.whl"], 1),
        (["a-1-py3-none-any.whl", "a-1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"], 1),
        (["a-1-cp38-abi3-manylinux_2_17_x86_64.whl", "a-1-cp39-abi3-manylinux_2_28_x86_64.whl"], 1),
        (["a-1-cp311-cp311-manylinux_2_28_aarch64.whl", "a-1-cp311-cp311-win_amd64.whl"], None),
        (["a-1-cp311-cp311t-manylinux_2_28_x86_64.whl", "a-1-py2.py3-none-any.whl"], 1),
        (["a-1-cp312-abi3-manylinux_2_28_x86_64.whl"], None),
    ],
)
def test_of_a_packages_files_the_one_for_the_stacks_python_is_locked(names: list[str], best: int | None) -> None:
    source = {"url": "https://example.org/a-1.tar.gz", "hashes": {"sha256": "5"}}
    files: list[dict[str, Any]] = [
        {"url": f"https://example.org/{name}", "hashes": {"sha256": str(n)}} for n, name in enumerate(names)
    ]
    package = {"name": "a", "version": "1", "wheels": files}
    if best is not None:
        assert wheels.chosen(package, "3.11")[:2] == (names[best], str(best))
        return
    assert wheels.chosen(package | {"sdist": source}, "3.11")[0] == "a-1.tar.gz"
    with pytest.raises(StackError, match=r"a 1 has no file for Python 3\.11"):
        wheels.chosen(package, "3.11")


@pytest.mark.parametrize("name", recipe.names())
class TestTheCommittedLocks:
    def test_they_are_of_the_present_recipes_and_requirements(self, name: str) -> None:
        stack = recipe.load(name)
        assert wheels.differing(stack, locks.load(stack)) == []

    def test_the_system_that_runs_is_part_of_the_one_that_compiles(self, name: str) -> None:
        lock = locks.load(recipe.load(name))
        assert all("toolchain" in deb.sets for deb in lock.debs)
        running = {deb.name for deb in lock.debs if "runtime" in deb.sets}
        assert {"apt", "libc6", "python3.11"} <= running < {deb.name for deb in lock.debs}
        assert len({deb.name for deb in lock.debs}) == len(lock.debs)

    def test_torch_is_of_the_recipes_build_or_said_to_be_missing(self, name: str) -> None:
        stack = recipe.load(name)
        lock = locks.load(stack)
        builds = [wheel.version.partition("+")[2] for wheel in lock.wheels if wheel.name == "torch"]
        if stack.device == "rocm":
            assert builds == [stack.torch.build] or any("torch" in entry.what for entry in lock.unresolved)
        else:
            assert builds == ["cpu" if stack.torch.build == "cpu" else ""]
            assert lock.unresolved == []

    def test_they_name_no_host_of_a_package_registry(self, name: str) -> None:
        text = locks.file_of(name).read_text()
        assert re.findall(r"https?://(?!github\.com/)[^/\"]+", text) == []


def test_the_words_for_the_base_system_are_those_of_the_suite_only() -> None:
    assert debian_packages.base("trixie")[-1] == "apt"
    assert all("trixie(-updates|-security)?$" in word for word in debian_packages.base("trixie")[:-1])

"""Every mistake that a user of ``mlip stack`` is likely to make gets one sentence: what is wrong, and what to do."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlip.cli import stack as command
from mlip.stack import container_runtime, engine, fetch, image, recipe
from mlip.stack import lock as locks
from mlip.stack.artifacts import Source
from tests.local_server import LocalServer, local_server

ARCHIVE = b"LAMMPS"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server() as running:
        running.files["/lammps-1.tar.gz"] = ARCHIVE
        yield running


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts programs on a PATH that has the shell's tools and no engine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "cat", "stat", "true", "unshare"):
        (folder / tool).symlink_to(shutil.which(tool) or "/nowhere")
    monkeypatch.setenv("PATH", str(folder))
    for name in ("MLIP_ENGINE", "MLIP_SOURCES", "CONTAINERS_CONF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(container_runtime, "usable_runtime", lambda: "runc")
    monkeypatch.setattr(container_runtime, "namespaces_missing", lambda: None)
    monkeypatch.setattr(container_runtime, "user_ids_missing", lambda *_: None)
    monkeypatch.setattr(image, "checkout", lambda: tmp_path / "checkout")

    def add(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return add


def write_lock(*sources: Source) -> locks.Lock:
    """A lock of the stack cpu with these files only."""
    made = locks.Lock("cpu", recipe.load("cpu").digest, "2026-11-21", sources=list(sources))
    locks.write(made)
    return made


def sentence(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What ``mlip stack WORDS`` says on the error output, when it fails as it should."""
    with pytest.raises(SystemExit) as end:
        command.main(words.split())
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("mlip stack: ")
    assert said.count("\n") == 1, "more than a sentence"
    return said.removeprefix("mlip stack: ").rstrip()


@pytest.mark.usefixtures("checkout", "programs")
class TestTheMachine:
    def test_a_wrong_hash(self, server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
        write_lock(Source("lammps", "1", "lammps-1.tar.gz", "0" * 64, 1, url=f"{server.url}/lammps-1.tar.gz"))
        found = hashlib.sha256(ARCHIVE).hexdigest()
        change_path_to_have_mmdebstrap()
        assert sentence("fetch cpu", capsys) == (
            f"lammps-1.tar.gz has the sha256 {found}, the lock says {'0' * 64}: it is not used and the cache is as "
            "before. It was changed where it comes from or on the way: fetch again, or bring the right file by "
            "MLIP_SOURCES"
        )

    def test_no_engine(self, capsys: pytest.CaptureFixture[str]) -> None:
        write_lock()
        assert sentence("build cpu --only image", capsys) == (
            "no container engine here (buildah, podman or docker): as root, 'ci/install-engines' installs it on Debian"
        )

    def test_an_engine_that_is_not_known(self, capsys: pytest.CaptureFixture[str]) -> None:
        write_lock()
        assert sentence("build cpu --engine dokcer", capsys) == (
            "no engine is called 'dokcer': buildah, podman, docker"
        )

    def test_no_namespaces_for_users(
        self, programs: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_lock()
        programs("buildah", "exit 0")
        monkeypatch.setattr(container_runtime, "namespaces_missing", lambda: "ordinary users may make no namespaces")
        assert sentence("build cpu", capsys) == (
            "no container engine works here: buildah cannot make containers: ordinary users may make no namespaces"
        )

    def test_no_room_for_what_is_fetched(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        deb = locks.Deb("libc6", "1", "amd64", "trixie", "libc6_1_amd64.deb", "1" * 64, 8_000_000, ("runtime",))
        locks.write(locks.Lock("cpu", recipe.load("cpu").digest, "2026-11-21", debs=[deb]))
        change_path_to_have_mmdebstrap()
        monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 2_000_000))
        assert sentence("fetch cpu", capsys) == (
            f"1 files of 8 MB are missing and {tmp_path}/cache has room for 2 MB: free some, or let MLIP_CACHE name "
            "another folder"
        )

    def test_no_room_for_an_image(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
        with pytest.raises(command.StackError, match=r"the image mlip:cpu takes about 1\.0 GiB in .*, and 0\.0 GiB"):
            engine.need_space(Path("/var/lib"), 1 << 30, "the image mlip:cpu")
        assert not capsys.readouterr().out

    def test_files_that_are_not_fetched_yet(self, capsys: pytest.CaptureFixture[str]) -> None:
        write_lock(Source("lammps", "1", "lammps-1.tar.gz", "0" * 64, 1, url="https://example.org/lammps-1.tar.gz"))
        assert sentence("build cpu", capsys) == "1 files are not in the cache yet: mlip stack fetch cpu"


def change_path_to_have_mmdebstrap() -> None:
    """Give this machine an mmdebstrap, so that none is fetched."""
    folder = Path(shutil.which("sh") or "").parent
    (folder / "mmdebstrap").write_text("#!/bin/sh\n")
    (folder / "mmdebstrap").chmod(0o755)


INSPECT = """case "$*" in
  *".Id"*) echo 0123456789abcdef ;;
  *Labels*) echo '{labels}' ;;
esac"""


@pytest.mark.usefixtures("checkout")
class TestAnImage:
    def test_that_is_not_there_is_neither_packed_nor_saved(
        self, programs: Callable[..., None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_lock()
        programs("podman", "case $1 in image) exit 125 ;; esac")
        wanted = "podman has no image mlip:cpu: mlip stack build cpu --only image"
        assert sentence("build cpu --only sif", capsys) == wanted
        assert sentence("save cpu", capsys) == wanted

    @pytest.mark.parametrize("key", ["recipe", "lock"])
    def test_of_another_recipe_or_lock_is_not_taken_for_the_stacks(
        self, key: str, programs: Callable[..., None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        lock = write_lock()
        wanted = {"stack": "cpu", "recipe": lock.recipe, "lock": lock.digest}
        there = {f"io.mlip.{name}": "f" * 64 if name == key else value for name, value in wanted.items()}
        programs("podman", INSPECT.replace("{labels}", str(there).replace("'", '"')))
        assert sentence("build cpu --only sif", capsys) == (
            f"the image mlip:cpu is of another {key} (ffffffffffff, and {key} {wanted[key][:12]} is asked for): "
            "mlip stack build cpu --only image"
        )

    def test_that_another_process_builds_is_left_to_it(
        self, programs: Callable[..., None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_lock()
        programs("podman", "exit 0")
        with image.one_at_a_time(recipe.load("cpu")):
            assert sentence("build cpu", capsys) == (
                "another process builds cpu now: wait until it has ended, then start this again"
            )


# a file of recipes/, what is in it, what is written instead, the command, the sentence
FILES: dict[str, tuple[str, str, str, str, str]] = {
    "a source without its hash": (
        "lammps.yaml",
        '    lammps:\n      version: "20260330"\n',
        "    lammps:\n",
        "list",
        "'sources.upstream.lammps.version' is missing",
    ),
    "a mistyped key of LAMMPS": (
        "lammps.yaml",
        "  kokkos_styles:",
        "  kokos_styles:",
        "check",
        "unknown key 'lammps.kokos_styles': did you mean lammps.kokkos_styles?",
    ),
    "Debian's LAMMPS without its package": (
        "lammps.yaml",
        "      package: lammps\n",
        "",
        "show cpu",
        "'sources.debian.lammps.package' is missing: LAMMPS without a url is a package of Debian's",
    ),
    "a hash that is none": (
        "lammps.yaml",
        "sha256: cddbc45a",
        "sha256: Cddbc45a",
        "show cpu",
        "but must look like a sha256: 64 digits 0-9a-f",
    ),
    "a number of folders that is none": (
        "lammps.yaml",
        "      strip: 1",
        "      strip: one",
        "show cpu",
        "sources.upstream.lammps.strip is the text 'one', but must be a whole number, 0 or more",
    ),
    "a fact that no stack has": (
        "compatibility.yaml",
        "    if: {gpu_arch: has gfx950}",
        "    if: {gpu_arhc: has gfx950}",
        "check",
        "if.gpu_arhc: no stack has a 'gpu_arhc': did you mean gpu_arch?",
    ),
    "a name in braces that no stack has": (
        "compatibility.yaml",
        "Kokkos {kokkos} does not know gfx950",
        "Kokkos {kokos} does not know gfx950",
        "check",
        "because: no stack has a 'kokos': did you mean kokkos?",
    ),
    "a column that no table has": (
        "compatibility.yaml",
        "mpi: {tested: [4.1.2, 4.1.3]}",
        "mpich: {tested: [4.1.2, 4.1.3]}",
        "check",
        "rows.2.mpich: no stack has a 'mpich': did you mean mpi?",
    ),
    "a condition that cannot be read": (
        "compatibility.yaml",
        'then: {kokkos: ">=5.1.0"}',
        'then: {kokkos: ">= 5.1.0"}',
        "check",
        "then.kokkos is '>= 5.1.0', but must look like '>=5 <6'",
    ),
    "a tag of YAML": (
        "lammps.yaml",
        "  folders: [LICENSE",
        "  folders: !!python/tuple [LICENSE",
        "list",
        "lammps.folders has the tag tag:yaml.org,2002:python/tuple, which means nothing here",
    ),
    "a value with a tag that nobody knows": (
        "stacks/cpu.yaml",
        "device: cpu",
        "device: !device cpu",
        "show cpu",
        "recipes/stacks/cpu.yaml:3: device cannot be read: could not determine a constructor for the tag '!device'",
    ),
    "a day that is not in the calendar": (
        "stacks/rocm-6.4.yaml",
        "date: 2026-08-18",
        "date: 2026-13-45",
        "show rocm-6.4",
        "cannot be read: month must be in 1..12",
    ),
    "a list that contains itself": (
        "stacks/cpu.yaml",
        "device: cpu",
        "device: &a [*a]",
        "show cpu",
        "something in it contains itself, or is nested too deeply",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_mistake_in_a_recipe(case: str, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, old, new, words, wanted = FILES[case]
    path = checkout / "recipes" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    said = sentence(words, capsys)
    assert wanted in said
    assert f"recipes/{file}:" in said


@pytest.mark.parametrize(
    "name, words", [("lammps.yaml", "list"), ("compatibility.yaml", "check"), ("stacks/cpu.yaml", "show cpu")]
)
def test_a_recipe_in_another_encoding(
    name: str, words: str, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkout / "recipes" / name
    path.write_bytes(b"# one\n# K\xf6ln\n" + path.read_bytes())
    assert sentence(words, capsys).endswith(f"recipes/{name}:2: not UTF-8 text: save the file in that encoding")


@pytest.mark.parametrize(
    "name, spoilt", [("engines.yaml", "  packages:\n    - {name: apptainer"), ("published.yaml", "images: {}")]
)
def test_the_other_files_are_checked_too(name: str, spoilt: str, checkout: Path) -> None:
    from mlip.stack import shared_recipes

    read: dict[str, Any] = {"engines.yaml": shared_recipes.engines, "published.yaml": shared_recipes.published}
    assert read[name]()
    text = (checkout / "recipes" / name).read_text()
    assert spoilt in text
    (checkout / "recipes" / name).write_text(
        text.replace(spoilt, spoilt.replace("packages", "pakages").replace("images", "image"))
    )
    with pytest.raises(command.StackError, match=rf"recipes/{name}:\d+: unknown key '(apptainer\.pakages|image)'"):
        read[name]()

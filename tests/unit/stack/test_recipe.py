"""Recipes: what a stack is made of, each version once, and every mistake with its place."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlip.stack import recipe, schema
from mlip.stack.errors import StackError
from tests.unit.stack.recipes import ROOT, change

STACKS = ["cpu", "cuda", "rocm-6.2", "rocm-6.4", "rocm-7.1"]


def pinned(requirements: str) -> dict[str, set[str]]:
    """Versions of requirements/NAME.txt by package; a few have one for each Python."""
    found: dict[str, set[str]] = {}
    text = (ROOT / "requirements" / f"{requirements}.txt").read_text()
    for name, version in re.findall(r"(?m)^([a-z0-9-]+)==([^ ;]+)", text):
        found.setdefault(name, set()).add(version)
    return found


def values(node: object, key: str) -> list[object]:
    """Every value of a key in nested mappings."""
    if not isinstance(node, dict):
        return []
    own = [node[key]] if key in node else []
    return own + [found for value in node.values() for found in values(value, key)]


class TestTheStacks:
    def test_those_that_were_promised_are_there(self) -> None:
        assert set(STACKS) <= set(recipe.names())
        assert recipe.aliases() == {"rocm": "rocm-6.4"}
        assert recipe.load("rocm").name == "rocm-6.4"

    @pytest.mark.parametrize("name", STACKS)
    def test_each_is_for_one_device(self, name: str) -> None:
        stack = recipe.load(name)
        assert stack.device == name.split("-", maxsplit=1)[0]
        assert stack.gpu_arch == {"cpu": (), "cuda": ("sm_90",), "rocm": ("gfx90a",)}[stack.device]
        assert set(stack.kokkos.backends) == {"OPENMP", "SERIAL"} | {"cuda": {"CUDA"}, "rocm": {"HIP"}}.get(
            stack.device, set()
        )

    def test_the_stacks_of_frontier_follow_its_programming_environments(self) -> None:
        rows = []
        for name in ("rocm-6.2", "rocm-6.4", "rocm-7.1"):
            stack = recipe.load(name)
            assert stack.toolkit
            assert stack.site
            row = (stack.toolkit.version, stack.torch.version, stack.mpi.version, stack.site.cpe, stack.site.cray_mpich)
            rows.append(row)
        assert rows == [
            ("6.2.4", "2.7.1", "3.4.3", "24.11", "8.1.31"),
            ("6.4.2", "2.9.1", "4.1.3", "25.09", "9.0.1"),
            ("7.1.1", "2.10.0", "4.1.3", "26.03", "9.1.0"),
        ]

    @pytest.mark.parametrize("name", recipe.names())
    def test_there_is_one_mpi_and_it_is_the_wheel(self, name: str) -> None:
        stack = recipe.load(name)
        assert stack.mpi.package == "mpich"
        packages = {*stack.system.runtime, *stack.system.toolchain}
        assert not [package for package in packages if re.search("mpi(ch|$|-)", package)]
        assert stack.mpi.package in pinned(stack.python.requirements)

    def test_the_cpu_stack_has_the_versions_of_the_framework_s_own_lock(self) -> None:
        stack = recipe.load("cpu")
        assert pinned("image")["torch"] == {stack.torch.version}
        assert pinned("image")["mpich"] == {stack.mpi.version}


class TestVersionsAreWrittenOnce:
    def test_every_version_has_a_source_and_a_date(self) -> None:
        for path in (ROOT / "recipes" / "stacks").glob("*.yaml"):
            for block in values(yaml.safe_load(path.read_text()), "toolkit"):
                assert {"version", "source", "date"} <= set(block), path  # type: ignore[call-overload]
        for name in recipe.names():
            stack = recipe.load(name)
            for part in (stack.torch, stack.mpi, *([stack.toolkit] if stack.toolkit else [])):
                assert part.source
                assert part.date

    def test_versions_of_lammps_and_debian_s_kokkos_are_those_of_their_recipe(self) -> None:
        sources = yaml.safe_load((ROOT / "recipes" / "lammps.yaml").read_text())["sources"]
        stack = recipe.load("cpu")
        assert sources["debian"]["lammps"]["version"].startswith(stack.lammps.version)
        assert sources["debian"]["kokkos"][0]["version"].startswith(stack.kokkos.version)
        assert recipe.load("cuda").lammps.version == sources["upstream"]["lammps"]["version"]

    def test_no_version_occurs_in_two_recipes_unless_it_was_decided_twice(self) -> None:
        decided_twice = {("mpi", "4.1.3"), ("kokkos", "5.0.2")}  # cray-mpich-abi 9; what LAMMPS 20260330 has inside
        seen: dict[tuple[str, str], str] = {}
        for path in sorted((ROOT / "recipes" / "stacks").glob("*.yaml")):
            for part, block in yaml.safe_load(path.read_text()).items():
                versions = {(part, version) for version in values(block, "version") if version is not None}
                assert not (versions - decided_twice) & seen.keys(), f"{path.name} repeats a version of {seen}"
                seen |= dict.fromkeys(versions, path.name)


class TestPackagesOfImages:
    def test_have_the_versions_of_the_project_s_environment(self) -> None:
        ours = pinned("cpu")
        for name, versions in pinned("image").items():
            assert versions <= ours[name], name

    def test_are_neither_tools_for_development_nor_another_lammps(self) -> None:
        assert not pinned("image").keys() & {"lammps", "pytest", "ruff", "mypy", "uv", "sphinx", "cmake"}

    def test_are_all_that_one_of_them_asks_for(self) -> None:
        there = set(pinned("image"))
        asked = []
        for name in there:
            try:
                needs = [Requirement(text) for text in requires(name) or ()]
            except PackageNotFoundError:  # for another Python
                continue
            wanted = {canonicalize_name(r.name) for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})}
            asked += [f"{name} asks for {missing}" for missing in wanted & set(pinned("cpu")) - there]
        assert not asked


class TestTheDigest:
    def test_follows_what_a_stack_contains(self, checkout: Path) -> None:
        before = {name: recipe.load(name).digest for name in STACKS}
        change(checkout / "recipes/stacks/rocm-6.4.yaml", "version: 2.9.1", "version: 2.9.0")
        after = {name: recipe.load(name).digest for name in STACKS}
        assert [name for name in STACKS if before[name] != after[name]] == ["rocm-6.4"]

    def test_follows_the_sources_of_lammps_that_the_stack_uses(self, checkout: Path) -> None:
        before = {name: recipe.load(name).digest for name in STACKS}
        change(checkout / "recipes/lammps.yaml", "patch_30Mar2026", "patch_31Mar2026")
        after = {name: recipe.load(name).digest for name in STACKS}
        assert [name for name in STACKS if before[name] != after[name]] == STACKS[1:]

    def test_does_not_follow_words(self, checkout: Path) -> None:
        before = recipe.load("cuda").digest
        change(checkout / "recipes/stacks/cuda.yaml", "newest 13.0 of", "the newest one of")
        assert recipe.load("cuda").digest == before


# file, what is in it, what is written instead, the whole message
MISTAKES = [
    ("cpu", "device: cpu", "devise: cpu", "recipes/stacks/cpu.yaml:3: unknown key 'devise': did you mean device?"),
    (
        "cpu",
        "device: cpu",
        "device: cpus",
        "recipes/stacks/cpu.yaml:3: device is 'cpus', but must be one of cpu, cuda, rocm",
    ),
    ("cpu", "device: cpu\n", "", "recipes/stacks/cpu.yaml:1: 'device' is missing"),
    ("cpu", "device: cpu\n", "device: cpu\ndevice: cpu\n", "recipes/stacks/cpu.yaml:4: 'device' is written twice"),
    (
        "cpu",
        "  build: cpu",
        "  bild: cpu",
        "recipes/stacks/cpu.yaml:5: unknown key 'torch.bild': did you mean torch.build?",
    ),
    ("cpu", "extends: _base", "extends: _bass", "extends '_bass', but there is no recipes/stacks/_bass.yaml"),
    ("cpu", "extends: _base", "extends: cpu", "these extend each other in a circle: cpu -> cpu"),
    (
        "cpu",
        "sources: debian",
        "sources: debain",
        "lammps.sources is 'debain', but recipes/lammps.yaml has debian, upstream",
    ),
    ("cpu", "sources: debian", "sources: [debian", "recipes/stacks/cpu.yaml:8: not YAML"),
    ("cpu", "[OPENMP, SERIAL]", "OPENMP", "kokkos.backends is the text 'OPENMP', but must be a list: [a, b]"),
    ("cpu", "[OPENMP, SERIAL]", "[OPENMP, OPENMP]", "kokkos.backends has 'OPENMP' twice"),
    ("cpu", "[OPENMP, SERIAL]", "[OPENMPI]", "must be one of CUDA, HIP, OPENMP, SERIAL; did you mean OPENMP?"),
    (
        "rocm-6.4",
        "version: 4.1.3",
        "version: 4.1",
        'mpi.version is the number 4.1, but must be text: put it in quotes, "4.1"',
    ),
    ("rocm-6.4", "  version: 6.4.2\n", "", "'toolkit.version' is missing"),
    ("rocm-6.4", "build: rocm6.4", "build: rocm", "torch.build is 'rocm', but must look like cpu, cu130 or rocm6.4"),
    ("_gpu", "  version: 5.0.2\n", "", "'kokkos.version' is missing: sources.upstream has Kokkos inside LAMMPS"),
    ("_base", "  suite: trixie", "  suite: [trixie]", "recipes/stacks/_base.yaml:6: system.suite is a list"),
]


class TestMistakes:
    @pytest.mark.parametrize("file, old, new, message", MISTAKES, ids=[message[-40:] for *_, message in MISTAKES])
    def test_are_named_with_file_line_and_key(
        self, checkout: Path, file: str, old: str, new: str, message: str
    ) -> None:
        text = (checkout / f"recipes/stacks/{file}.yaml").read_text()
        (checkout / f"recipes/stacks/{file}.yaml").write_text(text.replace(old, new, 1))
        stack = {"_gpu": "cuda", "_base": "cpu"}.get(file, file)
        with pytest.raises(StackError) as caught:
            recipe.load(stack)
        assert message in str(caught.value)
        assert re.match(r"recipes/stacks/\w[\w.-]*\.yaml:\d+: ", str(caught.value))

    def test_an_unknown_stack_gets_the_nearest_name(self) -> None:
        with pytest.raises(StackError, match=r"no such stack: rocm-6\.3; did you mean rocm-6\.[24]\?"):
            recipe.load("rocm-6.3")

    def test_what_others_extend_is_no_stack(self) -> None:
        assert not [name for name in recipe.names() if name.startswith("_")]
        with pytest.raises(StackError, match="no such stack: _base"):
            recipe.load("_base")


class TestExtending:
    def test_mappings_are_merged_and_lists_are_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "low.yaml").write_text("a: {b: one, c: two}\nd: [x, y]\n")
        (tmp_path / "high.yaml").write_text("a: {c: three}\nd: [z]\n")
        document = schema.merged(schema.read(tmp_path / "low.yaml"), schema.read(tmp_path / "high.yaml"))
        assert document.value == {"a": {"b": "one", "c": "three"}, "d": ["z"]}
        assert document.place(("a", "b")).file.name == "low.yaml"
        assert document.place(("a", "c")).file.name == "high.yaml"
        assert document.place(("d", "0")).file.name == "high.yaml"

    def test_null_takes_away_what_is_below(self, tmp_path: Path) -> None:
        (tmp_path / "low.yaml").write_text("a: {b: one, c: two}\n")
        (tmp_path / "high.yaml").write_text("a: {b: null}\n")
        document = schema.merged(schema.read(tmp_path / "low.yaml"), schema.read(tmp_path / "high.yaml"))
        assert document.value == {"a": {"c": "two"}}

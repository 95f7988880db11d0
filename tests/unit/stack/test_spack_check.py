"""What `make spack-check` finds without a Spack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlip.cli.main import main
from mlip.stack import spack_check, spack_package
from mlip.stack.errors import StackError
from tests.unit.stack.recipes import change
from tests.unit.stack.spack_checkout import spack_checkout

PACKAGES = "spack/repo/spack_repo/mlip/packages"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return spack_checkout(tmp_path / "checkout")


def package(folder: Path, text: str, name: str = "py_thing") -> spack_package.Package:
    """A package.py with that content."""
    (folder / name).mkdir()
    (folder / name / "package.py").write_text(text)
    return spack_package.read(folder / name / "package.py")


class TestTheProject:
    def test_is_as_it_should_be(self) -> None:
        assert spack_check.problems() == []

    def test_says_so_in_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["stack", "spack", "--check"])
        assert capsys.readouterr().out == "spack/ agrees with recipes/\n"

    def test_has_a_lock_for_each_device(self) -> None:
        found = {path.parent.name for path in Path("spack/envs").glob("*/spack.lock")}
        assert {"cpu"} <= found

    def test_names_no_machine_in_its_locks(self) -> None:
        for file in Path("spack/envs").glob("*/spack.lock"):
            specs = json.loads(file.read_text())["concrete_specs"].values()
            places = {spec["external"]["path"] for spec in specs if "external" in spec}
            assert {place.split("/")[1] for place in places if place} <= {"usr", "opt"}, file


class TestEnvironments:
    @pytest.mark.parametrize("file", ["spack.yaml", "machine.yaml"])
    def test_edited_by_hand(self, checkout: Path, file: str) -> None:
        path = checkout / "spack/envs/cuda" / file
        path.write_text(path.read_text() + "# mine\n")
        assert spack_check.problems(checkout) == [
            f"spack/envs/cuda/{file} is not what the recipe says: mlip stack render cuda"
        ]

    def test_of_a_recipe_that_has_moved_on(self, checkout: Path) -> None:
        change(checkout / "recipes/stacks/rocm-6.4.yaml", "version: 6.4.2", "version: 6.4.3")
        found = spack_check.problems(checkout)
        assert found == ["spack/envs/rocm-6.4/machine.yaml is not what the recipe says: mlip stack render rocm-6.4"]

    def test_with_a_key_that_spack_does_not_have(self, checkout: Path) -> None:
        path = checkout / "spack/envs/cpu/spack.yaml"
        path.write_text(path.read_text().replace("  view:\n", "  viewz:\n"))
        assert any(
            "unknown key 'spack.viewz': did you mean spack.view?" in one for one in spack_check.problems(checkout)
        )

    def test_of_a_stack_that_is_gone(self, checkout: Path) -> None:
        (checkout / "spack/envs/old").mkdir()
        assert spack_check.problems(checkout) == [
            "spack/envs/old: there is no recipes/stacks/old.yaml; remove the folder"
        ]

    def test_locked_for_another_specification(self, checkout: Path) -> None:
        path = checkout / "spack/envs/cpu/spack.lock"
        path.write_text(path.read_text().replace("~curl~", "+curl~"))
        assert [one for one in spack_check.problems(checkout) if "is of another spack.yaml: make spack-lock" in one]


class TestVersions:
    def test_of_lammps_are_those_of_recipes(self, checkout: Path) -> None:
        change(checkout / "recipes/lammps.yaml", "cddbc45a047416bd", "cddbc45a047416be")
        assert any("lammps_mlip/package.py: has LAMMPS" in one for one in spack_check.problems(checkout))

    def test_of_python_packages_are_those_of_requirements(self, checkout: Path) -> None:
        change(checkout / PACKAGES / "py_e3nn/package.py", '    version("0.6.0"', '    version("0.6.1"')
        assert spack_check.problems(checkout) == [
            "packages/py_e3nn/package.py: has e3nn 0.6.1, requirements/cpu.txt has 0.6.0"
        ]

    def test_of_our_own_requirements_are_those_of_pyproject(self, checkout: Path) -> None:
        change(checkout / "pyproject.toml", '    "vesin",\n]', "]")
        assert spack_check.problems(checkout) == [
            "packages/py_mlip/package.py: py-vesin is in package.py and not in pyproject.toml"
        ]


class TestPackages:
    def test_their_classes_are_named_after_folders(self, tmp_path: Path) -> None:
        with pytest.raises(StackError, match=r"no class PyThing, which Spack looks for in py_thing/"):
            package(tmp_path, "class Thing: ...")

    def test_python_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(StackError, match=r"package\.py:1: "):
            package(tmp_path, "class PyThing(:")

    def test_what_users_would_miss(self, tmp_path: Path) -> None:
        text = 'class PyThing:\n    version("1.0")\n    def test_it(self):\n        pass\n'
        assert [one.partition(" ")[2] for one in package(tmp_path, text).problems] == [
            "PyThing has no docstring, which `spack info` shows",
            "version 1.0 has no sha256",
            "test_it has no docstring, which `spack test` shows",
        ]

    def test_sources_that_nobody_downloads_need_no_hash(self, tmp_path: Path) -> None:
        found = package(tmp_path, 'class PyThing:\n    """A thing."""\n    has_code = False\n    version("1.0")\n')
        assert (found.versions, found.problems) == ({"1.0": ""}, [])

    def test_names_stand_for_their_texts(self, tmp_path: Path) -> None:
        text = f'V = "2"\nH = "{"a" * 64}"\nclass PyThing:\n    """A thing."""\n    version(V, sha256=H)\n'
        assert package(tmp_path, text).versions == {"2": "a" * 64}

    def test_only_the_package_api_is_imported(self, tmp_path: Path) -> None:
        text = (
            'from spack.util.web import x\nclass PyThing:\n    """A."""\n    version("1", sha256="' + "0" * 64 + '")\n'
        )
        assert "imports spack.util.web" in package(tmp_path, text).problems[0]

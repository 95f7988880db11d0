"""Spack's environments say what recipes say, in Spack's words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mlip.stack import recipe, render, spack_environment, spack_recipe
from mlip.stack.errors import StackError
from tests.unit.stack.recipes import change
from tests.unit.stack.spack_checkout import spack_checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return spack_checkout(tmp_path / "checkout")


def externals(name: str) -> dict[str, str]:
    """The prefixes of what a stack's machine has, by spec."""
    packages = spack_environment.machine(recipe.load(name))["packages"]
    return {one["spec"]: one["prefix"] for entry in packages.values() for one in entry.get("externals", ())}


def required(name: str, package: str) -> str:
    """What a stack requires of a package."""
    content = spack_environment.environment(recipe.load(name))
    return str(content["spack"]["packages"][package]["require"][0])


class TestWhatIsBuilt:
    def test_lammps_has_the_packages_and_options_of_its_recipe(self) -> None:
        words = spack_environment.root_spec(recipe.load("cpu")).split()
        assert words[0] == "lammps-mlip@20260704"
        assert {"+kokkos", "+ml-iap", "+ml-snap", "+python", "+plugin", "+mpi", "+lib", "fft=kiss"} <= set(words)
        assert {"~cuda", "~rocm", "~manybody", "~rigid", "~curl"} <= set(words)

    def test_it_is_compiled_for_the_gpu_that_kokkos_has(self) -> None:
        assert "+cuda cuda_arch=90 ~rocm" in spack_environment.root_spec(recipe.load("cuda"))
        assert "fft_kokkos=hipfft" in spack_environment.root_spec(recipe.load("rocm-6.4"))
        assert "~cuda ~rocm" in spack_environment.root_spec(recipe.load("cuda-host"))

    def test_an_option_without_a_counterpart_is_an_error(self, checkout: Path) -> None:
        change(checkout / "recipes/lammps.yaml", "    WITH_CURL: false", "    WITH_SWIG: false")
        with pytest.raises(StackError, match=r"nothing for lammps\.options\.WITH_SWIG"):
            spack_environment.root_spec(recipe.load("cpu", checkout), checkout)


class TestRulesOfConcretizing:
    """Without each of these Spack takes something else, silently (docs/spack.md)."""

    def test_kokkos_is_the_recipes(self) -> None:
        assert required("cuda", "kokkos").startswith("@5.0.2 +shared +openmp +serial +wrapper +cuda cuda_arch=90")
        assert required("cuda", "kokkos-nvcc-wrapper") == "@5.0.2"
        assert required("rocm-7.1", "kokkos").endswith("+rocm amdgpu_target=gfx90a cxxstd=20")

    def test_torch_is_the_recipes_and_never_built(self) -> None:
        assert required("cpu", "py-torch") == "@2.13.0 ~cuda ~rocm"
        assert required("rocm-6.4", "py-torch") == "@2.9.1 ~cuda +rocm amdgpu_target=gfx90a"
        for name in recipe.names():
            assert spack_environment.machine(recipe.load(name))["packages"]["py-torch"]["buildable"] is False

    def test_the_mpi_of_a_site_knows_gpus(self) -> None:
        assert required("rocm-6.4", "mpi") == "cray-mpich@9.0.1 ~cuda +rocm amdgpu_target=gfx90a"
        assert externals("rocm-6.4")[required("rocm-6.4", "mpi")] == "/opt/cray/pe/mpich/9.0.1/ofi/gnu/12.3"

    def test_it_may_run_elsewhere_than_it_is_concretized(self) -> None:
        for name in recipe.names():
            content = spack_environment.environment(recipe.load(name))["spack"]
            assert content["concretizer"]["targets"] == {"host_compatible": False}
            assert content["concretizer"]["reuse"] is False
        assert required("rocm-6.4", "all") == "target=zen3"


class TestWhatIsThere:
    def test_versions_are_those_of_the_stacks_lock(self) -> None:
        versions = spack_recipe.locked_versions(recipe.load("cpu"))
        found = externals("cpu")
        assert found[f"cmake@{versions['cmake']}"] == "/usr"
        assert found[f"python@{versions['python3.11']}"] == "/opt/mlip"
        assert found[f"py-numpy@{versions['numpy']}"] == "/opt/mlip"
        assert found["mpich@5.0.2"] == "/opt/mlip"

    def test_debians_kokkos_is_one_of_them(self) -> None:
        assert any(spec.startswith("kokkos@5.2.2 +shared") for spec in externals("cpu"))
        assert not any(spec.startswith("kokkos@") for spec in externals("cpu-upstream"))

    def test_so_is_the_gpus_toolkit(self) -> None:
        assert externals("cuda")["cuda@13.0"] == "/opt/mlip/lib/python3.11/site-packages/nvidia/cu13"
        assert externals("rocm-7.1")["hipfft@7.1.1"] == "/opt/rocm-7.1.1"
        assert externals("rocm-7.1")["llvm-amdgpu@7.1.1"] == "/opt/rocm-7.1.1/lib/llvm"

    @pytest.mark.parametrize(
        "debian, project",
        [
            ("3.31.6-2", "3.31.6"),
            ("3.0.11+dfsg-2+b1", "3.0.11"),
            ("1:2.41-12", "2.41"),
            ("20260704+dfsg-2", "20260704"),
        ],
    )
    def test_debians_versions_lose_what_is_debians(self, debian: str, project: str) -> None:
        assert spack_recipe.upstream(debian) == project

    def test_a_site_that_is_not_known_is_an_error(self, checkout: Path) -> None:
        change(checkout / "recipes/stacks/rocm-6.4.yaml", "  name: frontier", "  name: elsewhere")
        with pytest.raises(
            StackError, match=r"no site 'elsewhere', which the stack rocm-6\.4 names; there is frontier"
        ):
            spack_environment.environment(recipe.load("rocm-6.4", checkout), checkout)


class TestFiles:
    def test_mlip_stack_render_writes_them_with_the_dockerfiles(self) -> None:
        names = {path.name for path in render.rendered(recipe.load("cpu"))}
        assert names == {"Dockerfile", "mlip.def", "spack.yaml", "machine.yaml", "kokkos_styles.json"}

    def test_a_stack_without_a_lock_has_none_yet(self, checkout: Path) -> None:
        (checkout / "recipes/locks/cpu.json").unlink()
        assert spack_environment.rendered(recipe.load("cpu", checkout), checkout) == {}

    def test_they_are_yaml_in_spacks_form(self) -> None:
        texts = list(spack_environment.rendered(recipe.load("cuda")).values())
        assert list(yaml.safe_load(texts[0])) == ["spack"]
        assert list(yaml.safe_load(texts[1])) == ["packages"]

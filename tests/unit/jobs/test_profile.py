"""Profiles of sites: every mistake is answered with file, line and key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlip.jobs import profile
from mlip.jobs.job import Recipes, Wishes, make
from mlip.stack.errors import StackError
from tests.unit.stack.recipes import change, copied_checkout

Edit = Callable[[str, str], None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the project's recipes."""
    return copied_checkout(tmp_path / "checkout")


def site_file(root: Path, name: str = "frontier") -> Path:
    """The profile of a site."""
    return root / "recipes/sites" / name / "site.yaml"


def line_of(file: Path, text: str) -> int:
    """The line that begins with a text."""
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if line.strip().startswith(text))


@pytest.mark.parametrize("name", profile.names())
def test_the_projects_own_are_valid(name: str) -> None:
    assert profile.read(name).value["node"]["ranks"] >= 1


@pytest.mark.parametrize(
    "old, new, at, message",
    [
        ("gpu_arch: gfx90a", "gpu_archs: gfx90a", "gpu_archs", "unknown key 'gpu_archs': did you mean gpu_arch?"),
        ("device: rocm", "device: rocmm", "device", "must be one of cpu, cuda, rocm; did you mean rocm?"),
        ("backend: gloo\nsources", "sources", "extends", "'backend' is missing"),
        ("  ranks: 8", "  ranks: 4", "ranks: 4", "node.ranks is 4, but must be node.gpus, 8: one rank for each GPU"),
        ("  ranks: 8", '  ranks: "8"', "ranks:", "but must be a whole number"),
        ('value: "131072"', "value: 131072", "value: 131072", "is the number 131072, but must be text"),
        ("value: kdreg2", "value: $(id)", "value: $(id)", "but must look like text without quotes and $(...)"),
        ("engine: apptainer", "engine: docker", "engine", "must be one of apptainer, singularity, podman-hpc"),
        ("- path: /opt/cray\n", "- path: opt/cray\n", "- path: opt/cray", "must look like /opt/vendor or $HOME/data"),
        ("source: tutorial\n  compile", "source: tutorials\n  compile", "source: tutorials", "did you mean tutorial?"),
        ("extends: _base", "extends: _bases", "extends", "there is no recipes/sites/_bases/site.yaml"),
        ("rocm/{toolkit}", "rocm/{rocm}", "- name: rocm/{rocm}", "needs {rocm}, which neither the stack rocm-6.4 nor"),
    ],
)  # fmt: skip
def test_mistakes_name_their_place(root: Path, old: str, new: str, at: str, message: str) -> None:
    file = site_file(root)
    change(file, old, new)
    with pytest.raises(StackError) as error:
        make(Wishes("frontier"), Recipes(root))
    assert message in str(error.value)
    line = 1 if "missing" in message else line_of(file, at)
    assert f"sites/frontier/site.yaml:{line}: " in str(error.value)


def test_a_site_extends_another(root: Path) -> None:
    (root / "recipes/sites/mine").mkdir()
    site_file(root, "mine").write_text(
        "extends: generic-slurm\nsummary: ours\nnode: {gpus: 4, ranks: 4}\ndevice: cuda\nstacks: [cuda]\n"
        "environment:\n  OMP_NUM_THREADS: {value: '4', reason: we have many cores, source: here}\n"
    )
    job = make(Wishes("mine"), Recipes(root))
    assert job.accelerator == "gpu"
    assert {one.name: one.value for one in job.of("variable")}["OMP_NUM_THREADS"] == "4"


def test_sites_that_extend_each_other_in_a_circle_are_refused(root: Path) -> None:
    change(site_file(root, "_base"), "sources:\n  slurm:", "extends: lumi\nsources:\n  slurm:")
    with pytest.raises(StackError, match="circle: lumi -> _base -> lumi"):
        profile.read("lumi", root)


@pytest.mark.parametrize(
    "wishes, message",
    [
        (Wishes("fronteer"), "no such site: fronteer; did you mean frontier?"),
        (Wishes("frontier", stack="cuda"), "stack cuda is for cuda, frontier has rocm; stacks for it: rocm-6.4"),
        (Wishes("frontier", stack="rocm-9"), "no such stack: rocm-9"),
        (Wishes("frontier", nodes=0), "0 nodes: a job has one or more"),
        (Wishes("generic-slurm", backend="nccl"), "backend nccl is for GPUs, and generic-slurm has none"),
        (Wishes("lumi", ranks_per_node=4), "4 ranks a node: lumi has 8 GPUs"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(wishes: Wishes, message: str) -> None:
    with pytest.raises(StackError) as error:
        make(wishes)
    assert message in str(error.value)


def test_gpus_of_another_architecture_are_warned_of() -> None:
    assert "stack cuda is for sm_90, the GPUs of perlmutter are sm_80" in make(Wishes("perlmutter")).warnings[0]
    assert make(Wishes("frontier")).warnings == ()

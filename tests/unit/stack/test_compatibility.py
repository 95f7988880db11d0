"""Which versions fit together: the committed stacks do, and what does not is refused with its reason."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlip.stack import compatibility, recipe
from mlip.stack.compatibility import IMPOSSIBLE, UNTESTED, Finding, below, fits, spoken
from mlip.stack.errors import StackError
from mlip.stack.recipe import Stack
from tests.unit.stack.recipes import ROOT, change

DATA = compatibility.read()


def with_parts(stack: Stack, **changes: Any) -> Stack:
    """A stack with some values changed: torch__version="2.6.0" changes stack.torch.version."""
    for name, value in changes.items():
        part, _, attribute = name.partition("__")
        changed = replace(getattr(stack, part), **{attribute: value}) if attribute else value
        stack = replace(stack, **{part: changed})
    return stack


def findings(name: str, **changes: Any) -> list[Finding]:
    """What is said of a committed stack with some values changed."""
    return compatibility.check(with_parts(recipe.load(name), **changes))


class TestConditions:
    @pytest.mark.parametrize(
        "value, condition",
        [
            ("6.4.2", "6.4"),
            ("6.4.2", ">=6.2 <7"),
            ("13.0", ">=13"),
            ("4.7.01", ">=4.7.01"),
            ("4.7.1", "4.7.1"),
            ("20260704", ">=20260330"),
            ("upstream", "upstream"),
            ("cu126", "in cpu, cu126"),
            ("sm_90, sm_100", "has sm_"),
            ("2.10.0", ">2.9.1"),
        ],
    )
    def test_hold(self, value: str, condition: str) -> None:
        assert fits(value, condition)

    @pytest.mark.parametrize(
        "value, condition",
        [("6.40", "6.4"), ("2.13.0", "<2.7"), ("13.0", "<13"), ("cu12", "cu126"), ("none", "CUDA"), ("6.2", "6.2.4")],
    )
    def test_do_not_hold(self, value: str, condition: str) -> None:
        assert not fits(value, condition)

    def test_versions_are_compared_by_number(self) -> None:
        assert below("2.9.1", "2.10.0")
        assert not below("13", "13.0")
        assert not below("13.0", "13")

    def test_ranges_are_said_in_words(self) -> None:
        assert spoken([">=2.9.0 <=2.9.1", "2.10.0", ">=9 <9.1"]) == "2.9.0 to 2.9.1, 2.10.0, 9 to below 9.1"


class TestTheTable:
    def test_every_rule_says_where_and_when_it_was_read(self) -> None:
        for entry in (*DATA["facts"], *DATA["tables"], *DATA["rules"]):
            assert entry["source"]
            assert re.fullmatch(r"20\d\d-\d\d-\d\d", entry["date"])

    def test_rules_have_names_of_their_own(self) -> None:
        names = [entry["id"] for entry in (*DATA["tables"], *DATA["rules"])]
        assert len(names) == len(set(names))

    def test_rules_speak_of_facts_that_exist(self) -> None:
        known: set[str] = set()
        for name in recipe.names():
            known |= compatibility.facts_of(recipe.load(name), DATA)[0].keys()
        for rule in DATA["rules"]:
            texts = [
                rule["because"],
                rule.get("instead", ""),
                *rule.get("if", {}).values(),
                *rule.get("then", {}).values(),
            ]
            used = {*rule.get("if", {}), *rule.get("then", {}), *re.findall(r"\{(\w+)\}", " ".join(texts))}
            assert used <= known, rule["id"]

    def test_the_torch_that_is_tested_is_the_one_of_the_requirements(self) -> None:
        rule = next(rule for rule in DATA["rules"] if rule["id"] == "mlip-torch")
        assert f"\ntorch=={rule['then']['torch']}." in (ROOT / "requirements" / "image.in").read_text()

    def test_a_mistake_in_it_is_named_with_its_line(self, checkout: Path) -> None:
        change(checkout / "recipes/compatibility.yaml", "id: kokkos-gfx950\n    if:", "id: kokkos-gfx950\n    iff:")
        with pytest.raises(StackError, match=r"recipes/compatibility\.yaml:\d+: unknown key 'rules\.\d+\.iff'"):
            compatibility.read()


class TestCommittedStacks:
    @pytest.mark.parametrize("name", recipe.names())
    def test_can_be_built(self, name: str) -> None:
        assert not [str(finding) for finding in findings(name) if finding.level == IMPOSSIBLE]

    def test_the_cpu_stack_is_tested(self) -> None:
        assert not findings("cpu")

    def test_what_nobody_has_run_is_said(self) -> None:
        rules = {name: {finding.rule for finding in findings(name)} for name in recipe.names()}
        assert rules["cuda"] == {"mlip-lammps"}
        assert rules["rocm-6.2"] == {"cray-mpich-rocm", "mlip-torch", "mlip-lammps"}
        assert rules["rocm-6.4"] == {"mlip-torch", "mlip-lammps"}
        assert rules["rocm-7.1"] == {"cray-mpich-rocm", "mpich-abi", "mlip-torch", "mlip-lammps"}

    def test_the_default_for_amd_is_the_newest_whose_pairs_are_official(self) -> None:
        pairs = {"cray-mpich-rocm", "mpich-abi"}
        official = [
            name for name in recipe.names() if name.startswith("rocm") and not pairs & {f.rule for f in findings(name)}
        ]
        assert recipe.aliases()["rocm"] == max(official)


# stack, what is changed, the rule that objects, its level, words of the reason and of what would fit
CASES: list[tuple[str, dict[str, Any], str, str, str, str]] = [
    (
        "rocm-6.4",
        {"torch__build": "rocm7.1"},
        "torch-builds",
        IMPOSSIBLE,
        "torch 2.9.1 does not go with ROCm 7.1",
        "with torch 2.9.1 ROCm 6.3, 6.4; with ROCm 7.1 torch 2.10.0, 2.11.0, 2.12.0 to 2.12.1, 2.13.0",
    ),
    ("cuda", {"torch__build": "cu128"}, "torch-builds", IMPOSSIBLE, "torch 2.13.0 does not go with CUDA 12.8", "12.6"),
    (
        "cpu",
        {"torch__version": "2.6.0", "python__version": "3.14"},
        "torch-builds",
        IMPOSSIBLE,
        "Python 3.14",
        "3.9 to 3.13",
    ),
    ("cpu", {"torch__version": "2.15.0"}, "torch-builds", UNTESTED, "knows nothing of torch 2.15.0", ""),
    ("cpu", {"torch__version": "2.6.0"}, "torch-cxx11-abi", IMPOSSIBLE, "C++ ABI of before 2011", "2.7.0 or newer"),
    ("cpu", {"python__version": "3.12"}, "python-package", IMPOSSIBLE, "Python 3.11, 3.13, not 3.12", "system.older"),
    (
        "cpu",
        {"system__suite": "bookworm"},
        "kokkos-debian-glibc",
        IMPOSSIBLE,
        "needs glibc 2.38, bookworm has 2.36",
        "trixie",
    ),
    ("cpu", {"system__suite": "noble"}, "suite", UNTESTED, "knows nothing of suite noble", ""),
    ("cpu", {"torch__build": "cu130"}, "device-cpu", IMPOSSIBLE, "a stack for cpu needs torch.build cpu", ""),
    ("cpu", {"mpi__package": "openmpi"}, "mpi-soname", IMPOSSIBLE, "must be the package mpich", ""),
    ("cuda", {"toolkit": None}, "device-cuda", IMPOSSIBLE, "a stack for cuda needs", ""),
    ("cuda", {"toolkit__version": "12.6"}, "toolkit-cuda-major", IMPOSSIBLE, "two CUDA runtimes", "CUDA 13.0"),
    ("cuda", {"toolkit__version": "13.2"}, "toolkit-cuda-minor", UNTESTED, "torch was built with 13.0", ""),
    (
        "cuda",
        {"toolkit__version": "12.6", "torch__build": "cu126"},
        "cuda-glibc",
        IMPOSSIBLE,
        "headers of CUDA 12.6 contradict those of glibc 2.41",
        "CUDA 13.0 or newer",
    ),
    (
        "cuda",
        {"torch__version": "2.7.1", "torch__build": "cu130"},
        "torch-nvtx",
        IMPOSSIBLE,
        "nvToolsExt",
        "torch 2.8.0",
    ),
    (
        "cuda",
        {"toolkit__version": "12.1"},
        "kokkos-5-cuda",
        IMPOSSIBLE,
        "needs CUDA 12.2 or newer, not 12.1",
        "Kokkos 4",
    ),
    ("cuda", {"kokkos__version": "4.6.02"}, "kokkos-cuda-13", IMPOSSIBLE, "does not compile with CUDA 13", "4.7.01"),
    (
        "cuda",
        {"kokkos__version": "4.6.02"},
        "lammps-kokkos",
        IMPOSSIBLE,
        "asks for Kokkos 5.0.2 or newer, not 4.6.02",
        "",
    ),
    ("cuda", {"lammps__sources": "debian"}, "kokkos-debian-gpu", IMPOSSIBLE, "Debian's Kokkos has no GPU", "upstream"),
    (
        "cuda",
        {"gpu_arch": ("sm_70",)},
        "cuda-13-architectures",
        IMPOSSIBLE,
        "no longer compiles for sm_70",
        "CUDA 12.6",
    ),
    ("cuda", {"gpu_arch": ("sm_90", "sm_100")}, "one-architecture", UNTESTED, "the first of sm_90, sm_100", ""),
    ("cuda", {"lammps__version": "20250204"}, "lammps-mliap", IMPOSSIBLE, "ML-IAP with Python and Kokkos", "22Jul2025"),
    ("cuda", {"lammps__version": "20250722"}, "lammps-cxx17-kokkos-5", UNTESTED, "is C++17 and Kokkos 5.0.2", ""),
    (
        "rocm-6.2",
        {"toolkit__version": "6.1.3"},
        "kokkos-5-rocm",
        IMPOSSIBLE,
        "needs ROCm 6.2 or newer, not 6.1.3",
        "6.2.4",
    ),
    (
        "rocm-6.4",
        {"toolkit__version": "7.1.1"},
        "toolkit-rocm",
        IMPOSSIBLE,
        "two HIP runtimes",
        "a toolkit of ROCm 6.4",
    ),
    (
        "rocm-6.4",
        {"toolkit__version": "7.1.1"},
        "cray-mpich-rocm",
        IMPOSSIBLE,
        "cray-mpich 9.0.1 does not go with ROCm 7.1.1",
        "with cray-mpich 9.0.1 ROCm 6.4; with ROCm 7.1.1 cray-mpich 9.1.0",
    ),
    (
        "rocm-6.4",
        {"site__cpe": "24.11"},
        "cray-mpich-rocm",
        IMPOSSIBLE,
        "does not go with CPE 24.11",
        "cray-mpich 8.1.31",
    ),
    ("rocm-6.4", {"mpi__version": "5.0.2"}, "mpich-abi", IMPOSSIBLE, "does not go with mpich 5.0.2", "4.1.2, 4.1.3"),
    ("rocm-6.4", {"gpu_arch": ("gfx950",)}, "kokkos-gfx950", IMPOSSIBLE, "does not know gfx950", "5.1.0"),
    ("rocm-6.4", {"system__suite": "bookworm"}, "toolkit-image-glibc", IMPOSSIBLE, "need glibc 2.39", "trixie"),
]


class TestWhatDoesNotFit:
    @pytest.mark.parametrize("name, changes, rule, level, reason, instead", CASES, ids=[case[2] for case in CASES])
    def test_is_found_with_reason_source_and_remedy(
        self, name: str, changes: dict[str, Any], rule: str, level: str, reason: str, instead: str
    ) -> None:
        found = [finding for finding in findings(name, **changes) if finding.rule == rule and reason in finding.reason]
        assert len(found) == 1
        assert found[0].level == level
        assert instead in found[0].instead
        assert found[0].source in str(found[0])

    def test_is_refused_in_one_sentence(self) -> None:
        stack = with_parts(recipe.load("rocm-6.4"), mpi__version="5.0.2")
        with pytest.raises(StackError) as caught:
            compatibility.require(stack)
        assert str(caught.value) == (
            "rocm-6.4 cannot be built: cray-mpich 9.0.1 does not go with mpich 5.0.2 (the MPICH whose place "
            "cray-mpich-abi takes at run time); instead: with cray-mpich 9.0.1 mpich 4.1.2, 4.1.3 "
            "[olcf_containers_examples 032b962, 2026-03-24]"
        )

    def test_the_impossible_comes_first(self) -> None:
        levels = [finding.level for finding in findings("rocm-6.2", mpi__version="5.0.2")]
        assert levels == sorted(levels)
        assert levels[0] == IMPOSSIBLE

    def test_what_is_only_untested_passes_with_its_warnings(self) -> None:
        warnings = compatibility.require(recipe.load("rocm-6.2"))
        assert {finding.level for finding in warnings} == {UNTESTED}

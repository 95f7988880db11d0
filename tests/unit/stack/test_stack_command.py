"""``mlip stack``: what it prints, how it ends, and one sentence for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlip.cli import stack as command
from mlip.stack import lock as locks
from mlip.stack import recipe, render
from tests.unit.stack.recipes import ROOT, change


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    status: int
    out: str
    err: str


Run = Callable[..., Answer]


@pytest.fixture
def run(checkout: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """``mlip stack WORDS`` in a copy of the recipes."""
    assert (checkout / "recipes").is_dir()

    def call(*words: str) -> Answer:
        try:
            command.main(words)
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return Answer(status, captured.out, captured.err)

    return call


def write_lock(name: str, **changes: Any) -> None:
    """A lock without files for a stack."""
    stack = recipe.load(name)
    locks.write(locks.Lock(**{"stack": name, "recipe": stack.digest, "date": "2026-11-21", **changes}))


class TestList:
    def test_shows_a_line_for_each_stack(self, run: Run) -> None:
        lines = run("list").out.splitlines()
        assert lines[0].split()[:4] == ["stack", "device", "arch", "torch"]
        assert [line.split()[0] for line in lines[1:-1]] == recipe.names()
        assert lines[-1] == "rocm is rocm-6.4"

    def test_says_what_has_a_lock(self, run: Run, checkout: Path) -> None:
        (checkout / "recipes/locks").mkdir()
        write_lock("cpu")
        write_lock("cuda", recipe="0" * 64)
        states = {line.split()[0]: line for line in run("list").out.splitlines()}
        assert " 2026-11-21 " in states["cpu"]
        assert " old " in states["cuda"]
        assert " none " in states["rocm-7.1"]

    def test_as_json(self, run: Run) -> None:
        found = json.loads(run("list", "--json").out)
        assert set(found["stacks"]) == set(recipe.names())
        assert found["aliases"] == {"rocm": "rocm-6.4"}


class TestShow:
    def test_every_version_with_its_source_and_date(self, run: Run) -> None:
        answer = run("show", "rocm")
        assert answer.status == 0
        assert answer.out.startswith("rocm-6.4: AMD GPUs")
        torch = next(line for line in answer.out.splitlines() if line.startswith("torch "))
        assert torch.split() == [
            "torch",
            "2.9.1+rocm6.4",
            "pytorch/test-infra,",
            "generate_binary_build_matrix.py",
            "2026-08-18",
        ]
        assert "rocm/dev-ubuntu-24.04:6.4.2-complete" in answer.out

    def test_as_json(self, run: Run) -> None:
        found = json.loads(run("show", "cpu", "--json").out)
        assert found["name"] == "cpu"
        assert found["digest"] == recipe.load("cpu").digest
        assert found["torch"]["version"] == recipe.load("cpu").torch.version


class TestCheck:
    def test_passes_with_warnings(self, run: Run) -> None:
        answer = run("check")
        assert answer.status == 0
        assert "cpu" in answer.out.splitlines()[1]
        assert answer.out.splitlines()[1].split() == ["cpu", "ok"]
        assert "mlip is tested with torch 2.13, not with 2.9.1" in answer.out

    def test_fails_on_the_impossible_and_says_what_would_fit(self, run: Run, checkout: Path) -> None:
        change(checkout / "recipes/stacks/rocm-6.4.yaml", "build: rocm6.4", "build: rocm7.1")
        answer = run("check", "rocm-6.4")
        assert answer.status == 1
        assert "impossible" in answer.out
        assert "with torch 2.9.1 ROCm 6.3, 6.4; with ROCm 7.1 torch 2.10.0" in answer.out

    def test_as_json(self, run: Run) -> None:
        found = json.loads(run("check", "cpu", "cuda", "--json").out)
        assert found["cpu"] == []
        assert found["cuda"][0]["level"] == "untested"


class TestRender:
    def test_writes_and_then_agrees(self, run: Run, checkout: Path) -> None:
        (checkout / "containers/Dockerfile.j2").write_text("# {{ header }}\nFROM torch:{{ stack.torch.version }}\n")
        (checkout / "containers/mlip.def.j2").write_text("# {{ header }}\n")
        assert run("render", "cpu").out == "wrote containers/cpu/Dockerfile\nwrote containers/cpu/mlip.def\n"
        assert run("render", "--check", "cpu") == Answer(0, "", "")

    def test_check_shows_the_difference_and_fails(self, run: Run, checkout: Path) -> None:
        (checkout / "containers/Dockerfile.j2").write_text("# {{ header }}\nFROM torch:{{ stack.torch.version }}\n")
        (checkout / "containers/mlip.def.j2").write_text("# {{ header }}\n")
        render.write(recipe.load("rocm-6.4"))
        change(checkout / "recipes/stacks/rocm-6.4.yaml", "version: 2.9.1", "version: 2.9.0")
        answer = run("render", "--check", "rocm-6.4")
        assert answer.status == 1
        assert "-FROM torch:2.9.1\n+FROM torch:2.9.0\n" in answer.out
        assert answer.err == ("mlip stack: rendered files differ from their recipes (above): run mlip stack render\n")


class TestDiff:
    def test_is_a_short_table(self, run: Run) -> None:
        answer = run("diff", "rocm-6.4", "rocm-7.1")
        assert answer.status == 0
        assert answer.out.splitlines()[0].split() == ["what", "rocm-6.4", "rocm-7.1"]
        assert ["recipe", "torch.version", "2.9.1", "2.10.0"] in [line.split() for line in answer.out.splitlines()]
        assert answer.err.startswith("locks are not compared: the stack rocm-6.4 has no lock")

    def test_of_a_stack_with_itself(self, run: Run) -> None:
        assert run("diff", "rocm", "rocm-6.4").out == "rocm-6.4 and rocm-6.4 do not differ\n"

    def test_as_json(self, run: Run) -> None:
        found = json.loads(run("diff", "rocm-6.4", "rocm-7.1", "--json").out)
        assert {"kind": "recipe", "name": "site.cpe", "first": "25.09", "second": "26.03"} in found


# what is wrong: how the copied checkout is spoilt, the words after `mlip stack`, the whole sentence
RECIPES = "recipes/stacks"
BAD_INPUT = {
    "unknown stack": (None, ["show", "cpuu"], "no such stack: cpuu; did you mean cpu?"),
    "impossible pair": (
        ("rocm-6.4", "version: 4.1.3", "version: 3.4.3"),
        ["render", "rocm-6.4"],
        (
            "rocm-6.4 cannot be built: cray-mpich 9.0.1 does not go with mpich 3.4.3 (the MPICH whose place "
            "cray-mpich-abi takes at run time); instead: with cray-mpich 9.0.1 mpich 4.1.2, 4.1.3; with mpich 3.4.3 "
            "cray-mpich 8.1 to below 9 [olcf_containers_examples 032b962, 2026-03-24]"
        ),
    ),
    "wrong key": (
        ("rocm-6.4", "  build: rocm6.4", "  biuld: rocm6.4"),
        ["check"],
        f"{RECIPES}/rocm-6.4.yaml:5: unknown key 'torch.biuld': did you mean torch.build?",
    ),
    "wrong type": (
        ("rocm-6.4", 'cpe: "25.09"', "cpe: 25.09"),
        ["lock", "rocm-6.4"],
        f'{RECIPES}/rocm-6.4.yaml:21: site.cpe is the number 25.09, but must be text: put it in quotes, "25.09"',
    ),
    "missing version": (
        ("rocm-6.4", "  version: 6.4.2\n", ""),
        ["build", "rocm-6.4"],
        f"{RECIPES}/rocm-6.4.yaml:12: 'toolkit.version' is missing",
    ),
}


class TestBadInput:
    @pytest.mark.parametrize("case", BAD_INPUT)
    def test_gets_exactly_one_sentence(self, case: str, run: Run, checkout: Path) -> None:
        spoilt, words, sentence = BAD_INPUT[case]
        if spoilt:
            change(checkout / RECIPES / f"{spoilt[0]}.yaml", *spoilt[1:])
        assert run(*words) == Answer(1, "", f"mlip stack: {sentence}\n")

    def test_a_lock_of_another_recipe(self, run: Run, checkout: Path) -> None:
        (checkout / "recipes/locks").mkdir()
        write_lock("rocm-6.4")
        change(checkout / RECIPES / "rocm-6.4.yaml", "version: 2.9.1", "version: 2.9.0")
        sentence = "the recipe of rocm-6.4 has changed since its lock was made: run mlip stack lock rocm-6.4"
        assert run("fetch", "rocm-6.4") == Answer(1, "", f"mlip stack: {sentence}\n")

    def test_a_folder_that_is_not_there(self, run: Run, checkout: Path) -> None:
        (checkout / "recipes/locks").mkdir()
        write_lock("cpu")
        target = checkout / "nowhere" / "cpu.json"
        assert run("sbom", "cpu", "--output", str(target)).err == f"mlip stack: {target}: No such file or directory\n"

    @pytest.mark.parametrize("words", [[], ["nothing"], ["show"], ["build", "cpu", "--only", "all"], ["diff", "cpu"]])
    def test_wrong_usage_ends_with_2(self, words: list[str], run: Run) -> None:
        answer = run(*words)
        assert answer.status == 2
        assert answer.err.startswith("usage: mlip stack")


class TestHelp:
    def test_has_examples(self, run: Run) -> None:
        answer = run("--help")
        assert answer.status == 0
        assert "mlip stack diff rocm-6.2 rocm-7.1" in answer.out

    @pytest.mark.parametrize("name", sorted(command.ACTIONS))
    def test_of_each_command_has_an_example_that_parses(self, name: str, run: Run) -> None:
        words = run(name, "--help").out.splitlines()[-1].split()
        assert words[:4] == ["example:", "mlip", "stack", name]
        assert command.parser().parse_args(words[3:]).command == name


class TestTheGuide:
    TEXT = (ROOT / "docs/stacks.md").read_text()

    def test_names_every_stack_and_every_command(self) -> None:
        for name in [*recipe.names(), *command.ACTIONS]:
            assert f"`{name}" in self.TEXT, name

    def test_shows_what_check_prints(self, run: Run) -> None:
        printed = [f"    {line}" for line in run("check", "rocm-6.4").out.split("\n\n")[0].splitlines()]
        assert "\n".join(printed) in self.TEXT

    def test_its_example_of_a_stack_is_one(self, run: Run, checkout: Path) -> None:
        example = self.TEXT.split("```yaml\n")[1].split("```")[0]
        path = checkout / RECIPES / "cuda-a100.yaml"
        path.write_text(example)
        assert run("check", "cuda-a100").status == 0
        change(path, "gpu_arch:", "gpu_archs:")
        answer = run("check", "cuda-a100")
        assert answer.err.strip() in self.TEXT


class TestItself:
    def test_needs_only_yaml_and_jinja(self) -> None:
        code = (
            "import sys; from mlip.cli import stack; stack.main(['list']); stack.main(['check', 'cpu']);"
            "from mlip.stack import recipe, render; render.rendered(recipe.load('cpu'));"
            "own = {'mlip', 'yaml', '_yaml', 'jinja2', 'markupsafe', '__main__', 'cython_runtime'};"
            "own |= set(sys.stdlib_module_names);"
            "found = {name.split('.')[0] for name in sys.modules if not name.startswith('_cython')} - own;"
            "sys.exit(str(found) if found else 0)"
        )
        # -S with the packages' folder added: no .pth file of the environment loads anything
        setup = f"import sys; sys.path[:0] = {[str(ROOT), *[p for p in sys.path if 'site-packages' in p]]};"
        done = subprocess.run([sys.executable, "-S", "-c", setup + code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_is_a_command_of_mlip(self) -> None:
        from mlip.cli.main import available

        assert available()["stack"][0] == "mlip.cli.stack"


class TestOptions:
    @pytest.mark.parametrize("words", ["test --sif cpu", "test cpu --sif"])
    def test_the_name_may_stand_behind_a_switch(self, words: str) -> None:
        options = command.parser().parse_args(words.split())
        assert (options.name, options.sif) == ("cpu", True)

    def test_an_apptainer_file_may_lie_elsewhere(self) -> None:
        options = command.parser().parse_args(["test", "cpu", "--sif-file", "other.sif"])
        assert (options.sif, options.sif_file) == (False, Path("other.sif"))

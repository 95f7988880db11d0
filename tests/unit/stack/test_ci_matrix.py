"""ci/matrix.yaml: its mistakes are told in a sentence, and its pipelines are what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlip.stack.ci_matrix import jobs
from mlip.stack.ci_matrix.matrix import Matrix, load
from mlip.stack.ci_matrix.pipelines import FILES, drift, render, write
from mlip.stack.errors import StackError

from .ci_checkout import Checkout, job

ROOT = Path(__file__).parents[3]
NAMES = {
    *("lint", "unit", "conformance", "lammps", "image-cpu", "sif-cpu", "reproduce"),
    *("cuda-compile", "hip-compile", "spack"),
}


@pytest.fixture(scope="module")
def project() -> Matrix:
    """The project's own matrix."""
    return load(ROOT)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


class TestTheProjectsMatrix:
    def test_it_is_valid_and_has_every_job(self, project: Matrix) -> None:
        assert set(project.jobs) >= NAMES

    def test_each_job_is_one_script_of_that_name(self, project: Matrix) -> None:
        for each in project.jobs.values():
            assert each.script == f"ci/{each.name}"
            assert (ROOT / each.script).read_text().startswith("#!/usr/bin/env bash\n"), each.script

    def test_what_the_scripts_call_is_in_the_makefile(self, project: Matrix) -> None:
        for each in project.jobs.values():
            for targets in re.findall(r"(?m)^(?:exec )?make ([a-z -]+)$", (ROOT / each.script).read_text()):
                done = subprocess.run(
                    ["make", "-n", *targets.split()], cwd=ROOT, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{each.script}: {done.stderr}"

    def test_keys_of_caches_are_files_of_the_project(self, project: Matrix) -> None:
        missing = {path for paths in project.caches.values() for path in paths if not (ROOT / path).is_file()}
        assert not missing

    def test_spack_says_that_it_was_not_run(self) -> None:
        done = subprocess.run(
            [ROOT / "ci" / "spack"], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}
        )
        assert done.returncode == jobs.NOT_RUN
        assert done.stdout.startswith("not run: SPACK_ROOT is not set")


class TestMistakes:
    def test_a_job_stands_behind_those_it_needs(self, checkout: Checkout) -> None:
        matrix = checkout.matrix({"c": job(needs=["a"]), "b": job(), "a": job()})
        assert list(matrix.jobs) == ["b", "a", "c"]

    @pytest.mark.parametrize(
        "entries, sentence",
        [
            ({"unit": job(minuts=3)}, r"jobs\.unit: unknown key 'minuts' \(did you mean 'minutes'\?\)"),
            ({"unit": job(minutes=None)}, r"jobs\.unit: the key 'minutes' is missing"),
            ({"unit": job(minutes="ten")}, r"jobs\.unit\.minutes: must be a whole number of minutes, not 'ten'"),
            ({"unit": job(minutes=0)}, r"must be a whole number of minutes, not 0"),
            ({"unit": job(runs="sometimes")}, r"'sometimes' is none of: always, by hand, when GPU, when SPACK_ROOT"),
            ({"unit": job(runs="by hand")}, r"a job by hand does not run in \.ci/run"),
            ({"unit": job(in_ci_run="yes, please")}, r"'yes, please' is neither true nor false"),
            ({"unit": job(stacks=["cuta"])}, r"no recipe in recipes/stacks 'cuta' \(did you mean 'cuda'\?\)"),
            ({"unit": job(stacks=[])}, r"jobs\.unit\.stacks: a job needs a stack"),
            ({"unit": job(stacks="cpu")}, r"jobs\.unit\.stacks: must be a list, not 'cpu'"),
            ({"unit": job(stage="chek")}, r"no stage 'chek' \(did you mean 'check'\?\)"),
            ({"unit": job(caches=["blob"])}, r"no cache 'blob' \(did you mean 'blobs'\?\)"),
            ({"unit": job(caches=["blobs"] * 5)}, r"GitLab takes 4 caches a job, not 5"),
            ({"unit": job(script="ci/untested")}, r"jobs\.unit: its script ci/untested is missing"),
            ({"unit": job(needs=["unitt"])}, r"there is no job 'unitt' \(did you mean 'unit'\?\)"),
            (
                {"a": job(needs=["b"]), "b": job(needs=["a"])},
                r"jobs: these need each other in a circle: (a, b, a|b, a, b)$",
            ),
            ({"a": job(needs=["b"]), "b": job(stage="images")}, r"b belongs to the later stage 'images'"),
            ({"a": job(needs=["b"]), "b": job(in_ci_run=None)}, r"this job has in_ci_run, b has not"),
            (
                {"a": job(needs=["b"]), "b": job(runs="by hand", in_ci_run=None)},
                r"b runs by hand, so this job would never",
            ),
            ({"unit": job(minutes=11)}, r"the budgets of the jobs with in_ci_run add up to 11, not 10"),
            ({}, r"jobs: must be a mapping with at least one entry"),
        ],
    )
    def test_each_is_one_sentence(self, checkout: Checkout, entries: dict[str, dict[str, Any]], sentence: str) -> None:
        with pytest.raises(StackError, match=sentence) as caught:
            checkout.matrix(entries)
        assert str(caught.value).startswith("ci/matrix.yaml: ")
        assert "\n" not in str(caught.value)

    def test_an_action_without_a_commit(self, checkout: Checkout) -> None:
        with pytest.raises(StackError, match=r"actions\.cache\.commit: 'v5' is not the 40 digits of a commit"):
            checkout.matrix({"a": job()}, actions={"cache": {"version": "v5", "commit": "v5"}})

    def test_a_cache_with_more_files_than_gitlab_takes(self, checkout: Checkout) -> None:
        with pytest.raises(StackError, match="one or two files as a key, not 3"):
            checkout.matrix({"a": job()}, caches={"blobs": ["a", "b", "c"]})

    def test_a_script_that_is_not_executable(self, checkout: Checkout) -> None:
        (checkout.root / "ci" / "unit").touch(mode=0o644)
        with pytest.raises(StackError, match=r"ci/unit is not executable: chmod \+x ci/unit"):
            checkout.matrix({"unit": job()})

    def test_no_yaml(self, checkout: Checkout) -> None:
        (checkout.root / "ci" / "matrix.yaml").write_text("jobs: [")
        with pytest.raises(StackError, match=r"ci/matrix\.yaml is no YAML: .*line 1") as caught:
            load(checkout.root)
        assert "\n" not in str(caught.value)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(StackError, match=r"there is no ci/matrix\.yaml"):
            load(tmp_path)


class TestPipelines:
    def test_the_committed_files_are_what_the_matrix_says(self, project: Matrix) -> None:
        found = drift(project, ROOT)
        assert not found, "\n".join([*found, "write them anew: python -m mlip.stack.ci_matrix render"])

    def test_drift_names_the_first_line(self, project: Matrix, tmp_path: Path) -> None:
        (tmp_path / "ci").mkdir()
        (tmp_path / "ci" / "templates").symlink_to(ROOT / "ci" / "templates")
        assert write(project, tmp_path) == list(FILES)
        assert drift(project, tmp_path) == []
        assert write(project, tmp_path) == []
        path = tmp_path / ".gitlab-ci.yml"
        path.write_text(re.sub(r"timeout: \d+ minutes", "timeout: 2 hours", path.read_text(), count=1))
        (tmp_path / ".github/workflows/ci.yml").unlink()
        missing, changed = drift(project, tmp_path)
        assert missing == ".github/workflows/ci.yml is missing"
        assert re.fullmatch(
            r"\.gitlab-ci\.yml:\d+ is 'timeout: 2 hours', the matrix says 'timeout: \d+ minutes'", changed
        )

    def test_a_changed_budget_changes_one_line_of_each(self, project: Matrix, tmp_path: Path) -> None:
        text = (ROOT / "ci" / "matrix.yaml").read_text()
        before = render(project, ROOT)
        for folder in ("ci", "recipes"):
            (tmp_path / folder).mkdir()
        for path in (*(ROOT / "ci").iterdir(), ROOT / "recipes" / "stacks"):
            (tmp_path / path.relative_to(ROOT)).symlink_to(path)
        (tmp_path / "ci" / "matrix.yaml").unlink()
        (tmp_path / "ci" / "matrix.yaml").write_text(text.replace("minutes: 60\n", "minutes: 61\n", 1))
        after = render(load(tmp_path), tmp_path)
        for path in FILES:
            pairs = zip(before[path].splitlines(), after[path].splitlines(), strict=True)
            assert [new.strip() for old, new in pairs if old != new] in (
                ["timeout-minutes: 91"],
                ["timeout: 91 minutes"],
            )

    def test_github_runs_every_job_as_it_runs_by_hand(self, project: Matrix) -> None:
        workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
        assert workflow["permissions"] == {"contents": "read"}
        assert list(workflow["jobs"]) == list(project.jobs)
        for each in project.jobs.values():
            entry = workflow["jobs"][each.name]
            assert tuple(entry.get("needs", [])) == each.needs
            assert tuple(entry["strategy"]["matrix"]["stack"]) == each.stacks
            commands = [step["run"] for step in entry["steps"] if step.get("name") == each.name]
            assert commands == [f"make ci JOB={each.name} STACK=${{{{ matrix.stack }}}}"]
            restored = [step["with"]["path"] for step in entry["steps"] if "key" in step.get("with", {})]
            assert restored == [f".cache/{kind}" for kind in each.caches]
            condition = entry.get("if", "")
            assert ("workflow_dispatch" in condition) == each.by_hand
            assert ("vars." in condition) == bool(each.resource)
            assert ("pull_request" in condition) == bool(each.resource), "strangers' code keeps off our own machines"
        choices = workflow["on"]["workflow_dispatch"]["inputs"]["job"]["options"]
        assert choices == ["none", *(each.name for each in project.jobs.values() if each.by_hand)]

    def test_github_takes_actions_by_commit_only(self) -> None:
        text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
        used = re.findall(r"(?m)uses: (.*)$", text)
        assert used
        for name in used:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v[\d.]+", name), name

    def test_gitlab_runs_every_job_as_it_runs_by_hand(self, project: Matrix) -> None:
        pipeline = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
        others = {"workflow", "stages", "variables", "default"}
        assert [name for name in pipeline if name not in others] == list(project.jobs)
        assert tuple(pipeline["stages"]) == project.stages
        for each in project.jobs.values():
            entry = pipeline[each.name]
            assert entry["stage"] == each.stage
            assert tuple(entry["needs"]) == each.needs
            assert entry["parallel"] == {"matrix": [{"MLIP_STACK": list(each.stacks)}]}
            assert entry["script"] == [f'make ci JOB={each.name} STACK="$MLIP_STACK"']
            assert [cache["paths"] for cache in entry.get("cache", [])] == [[f".cache/{kind}/"] for kind in each.caches]
            (rule,) = entry["rules"]
            assert (rule.get("when") == "manual") == each.by_hand
            assert ("if" in rule) == bool(each.resource)

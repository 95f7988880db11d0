"""The rendered files: the project's are what its profiles say, scripts are sound, and wishes appear in them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlip.jobs import explain, profile, render
from mlip.jobs.job import Recipes, Wishes, make
from mlip.stack.render import difference

ROOT = Path(__file__).parents[3]
SHELLCHECK = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")


def test_the_projects_files_are_what_its_profiles_say() -> None:
    """The golden files of every site, runtime and kind, and the pages of the guide."""
    files = render.shipped() | explain.pages()
    assert not difference(files, ROOT), "`mlip job shipped` writes them anew; look at the difference"
    there = {path for path in profile.folder().glob("[!_]*/*/*") if path.is_file()}
    assert there == set(render.shipped()), "a file that no profile renders"


def test_scripts_are_sound() -> None:
    if SHELLCHECK is None:
        pytest.skip("there is no shellcheck")
    scripts = [path for path in render.shipped() if path.suffix in (".sbatch", ".sh")]
    for path in scripts:
        done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    done = subprocess.run([SHELLCHECK, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("backend", profile.BACKENDS)
@pytest.mark.parametrize("site", [name for name in profile.names() if profile.read(name).value["node"]["gpus"]])
def test_scripts_of_other_wishes_are_sound(site: str, backend: str, tmp_path: Path) -> None:
    if SHELLCHECK is None:
        pytest.skip("there is no shellcheck")
    for runtime in profile.RUNTIMES:
        _, files = render.rendered(
            Wishes(site, runtime=runtime, backend=backend, nodes=4, time="1-00:00:00", account="abc", partition="other")
        )
        paths = render.write({name: text for name, text in files.items() if name != "mlip.lua"}, tmp_path)
        done = subprocess.run([SHELLCHECK, *paths], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_wishes_appear_in_the_script() -> None:
    wishes = Wishes("perlmutter", nodes=4, time="12:00:00", account="m1234", partition="special", backend="gloo")
    text = render.rendered(wishes)[1]["train.sbatch"]
    lines = [line.split(" # ")[0] for line in text.splitlines() if line.startswith("#SBATCH")]
    assert {
        "#SBATCH --nodes=4",
        "#SBATCH --time=12:00:00",
        "#SBATCH --account=m1234",
        "#SBATCH --partition=special",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --signal=B:USR1@300",
    } <= set(lines)
    assert "process_group_backend: gloo" in text
    assert "NCCL_" not in text


def test_versions_of_modules_are_those_of_the_stack() -> None:
    text = render.rendered(Wishes("frontier", stack="rocm-7.1", runtime="spack"))[1]["train.sbatch"]
    assert "module load cpe/26.03" in text
    assert "module load rocm/7.1.1" in text


def test_every_line_that_sets_something_has_reason_and_source() -> None:
    recipes = Recipes()
    for name in profile.names():
        for kind in profile.KINDS:
            job = make(Wishes(name, kind=kind), recipes)
            for what, reason, source in explain.rows(job):
                assert len(reason) > 10, what
                assert source in job.profile["sources"], what


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1", '"1"'),
        ("$HOME/cache", '(os.getenv("HOME") or "") .. "/cache"'),
        ("$MLIP_LOCAL/tmp", 'mlip_local .. "/tmp"'),
        ("a:${B}:c", '"a:" .. (os.getenv("B") or "") .. ":c"'),
        ("", '""'),
    ],
)
def test_variables_of_the_shell_become_lua(text: str, expected: str) -> None:
    assert render.lua(text) == expected


def test_files_are_written_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    render.write({"a": "1\n", "b": "2\n"}, tmp_path / "new")
    render.write({"a": "3\n"}, tmp_path / "new")
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == {"a": "3\n", "b": "2\n"}

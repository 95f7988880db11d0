"""The tutorials' programs and inputs run as they are written, with a small model and few steps."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ase.io import read

from mlip.data.emt import write_emt_dataset
from mlip.integrations import lammps_plugin
from tests.compiled_models import compiled
from tests.docs.pages import DOCS, blocks_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the tutorials, with data and models of other weights in it."""
    monkeypatch.chdir(tmp_path)
    write_emt_dataset("demo-data", num_train=3, num_val=1, num_test=3, seed=1)
    shutil.copy(compiled("allegro", "float64", "torchscript", "ase"), "demo-ase.nequip.pth")
    shutil.copy(compiled("allegro", "float64", "torchscript", "pair_allegro"), "demo.nequip.pth")
    return tmp_path


def code(page: str, language: str) -> str:
    """All blocks of a language on a page, one after the other."""
    return "".join(block.text for block in blocks_of(DOCS / page) if block.language == language)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", ["tutorials/first-model.md", "how-to/evaluate.md"])
def test_python_runs(page: str) -> None:
    done = subprocess.run([sys.executable, "-c", code(page, "python")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"energy .* eV|meV/atom", done.stdout)


def test_slabs_are_labelled(folder: Path) -> None:
    few = re.sub(r"range\(\d+\)", "range(2)", code("tutorials/fine-tuning.md", "python"))
    done = subprocess.run([sys.executable, "-c", few], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    frames = read(folder / "slabs-train.xyz", index=":")
    assert len(frames) == 2 + 3
    assert frames[0].get_forces().shape == (16, 3)


@pytest.mark.skipif(not Path(lammps_plugin.directory()).is_dir(), reason="no plugin: make plugin")
def test_the_metal_runs_in_lammps(folder: Path) -> None:
    text = code("tutorials/metal-in-lammps.md", "lammps").replace("demo.nequip.pt2", "demo.nequip.pth")
    short = re.sub(r"(?m)^run .*", "run 20", text).replace("0 4 0 4 0 4", "0 2 0 2 0 2").replace("10 20 200", "5 2 10")
    (folder / "metal.in").write_text(short)
    command = [str(Path(sys.executable).parent / "lmp"), "-in", "metal.in", "-var", "T", "300.0", "-log", "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "lattice-300.0.txt").is_file()

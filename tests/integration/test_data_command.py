"""The commands `mlip data convert` and `mlip data check`, as a user sees them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase.io import write

from mlip.cli import main as command
from mlip.data.lmdb_file import LMDBFrames
from mlip.data.read_ase import to_ase
from mlip.data.write_extxyz import write_extxyz_frames
from tests.unit.data.some_frames import crystal, equal, molecule


def run(*arguments: object) -> int:
    """The exit status of ``mlip`` with these arguments."""
    try:
        command.main([str(a) for a in arguments])
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return int(end.code or 0)
    return 0


def test_help_is_instant_and_lists_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "data" in capsys.readouterr().out
    assert run() == 2
    assert run("dta") == 2
    assert "did you mean data?" in capsys.readouterr().err
    code = "import sys; from mlip.cli import main, data; data.parser(); sys.exit('torch' in sys.modules)"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert time.perf_counter() - start < 2.0
    assert run("data", "--help") == 0


def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [crystal(i) for i in range(3)]
    write_extxyz_frames(tmp_path / "a.xyz", frames)
    assert run("data", "convert", tmp_path / "a.xyz", tmp_path / "a.lmdb") == 0
    assert "a.lmdb: 3 frames" in capsys.readouterr().out
    assert run("data", "convert", tmp_path / "a.lmdb", tmp_path / "b.xyz") == 0
    assert (tmp_path / "b.xyz").read_text() == (tmp_path / "a.xyz").read_text()
    assert run("data", "convert", tmp_path / "a.lmdb", tmp_path / "b.xyz") == 1
    assert "there already; --force replaces it" in capsys.readouterr().err
    assert run("data", "convert", tmp_path / "a.lmdb", tmp_path / "b.xyz", "--force", "--exclude", "stress") == 0
    assert "stress" not in (tmp_path / "b.xyz").read_text()


def test_names_are_mapped_and_any_file_of_ase_is_read(tmp_path: Path) -> None:
    atoms = to_ase(molecule(0))
    atoms.info["dft_energy"] = -7.5
    write(tmp_path / "a.traj", [atoms])
    assert (
        run("data", "convert", tmp_path / "a.traj", tmp_path / "a", "--to", "lmdb", "--key", "dft_energy=total_energy")
        == 0
    )
    frame = LMDBFrames(tmp_path / "a")[0]
    assert frame.labels["total_energy"].item() == -7.5
    assert not equal(frame, molecule(0))


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "no such data file"),
        ("2\n\nCu 0 0 0\n", "frame 0: cannot read it whole"),
        ("1\nenergy=1\nCu 0 0 0\n1\nProperties=species:S:1:pos:R:3\nCu a 0 0\n", "a.xyz, frame 1: ASE cannot read it"),
    ],
)
def test_an_error_is_one_sentence_and_keeps_what_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "a.xyz").write_text(content)
    (tmp_path / "b.lmdb").write_text("precious")
    assert run("data", "convert", tmp_path / "a.xyz", tmp_path / "b.lmdb", "--force") == 1
    error = capsys.readouterr().err
    assert error.startswith("mlip data convert: ")
    assert message in error
    assert (tmp_path / "b.lmdb").read_text() == "precious"
    assert run("data", "convert", "a", "b", "--key", "nonsense") == 1
    assert "--key takes NAME=FIELD" in capsys.readouterr().err


def test_check_ends_with_1_when_something_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_extxyz_frames(tmp_path / "good.xyz", [molecule(i) for i in range(2)])
    write_extxyz_frames(tmp_path / "bad.xyz", [molecule(5), molecule(5)])
    quiet = ("--min-distance", "0.01")
    assert run("data", "check", tmp_path / "good.xyz", *quiet) == 0
    assert "Nothing wrong was found" in capsys.readouterr().out
    assert run("data", "check", tmp_path / "good.xyz", tmp_path / "bad.xyz", *quiet) == 1
    assert "1 frame (1) the same as an earlier one" in capsys.readouterr().out
    write_extxyz_frames(tmp_path / "test.xyz", [molecule(7), molecule(1)])
    assert run("data", "check", tmp_path / "good.xyz", tmp_path / "test.xyz", *quiet) == 1
    assert "1 frame (1) also in" in " ".join(capsys.readouterr().out.split())

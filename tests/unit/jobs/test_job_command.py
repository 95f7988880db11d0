"""``mlip job``: what it prints, how it ends, and one sentence for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlip.cli import job as command
from mlip.jobs import profile


def run(*words: str) -> int:
    """``mlip job WORDS``, and its exit status."""
    try:
        command.main(words)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_list_has_a_line_for_each_site(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == profile.names()


def test_render_writes_and_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("render", "--site", "frontier", "--nodes", "4", "--kind", "train", "--output", str(tmp_path)) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"train.sbatch", "env.sh", "mlip.lua"}
    assert "#SBATCH --nodes=4\n" in (tmp_path / "train.sbatch").read_text()
    shown = capsys.readouterr().out
    assert "train on frontier, container, stack rocm-6.4" in shown
    row = next(line for line in shown.splitlines() if line.startswith("GLOO_SOCKET_IFNAME=hsn0"))
    assert "Slingshot" in row
    assert row.endswith("tutorial")
    assert "tutorial: Running Nequip/Allegro on Frontier" in shown
    assert "not checked on frontier: Nothing of it has run on Frontier." in shown


def test_render_writes_all_kinds_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("render", "--site", "generic-slurm", "--quiet", "--output", str(tmp_path)) == 0
    kinds = {"train.sbatch", "md.sbatch", "md.in", "compile.sbatch", "env.sh", "mlip.lua"}
    assert {path.name for path in tmp_path.iterdir()} == kinds
    assert "reason" not in capsys.readouterr().out


def test_explain_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("explain", "--site", "lumi", "--kind", "md") == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words, message",
    [
        (["render", "--site", "lumy"], "mlip job: no such site: lumy; did you mean lumi?"),
        (["explain", "--site", "frontier", "--stack", "cpu"], "mlip job: stack cpu is for cpu, frontier has rocm"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 1
    assert capsys.readouterr().err.startswith(message)


def test_an_output_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run("render", "--site", "lumi", "--kind", "md", "--output", str(tmp_path / "file")) == 1
    assert f"mlip job: {tmp_path / 'file'}" in capsys.readouterr().err


def test_a_warning_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", "--site", "perlmutter", "--kind", "md") == 0
    assert "warning: stack cuda is for sm_90" in capsys.readouterr().err

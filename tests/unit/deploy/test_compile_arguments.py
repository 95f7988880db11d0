"""The arguments of nequip-compile as releases of the NequIP framework have them."""

from __future__ import annotations

import pytest

from mlip.cli import compile as command

REST = ["--mode", "aotinductor", "--device", "cpu", "--target", "ase"]
IN, OUT = "nowhere.ckpt", "model.nequip.pt2"


@pytest.mark.parametrize(
    "paths",
    [
        [IN, OUT],
        ["--input-path", IN, "--output-path", OUT],
        ["--output-path", OUT, IN],
        ["--input-path", IN, OUT],
    ],
)
def test_input_and_output_by_place_or_by_name(paths: list[str]) -> None:
    with pytest.raises(SystemExit, match=f"nequip-compile: no such checkpoint: {IN}"):
        command.main([*paths, *REST])


@pytest.mark.parametrize(
    "paths, sentence",
    [
        ([IN], "the output is missing: nequip-compile MODEL OUTPUT --mode"),
        ([], "the input is missing"),
        (["--input-path", IN, "--output-path", OUT, "other"], "other: MODEL and OUTPUT were given already"),
    ],
)
def test_a_path_too_few_or_too_many(paths: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main([*paths, *REST])
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


def test_what_tracing_needs_there_is_taken_and_not_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="no such checkpoint"):
        command.main([IN, OUT, *REST, "--data-path", "example.pt", "--num-frames", "static", "--num-nodes", "2,inf"])
    notes = capsys.readouterr().err
    for option in ("data-path", "num-frames", "num-nodes"):
        assert f"note: --{option} is not needed here, the file takes any size" in notes
    assert "num-edges" not in notes

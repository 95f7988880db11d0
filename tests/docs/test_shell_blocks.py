"""Shell in the documentation: commands exist and take the arguments that are shown."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from docs.generated_pages import parsers
from mlip.cli import train
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.shell import commands, simple_commands, without_variables

SHELL = blocks("sh", "bash")
ARGPARSE = parsers()
OPTIONS_OF_TRAIN = {"--check", "--debug", "--help", "-h", "--hydra-help", "--cfg", "job", "-m", "--multirun"}


@pytest.fixture(scope="module")
def make_targets() -> set[str]:
    """The targets that make knows, patterns filled in."""
    done = subprocess.run(["make", "-pRrq"], cwd=ROOT, capture_output=True, text=True, check=False)
    return set(re.findall(r"(?m)^([A-Za-z][\w.-]*):", done.stdout))


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_it_is_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block}: {done.stderr}"


def test_programs_of_the_project_take_these_arguments() -> None:
    wrong = []
    for block in SHELL:
        for program, *words in commands(block.text, {"mlip", *(name for name in ARGPARSE if " " not in name)}):
            problem = problem_with(program, [without_variables(word) for word in words])
            if problem:
                wrong.append(f"{block}: {program} {' '.join(words)}: {problem}")
    assert not wrong, "\n".join(wrong)


def problem_with(program: str, words: list[str]) -> str:
    """What the real parser of a command says about its arguments; "" for nothing."""
    if program == "mlip":
        if not words or words[0].startswith("-"):
            return ""
        program, words = f"mlip {words[0]}", words[1:]
    if program == "mlip train":
        return ""  # with nequip-train, below
    if program not in ARGPARSE:
        return "no such command"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            ARGPARSE[program].parse_args(words)
    except SystemExit as stopped:
        if stopped.code:
            return said.getvalue().strip().splitlines()[-1]
    return ""


def test_trainings_name_a_config_and_entries_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls: dict[tuple[str, ...], Block] = {}
    for block in SHELL:
        for program, *given in commands(block.text, {"nequip-train", "mlip"}):
            if program == "mlip" and given[:1] != ["train"]:
                continue
            words = given[1:] if program == "mlip" else given
            calls.setdefault(tuple(without_variables(word) for word in words if "[@]" not in word), block)
    wrong = [f"{block}: {' '.join(words)}: {said}" for words, block in calls.items() if (said := refusal(list(words)))]
    assert not wrong, "\n".join(wrong)


def refusal(words: list[str]) -> str:
    """What ``nequip-train --check`` says where the config comes with mlip; else only about the form of overrides."""
    name = words[words.index("-cn") + 1] if "-cn" in words[:-1] else ""
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    if name in train.shipped_configs() and "-cp" not in words:
        if "--hydra-help" in words or "--cfg" in words:
            return ""
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                train.main([*(word for word in words if word != "--check"), "--check"])
        except SystemExit as stopped:
            return said.getvalue() if stopped.code else ""
        return ""
    OverridesParser.create().parse_overrides(overrides)
    rest = [word for word in words if word not in overrides and word not in OPTIONS_OF_TRAIN]
    named = {"-cn", "-cp", "--config-name", "--config-path"}
    options = [word for word in rest if word.startswith("-") and word not in named]
    return f"unknown options {options}" if options else ""


def test_make_has_these_tasks(make_targets: set[str]) -> None:
    missing = [
        f"{block}: make {word}"
        for block in SHELL
        for _, *words in commands(block.text, {"make"})
        for word in words
        if not word.startswith("-") and "=" not in word and word.lower() == word and word not in make_targets
    ]
    assert not missing, "\n".join(missing)


def test_scripts_of_the_repository_are_there() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    missing = [
        f"{block}: {words[0]}"
        for block in SHELL
        for words in simple_commands(block.text)
        if "/" in words[0] and words[0].split("/")[0] in folders - {"build"} and not (ROOT / words[0]).is_file()
    ]
    assert not missing, "\n".join(missing)

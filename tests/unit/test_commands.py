"""``mlip``: quick to say what there is, and completed by the shell."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys

import pytest

from mlip.cli import check, completion, data, doctor, main, train

SECONDS = 0.3  # of a processor that `mlip --help` may take, Python's own start included


def seconds_of_children() -> float:
    """Processor time of finished processes: unlike the clock's it does not depend on what else runs here."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_quick_and_loads_nothing_large() -> None:
    code = (
        "import sys; sys.argv = ['mlip', '--help']\n"
        "import mlip.cli.main\n"
        "try: mlip.cli.main.main()\n"
        "except SystemExit: sys.exit(bool({'torch', 'numpy', 'ase', 'rich', 'hydra'} & set(sys.modules)))"
    )
    times = []
    for _ in range(5):
        start = seconds_of_children()
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        times.append(seconds_of_children() - start)
    assert min(times) < SECONDS
    assert "exit status: 0 done" in done.stdout
    for command in ("train", "compile", "relax", "md", "check", "data", "doctor", "completion"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize(
    "words, module, passed",
    [
        (["config.yaml", "trainer.max_epochs=1"], train, ["config.yaml", "trainer.max_epochs=1", "--check"]),
        (["cu.nequip.pt2", "--json"], doctor, ["cu.nequip.pt2", "--json"]),
        (["a.xyz", "b.lmdb"], data, ["check", "a.xyz", "b.lmdb"]),
    ],
)
def test_check_asks_who_knows_the_file(
    words: list[str], module: object, passed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(module, "main", seen.append)
    check.main(words)
    assert seen == [passed]


def completed(shell: str, line: str) -> list[str]:
    """What bash offers at the end of a line."""
    words = line.split(" ")
    asked = " ".join(f'"{word}"' for word in words)
    code = f"{completion.script(shell)}\nCOMP_WORDS=({asked})\nCOMP_CWORD={len(words) - 1}\n_mlip_complete\n"
    done = subprocess.run(
        ["bash", "-c", code + 'printf "%s\\n" "${COMPREPLY[@]}"'], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "line, expected",
    [
        ("mlip re", {"relax", "report"}),
        ("mlip data ", {"convert", "check"}),
        ("mlip relax a.xyz --opt", {"--optimizer"}),
        ("mlip relax --optimizer ", {"fire", "bfgs", "lbfgs"}),
        ("mlip md a.xyz --ensemble n", {"nvt", "nve", "npt"}),
        ("nequip-compile --mode a", {"aotinductor"}),
        ("nequip-package mod", {"modes", "modify"}),
        ("mlip relax ", set()),  # files
    ],
)
def test_bash_completes(line: str, expected: set[str]) -> None:
    offered = set(completed("bash", line))
    assert expected <= offered if expected else not offered
    if expected and not line.endswith(" "):
        assert all(word.startswith(line.rsplit(" ", maxsplit=1)[-1]) for word in offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_scripts(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    done = subprocess.run([shell, "-n"], input=completion.script(shell), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_not_there_has_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main.main(["relx"])
    assert end.value.code == 2
    assert "did you mean relax?" in capsys.readouterr().err

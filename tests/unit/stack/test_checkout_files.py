"""An image takes of a checkout what Git knows; of an unpacked archive, everything but what builds left."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlip.stack import checkout_files


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is taken for the checkout, with a package, and what tests and editors leave in it."""
    root = tmp_path / "tree"
    for name in ("pkg/one.py", "pkg/inner/two.py", "pkg/__pycache__/one.pyc", "pkg/notes.txt", "README.md", "other.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "pkg/inner/two.py").chmod(0o755)
    monkeypatch.setattr(checkout_files, "checkout", lambda: root)
    return root


def copied(target: Path) -> list[str]:
    checkout_files.copy(["README.md", "pkg"], target)
    return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())


def test_an_archive_is_taken_whole(tree: Path, tmp_path: Path) -> None:
    assert tree.is_dir()
    assert copied(tmp_path / "out") == ["README.md", "pkg/inner/two.py", "pkg/notes.txt", "pkg/one.py"]


def test_of_a_work_tree_only_what_git_knows_and_that_is_said(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["init", "--quiet"], ["add", "README.md", "pkg/one.py", "pkg/inner"]):
        subprocess.run(["git", "-C", str(tree), *words], check=True)
    (tree / ".gitignore").write_text("__pycache__\n")
    assert copied(tmp_path / "out") == ["README.md", "pkg/inner/two.py", "pkg/one.py"]
    assert (tmp_path / "out/pkg/inner/two.py").stat().st_mode & 0o111
    assert "1 files are not in the image, since Git does not know them: pkg/notes.txt" in capsys.readouterr().out


def test_a_file_that_was_removed_is_left_out(tree: Path, tmp_path: Path) -> None:
    for words in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", "-C", str(tree), *words], check=True)
    (tree / "pkg/notes.txt").unlink()
    assert "pkg/notes.txt" not in copied(tmp_path / "out")

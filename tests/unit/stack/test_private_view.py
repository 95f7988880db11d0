"""What an ordinary user needs is found though it lies in folders that are closed to the user."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mlip.stack import private_view


def test_closed_folders_are_found_from_the_top(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "more"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    (tmp_path / "closed").chmod(0o700)
    stranger = (os.getuid() + 12345, os.getgid() + 12345)

    assert private_view.closed_folders([inner / "file", tmp_path / "open"], stranger) == [tmp_path / "closed"]
    assert private_view.steps(Path("/usr"), [inner / "file"], stranger) == [
        f"keep {inner / 'file'}",
        f"hide {tmp_path / 'closed'}",
        f"show {inner / 'file'}",
    ]
    assert private_view.steps(inner, [], stranger)[0] == "root"
    assert private_view.steps(inner, [], stranger)[-1] == f"copy {inner}"

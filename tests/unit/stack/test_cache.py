"""Folders of work that is going on, and locks: what killed processes leave is removed, what is in use is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlip.stack.cache import exclusive, scratch
from mlip.stack.errors import StackError
from tests.fake_archives import own_cache
from tests.unit.stack.recipes import ROOT

__all__ = ["own_cache"]
WORK = """
import sys, time
from mlip.stack.cache import scratch
with scratch("context") as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def worker(own_cache: Path) -> subprocess.Popen[str]:
    """Another process that works in the cache."""
    environment = {**os.environ, "MLIP_CACHE": str(own_cache), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", WORK], text=True, stdout=subprocess.PIPE, env=environment)


def test_a_folder_goes_with_its_user(own_cache: Path) -> None:
    with scratch("sif") as folder:
        assert folder.is_relative_to(own_cache)
        (folder / "file").touch()
    assert not folder.exists()


def test_what_a_killed_process_left_is_removed_by_the_next_and_not_before(worker: subprocess.Popen[str]) -> None:
    with worker:
        assert worker.stdout is not None
        theirs = Path(worker.stdout.readline().strip())
        try:
            with scratch("context"):
                assert (theirs / "file").exists()
        finally:
            worker.send_signal(signal.SIGKILL)
    assert theirs.exists()
    with scratch("context") as ours:
        assert not theirs.exists()
        assert ours.exists()


def test_what_one_holds_another_is_refused(own_cache: Path) -> None:
    with (
        exclusive(own_cache / "lock", "wait"),
        pytest.raises(StackError, match="wait"),
        exclusive(own_cache / "lock", "wait"),
    ):
        pass
    with exclusive(own_cache / "lock", "wait"):
        pass

"""Settings for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.physics import DRIFTS

# the same examples in every run, however slow the machine: a failure is a change of the code
settings.register_profile("mlip", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("mlip")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show how well dynamics conserved energy."""
    if DRIFTS:
        terminalreporter.section("energy drift of 1000 NVE steps of 1 fs")
        for line in DRIFTS:
            terminalreporter.write_line(line)

"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Status(str, Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


_SEVERITY = (Status.NOT_APPLICABLE, Status.OK, Status.WARNING, Status.FAILED)


@dataclass(frozen=True)
class Outcome:
    """How a check ended.

    Attributes:
        status: ok, warning, failed or not applicable.
        found: what is there, or why the check does not apply.
        cures: what to do, for warnings and failures.
    """

    status: Status
    found: str
    cures: tuple[str, ...] = ()


@dataclass
class Findings:
    """Collects what a check comes across; the worst decides.

    Attributes:
        facts: what is there.
        problems: what is wrong, worst first in the outcome.
        cures: what to do about it.
    """

    facts: list[str] = field(default_factory=list)
    problems: list[tuple[Status, str]] = field(default_factory=list)
    cures: list[str] = field(default_factory=list)

    def fact(self, text: str) -> None:
        """Something that is as it should be."""
        self.facts.append(text)

    def warn(self, text: str, cure: str = "") -> None:
        """Something that limits what can be done."""
        self._problem(Status.WARNING, text, cure)

    def fail(self, text: str, cure: str = "") -> None:
        """Something that does not work, or gives wrong results."""
        self._problem(Status.FAILED, text, cure)

    def _problem(self, status: Status, text: str, cure: str) -> None:
        self.problems.append((status, text))
        if cure and cure not in self.cures:
            self.cures.append(cure)

    def outcome(self) -> Outcome:
        """All of it in one."""
        ordered = sorted(self.problems, key=lambda problem: -_SEVERITY.index(problem[0]))
        status = ordered[0][0] if ordered else Status.OK
        return Outcome(status, "; ".join([*(text for _, text in ordered), *self.facts]), tuple(self.cures))


class NotApplicable(Exception):  # noqa: N818 - not an error
    """The check has nothing to look at here; the message says why."""


class Unreachable(NotApplicable):
    """What the check looks at does not work; another check, `reported_by`, is for saying so.

    Where that one is not run, this is a failure.
    """

    def __init__(self, reason: str, reported_by: str) -> None:
        super().__init__(f"{reason} (check {reported_by})")
        self.reported_by = reported_by


class CheckFailed(Exception):  # noqa: N818 - the name says that a check raises it
    """The check's subject does not work; the message says what was found, `cure` what to do."""

    def __init__(self, found: str, cure: str = "") -> None:
        super().__init__(found)
        self.cure = cure

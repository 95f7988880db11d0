"""Which versions fit together: a stack's facts against the tables and rules of recipes/compatibility.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from mlip.stack.compatibility_table import IMPOSSIBLE, LABELS, UNTESTED, read
from mlip.stack.errors import StackError
from mlip.stack.recipe import Stack

__all__ = ["IMPOSSIBLE", "UNTESTED", "Finding", "below", "check", "facts_of", "fits", "read", "require", "spoken"]

Facts = dict[str, str]


@dataclass(frozen=True)
class Finding:
    """Something in a stack that cannot work, or that nobody has tested."""

    level: str  # "impossible" or "untested"
    rule: str  # the name in recipes/compatibility.yaml
    reason: str
    instead: str  # what would fit; may be empty
    source: str
    date: str

    def __str__(self) -> str:
        """One sentence with its source."""
        instead = f"; instead: {self.instead}" if self.instead else ""
        return f"{self.reason}{instead} [{self.source}, {self.date}]"


def number(version: str) -> tuple[int, ...]:
    """A version for comparisons: 4.7.01 as (4, 7, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))


def below(one: str, other: str) -> bool:
    """Whether one version is older than the other; 13 and 13.0 are the same."""
    a, b = number(one), number(other)
    width = max(len(a), len(b))
    return a + (0,) * (width - len(a)) < b + (0,) * (width - len(b))


def fits(value: str, condition: str) -> bool:
    """Whether a value satisfies a condition; the file's head says what conditions there are."""
    word, _, rest = condition.partition(" ")
    if word == "has":
        return rest in value
    if word == "in":
        return any(fits(value, item.strip()) for item in rest.split(","))
    if condition[0] not in "<>":
        return value == condition or (value[:1].isdigit() and value.startswith(f"{condition}."))
    for comparison in condition.split():
        operator, than = re.fullmatch(r"([<>]=?)(.*)", comparison).groups()  # type: ignore[union-attr]
        older, newer = below(value, than), below(than, value)
        if {"<": not older, "<=": newer, ">": not newer, ">=": older}[operator]:
            return False
    return True


def stack_facts(stack: Stack) -> Facts:
    """What a stack says of itself, by the names that recipes/compatibility.yaml uses."""
    gpu = [backend for backend in stack.kokkos.backends if backend in ("CUDA", "HIP")]
    found = {
        "device": stack.device,
        "gpu_arch": ", ".join(stack.gpu_arch) or "none",
        "gpu_count": str(len(stack.gpu_arch)),
        "kokkos": stack.kokkos.version,
        "kokkos_gpu": ", ".join(gpu) or "none",
        "lammps": stack.lammps.version,
        "lammps_sources": stack.lammps.sources,
        "mpi": stack.mpi.version,
        "mpi_package": stack.mpi.package,
        "python": stack.python.version,
        "suite": stack.system.suite,
        "toolkit_kind": stack.toolkit.kind if stack.toolkit else "none",
        "torch": stack.torch.version,
        "torch_build": stack.torch.build,
    }
    if numbers := re.findall(r"sm_(\d+)", found["gpu_arch"]):
        found["gpu_number"] = min(numbers, key=int)
    if match := re.fullmatch(r"cu(\d+)(\d)", stack.torch.build):
        found |= {"torch_kind": "cuda", "cuda": f"{match[1]}.{match[2]}", "cuda_major": match[1]}
    elif stack.torch.build.startswith("rocm"):
        found |= {"torch_kind": "rocm", "torch_rocm": stack.torch.build.removeprefix("rocm")}
    else:
        found["torch_kind"] = "cpu"
    if stack.toolkit:
        found["toolkit"] = stack.toolkit.version
        if stack.toolkit.kind == "rocm":
            found["rocm"] = stack.toolkit.version
        if stack.toolkit.image:
            found["toolkit_image"] = stack.toolkit.image
    if stack.site and stack.site.cray_mpich:
        found["cray_mpich"] = stack.site.cray_mpich
    if stack.site and stack.site.cpe:
        found["cpe"] = stack.site.cpe
    return found


def facts_of(stack: Stack, data: Mapping[str, Any]) -> tuple[Facts, list[Finding]]:
    """The stack's facts with what follows from them, and a finding for each that the tables do not know."""
    found, findings = stack_facts(stack), []
    for table in data["facts"]:
        key = table["key"]
        if key not in found:
            continue
        rows = [row for row in table["rows"] if fits(found[key], row[key])]
        if rows:
            found |= {name: value for name, value in rows[0].items() if name != key}
        else:
            findings.append(_unknown(key, found[key], key, table))
    older = stack.system.older.packages if stack.system.older else ()
    pythons = [package.removeprefix("python") for package in older if re.fullmatch(r"python3\.\d+", package)]
    if "suite_python" in found:
        pythons.append(found["suite_python"])
    found["python_packages"] = ", ".join(pythons)
    return found, findings


def check(stack: Stack, root: Path | None = None) -> list[Finding]:
    """What in a stack cannot work or has not been tested; the impossible first.

    Raises:
        StackError: recipes/compatibility.yaml is not valid.
    """
    data = read(root)
    facts, findings = facts_of(stack, data)
    findings += [finding for table in data["tables"] for finding in _against_table(facts, table)]
    findings += [finding for rule in data["rules"] for finding in _against_rule(facts, rule)]
    return sorted(findings, key=lambda finding: finding.level != IMPOSSIBLE)


def require(stack: Stack, root: Path | None = None) -> list[Finding]:
    """Refuse a stack that cannot work; the warnings of one that can.

    Raises:
        StackError: something in it is impossible.
    """
    findings = check(stack, root)
    wrong = [finding for finding in findings if finding.level == IMPOSSIBLE]
    if wrong:
        raise StackError(f"{stack.name} cannot be built: " + "\n  also: ".join(map(str, wrong)))
    return findings


def spoken(conditions: list[str]) -> str:
    """Conditions as people say them: '2.9.0 to 2.9.1, 2.10.0'."""
    words = []
    for condition in conditions:
        match = re.fullmatch(r">=(\S+) (<=?)(\S+)", condition)
        words.append(f"{match[1]} to {'below ' if match[2] == '<' else ''}{match[3]}" if match else condition)
    return ", ".join(words)


def _unknown(key: str, value: str, name: str, table: Mapping[str, Any]) -> Finding:
    """The finding for a value of which a table has no row."""
    reason = f"recipes/compatibility.yaml knows nothing of {LABELS.get(key, key)} {value}"
    return Finding(UNTESTED, name, reason, "", table["source"], table["date"])


def _values(cell: Any) -> tuple[list[str], list[str]]:
    """The conditions of a cell: those that pass, and those that pass with a warning."""
    if isinstance(cell, dict):
        return list(cell.get("official", ())), list(cell.get("tested", ()))
    return list(cell), []


def _against_table(facts: Facts, table: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings of one table."""
    key = table["key"]
    if key not in facts:
        return
    rows = [row for row in table["rows"] if fits(facts[key], row[key])]
    if not rows:
        yield _unknown(key, facts[key], table["id"], table)
        return
    it = f"{LABELS[key]} {facts[key]}"
    for column, cell in rows[0].items():
        if column == key or column not in facts:
            continue
        value, label = facts[column], LABELS[column]
        official, tested = _values(cell)
        if any(fits(value, condition) for condition in official):
            continue
        if any(fits(value, condition) for condition in tested):
            known = f"; official is {label} {spoken(official)}" if official else ""
            reason = f"{it} with {label} {value} works but is not official ({table['about']}){known}"
            yield Finding(UNTESTED, table["id"], reason, "", table["source"], table["date"])
            continue
        others = [
            row[key]
            for row in table["rows"]
            if column in row and any(fits(value, condition) for part in _values(row[column]) for condition in part)
        ]
        instead = f"with {it} {label} {spoken([*official, *tested])}"
        if others:
            instead += f"; with {label} {value} {LABELS[key]} {spoken(others)}"
        reason = f"{it} does not go with {label} {value} ({table['about']})"
        yield Finding(table["otherwise"], table["id"], reason, instead, table["source"], table["date"])


def _against_rule(facts: Facts, rule: Mapping[str, Any]) -> Iterator[Finding]:
    """The finding of one rule, if there is one."""
    conditions, demands = rule.get("if", {}), rule.get("then", {})
    used = {*conditions, *demands}
    for text in (*conditions.values(), *demands.values()):
        used |= {field for _, field, _, _ in Formatter().parse(text) if field}
    if not used <= facts.keys():
        return
    if not all(fits(facts[name], text.format(**facts)) for name, text in conditions.items()):
        return
    if demands and all(fits(facts[name], text.format(**facts)) for name, text in demands.items()):
        return
    reason, instead = rule["because"].format(**facts), rule.get("instead", "").format(**facts)
    yield Finding(rule["level"], rule["id"], reason, instead, rule["source"], rule["date"])

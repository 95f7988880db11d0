"""Older model files in today's form: for each version of a format a function that makes its contents the next one's.

When the contents of a format change, its number below goes up by one, a function for the number before joins the table,
and ``python -m tests.golden_model_files.make`` writes the new version's file. Functions and files of older versions
stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Contents = dict[str, Any]

CHECKPOINT_VERSION = 2
PACKAGE_VERSION = 1

UNITS = {"length": "Å", "energy": "eV", "forces": "eV/Å", "stress": "eV/Å^3"}


def checkpoint_1_to_2(contents: Contents) -> Contents:
    """Version 1 was a ``torch.save``, and said nothing of units and of the data beyond their config."""
    parameters = dict(contents["hyper_parameters"])
    parameters["info_dict"] = {"data_summary": {}, **(parameters.get("info_dict") or {})}
    return {**contents, "hyper_parameters": parameters, "mlip": {**contents["mlip"], "units": dict(UNITS)}}


CHECKPOINT_UPGRADES: Mapping[int, Callable[[Contents], Contents]] = {1: checkpoint_1_to_2}
PACKAGE_UPGRADES: Mapping[int, Callable[[Contents], Contents]] = {}


def upgraded(contents: Contents, version: int, upgrades: Mapping[int, Callable[[Contents], Contents]]) -> Contents:
    """Contents of ``version`` in the newest version's form.

    Args:
        contents: of a file; not changed.
        version: of the file's format, none that is newer than the table knows.
        upgrades: version -> function that makes the next version's contents.
    """
    for older in range(version, max(upgrades, default=0) + 1):
        contents = upgrades[older](contents)
    return contents

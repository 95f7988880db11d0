"""Words of the form NAME=VALUE on a command line."""

from __future__ import annotations

from collections.abc import Sequence


def assignments(words: Sequence[str], option: str, form: str) -> dict[str, str]:
    """The words of an option as a mapping.

    Args:
        words: ``NAME=VALUE`` each.
        option: for the error, ``--map``.
        form: for the error, ``ELEMENT=TYPE``.

    Raises:
        DataError: a word is not of that form.
    """
    from mlip.data.errors import DataError

    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise DataError(f"{option} takes {form}, not {word!r}")
        found[name] = value
    return found

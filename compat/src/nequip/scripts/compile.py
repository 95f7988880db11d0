"""``nequip-compile`` as a function."""

from __future__ import annotations

from collections.abc import Sequence

from nequip._provider import module_of


def main(args: Sequence[str] | None = None) -> None:
    """Run the command; ``args`` are the command line's by default."""
    module_of("mlip.cli.compile").main(args)


if __name__ == "__main__":
    main()

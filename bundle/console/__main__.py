"""``slpd``: the subcommands, their help, and what is wrong with what was typed, before seconds of imports."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..core.errors import BundleError
from ..core.naming import did_you_mean
from . import helping, running
from .commands import COMMANDS, SUMMARIES


def main(words: Sequence[str] | None = None) -> int:
    """Do what ``slpd`` was asked for.

    Args:
        words: behind ``slpd``; None: those of this process.

    Returns:
        The status that the process ends with.
    """
    name, *rest = list(sys.argv[1:] if words is None else words) or ["--help"]
    try:
        if name in ("-h", "--help", "help"):
            print(helping.overview())
            return 0
        if name in COMMANDS:
            return running.run(COMMANDS[name], rest)
        if name in SUMMARIES:
            return _others(name, rest)
        hint = did_you_mean(name, SUMMARIES, "slpd --help lists what there is.", start="slpd ", most=2)
        raise BundleError(f"slpd has no command {name!r}; {hint}")
    except BundleError as error:
        print(f"slpd: {error}", file=sys.stderr)
        return 2


def _others(name: str, typed: Sequence[str]) -> int:
    from . import chains, programs

    if name in ("run", "demo"):
        return chains.run(name, typed)
    return programs.run(name, typed)


if __name__ == "__main__":
    sys.exit(main())

"""``slpd``: the subcommands, their help, and what is wrong with what was typed, before seconds of imports."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence

from ..core.errors import BundleError
from . import helping
from .commands import COMMANDS, SUMMARIES, Command
from .words import check_inputs, read_words, with_places


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
            return _run(COMMANDS[name], rest)
        if name in SUMMARIES:
            return _others(name, rest)
        near = difflib.get_close_matches(name, helping.names(), n=2)
        hint = f"did you mean slpd {' or slpd '.join(near)}?" if near else "slpd --help lists what there is."
        raise BundleError(f"slpd has no command {name!r}; {hint}")
    except BundleError as error:
        print(f"slpd: {error}", file=sys.stderr)
        return 2


def _run(command: Command, typed: Sequence[str]) -> int:
    read = read_words(command, typed)
    if read.wants_help:
        print(helping.help_of(command))
        return 0
    values = with_places(command, read)
    check_inputs(command, read, values)
    from .running import run  # what is behind it imports torch

    return run(command, read, values, typed)


def _others(name: str, typed: Sequence[str]) -> int:
    from . import chains, programs

    if name in ("run", "demo"):
        return chains.run(name, typed)
    return programs.run(name, typed)


if __name__ == "__main__":
    sys.exit(main())

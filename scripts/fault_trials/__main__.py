"""``python -m scripts.fault_trials``: strike commands with faults, and say what became of them."""

from __future__ import annotations

import argparse
import sys
from itertools import product

from . import soak
from .commands import BY_NAME
from .disks import full, read_only
from .faults import FAULTS, strike
from .ground import Ground, GroundError
from .holding import add_options, hold
from .outcomes import Log
from .processes import import_what_takes_long

_ALL = FAULTS | {"full": full, "read_only": read_only}


def main() -> int:
    """Read the command line and do it; 1: something is not as promised, 2: a command does not run at all."""
    options = _parser().parse_args()
    if options.what != ["table"]:
        import_what_takes_long()
    if options.what == ["soak"]:
        return soak.run(options.folder, options.reads, options.regions, options.epochs)
    options.folder.mkdir(parents=True, exist_ok=True)
    log = Log(options.folder / "trials.jsonl")
    if options.what != ["table"]:
        unknown = [name for name in options.what if name not in _ALL]
        if unknown:
            print(f"{unknown[0]} is no fault; there are {', '.join(_ALL)}, table and soak.", file=sys.stderr)
            return 2
        try:
            _hold(options, Ground(options.folder / "ground"), log)
        except GroundError as error:
            print(f"Stopped: {error}", file=sys.stderr)
            return 2
    print(log.table())
    return int(any(not trial["is_good"] for trial in log.records.values()))


def _hold(options: argparse.Namespace, ground: Ground, log: Log) -> None:
    seeds = range(options.seed, options.seed + options.trials)
    trials = product(seeds, options.what or _ALL, options.commands or BY_NAME)
    hold(
        ((fault, name, seed) for seed, fault, name in trials),
        log,
        lambda fault, name, seed: strike(ground, fault, BY_NAME[name], seed, _ALL[fault]),
        options.again,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/faults",
        description="Strikes every command with faults on a small cohort: what it says, and whether the same command "
        f"then ends with the files of an unbroken run. Faults: {', '.join(_ALL)}. Commands: {', '.join(BY_NAME)}.",
    )
    add = parser.add_argument
    add("what", nargs="*", metavar="FAULT", help="all where none is named; table: print the log; soak: the long runs")
    add("--commands", nargs="+", choices=list(BY_NAME), metavar="COMMAND", help="all where none is named")
    add_options(parser, "faults")
    add("--reads", type=int, default=10**6, help="soak: reads of the token store (10^6)")
    add("--regions", type=int, default=10**4, help="soak: regions through inference (10^4)")
    add("--epochs", type=int, default=200, help="soak: epochs of a training (200)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""``python -m scripts.node_trials``: runs over two nodes, and what becomes of them when one is killed."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from itertools import product

from ..fault_trials.faults import strike
from ..fault_trials.ground import Ground
from ..fault_trials.holding import add_options, hold
from ..fault_trials.outcomes import Log, Outcome
from ..fault_trials.processes import import_what_takes_long
from .faults import COMMANDS, FAULTS


def main() -> int:
    """Hold the trials, or show the log; 1: something is not as promised."""
    options = _parser().parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    log = Log(options.folder / "trials.jsonl", "scripts/nodes_trial")
    if options.what != ["table"]:
        import_what_takes_long()
        _hold(options, Ground(options.folder / "ground"), log)
    print(log.table())
    return int(any(not trial["is_good"] for trial in log.records.values()))


def _hold(options: argparse.Namespace, ground: Ground, log: Log) -> None:
    for name in options.commands:  # before agents begin: a fork of this process would end what they are forked from
        ground.unbroken(COMMANDS[name])
    trials = product(range(options.seed, options.seed + options.trials), options.commands, options.what)
    hold(((fault, name, seed) for seed, name, fault in trials), log, partial(_strike, ground), options.again)


def _strike(ground: Ground, fault: str, name: str, seed: int) -> Outcome | None:
    """One trial; says at what it was struck."""
    outcome = strike(ground, fault, COMMANDS[name], seed, FAULTS[fault])
    if outcome is None or outcome.is_good:
        print(f"{fault} {name} {seed}: {outcome.detail if outcome else 'was over before'}", flush=True)
    return outcome


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/nodes_trial",
        description="Runs commands over two agents of torchrun on this machine, and compares their files with those of "
        f"one process. Faults: {', '.join(f'{name}: {each.__doc__}' for name, each in FAULTS.items())}",
    )
    add = parser.add_argument
    add(
        "what",
        nargs="*",
        metavar="FAULT",
        default=["undisturbed"],
        help="undisturbed, if none is named; table: the log",
    )
    add(
        "--commands", nargs="+", choices=list(COMMANDS), metavar="COMMAND", default=list(COMMANDS), help="all (default)"
    )
    add_options(parser, "nodes")
    return parser


if __name__ == "__main__":
    sys.exit(main())

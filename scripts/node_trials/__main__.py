"""``python -m scripts.node_trials``: runs over two nodes, and what becomes of them when one is killed."""

from __future__ import annotations

import argparse
import shutil
import sys
from functools import partial
from itertools import product
from random import Random

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
    """One trial, in a folder that stays where it did not go well."""
    title, command = f"{fault} {name} {seed}", COMMANDS[name]
    folder = ground.trial(command, title)
    outcome = FAULTS[fault](ground, command, Random(title), folder)
    if outcome is None:
        print(f"{title}: was over before", flush=True)
    elif outcome.is_good:
        print(f"{title}: {outcome.detail}", flush=True)
        for path in folder.parent.glob(f"{folder.name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
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

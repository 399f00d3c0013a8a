"""``python -m scripts.node_trials``: runs over two nodes, and what becomes of them when one is killed."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from random import Random

from ..fault_trials.commands import ROOT
from ..fault_trials.ground import Ground
from ..fault_trials.outcomes import Log
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
    for seed in range(options.seed, options.seed + options.trials):
        for name in options.commands:
            for fault in options.what:
                if (fault, name, seed) in log.records and not options.again:
                    continue
                started, command = time.monotonic(), COMMANDS[name]
                folder = ground.trial(command, f"{fault} {name} {seed}")
                outcome = FAULTS[fault](ground, command, Random(f"{fault} {name} {seed}"), folder)
                if outcome is None:
                    print(f"{fault} {name} {seed}: was over before", flush=True)
                    continue
                log.add(fault, name, seed, outcome, time.monotonic() - started)
                mark = "" if outcome.is_good else f"  NOT AS PROMISED: {outcome.detail}"
                print(f"{fault} {name} {seed}: {outcome.kind} ({outcome.detail}){mark}", flush=True)
                if outcome.is_good:
                    for path in folder.parent.glob(f"{folder.name}*"):
                        shutil.rmtree(path) if path.is_dir() else path.unlink()


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
    add("--trials", type=int, default=1, help="of each fault on each command (1)")
    add("--seed", type=int, default=0, help="of the first trial; the next ones follow (0)")
    add("--again", action="store_true", help="also what is in the log")
    add("--folder", type=Path, default=ROOT / "eval" / "nodes", help="of cohort, log and broken trials (eval/nodes)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""``python -m scripts.fuzzing``: draws over all parsers, each in a process of its own, and what was found."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from .drawing import Count, Finding, Target, draw
from .slides import slide_targets
from .stored import stored_targets
from .texts import text_targets
from .weights import weights_targets

_TRIES = 5  # of a target whose process dies, with another seed each


def all_targets(folder: Path) -> Iterator[Target]:
    """Every parser; ``folder`` is theirs."""
    for number, targets in enumerate((text_targets, stored_targets, weights_targets, slide_targets)):
        own = folder / str(number)
        own.mkdir(parents=True, exist_ok=True)
        yield from targets(own)


def main() -> None:
    """Read the command line, draw, print a table; the status is 1 where something was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Every parser against odd files.")
    parser.add_argument("targets", nargs="*", help="names of parsers, or parts of names; none: all of them")
    parser.add_argument("--draws", type=int, default=20_000, help="over all parsers together (20,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("eval/fuzz"), help="files that show something go there")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        asked = options.targets or [""]
        targets = [each for each in all_targets(Path(folder)) if any(part in each.name for part in asked)]
        sys.exit(bool(_over(targets, options.draws, options.seed, options.output)))


def _over(targets: Sequence[Target], n_draws: int, number: int, output: Path) -> list[Finding]:
    """Draws over some parsers, and a line on each."""
    found: list[Finding] = []
    n_drawn, started = 0, time.monotonic()
    for target in targets:
        count = _apart(target, -(-n_draws // len(targets)), number, output)
        found += count.findings
        n_drawn += count.n_read + count.n_refused
        print(
            f"{target.name:28} {count.n_read:6} read {count.n_refused:6} refused {len(count.findings):3} findings",
            flush=True,
        )
        for finding in count.findings:
            print(f"    {finding.what} in {finding.where}: {finding.file}", flush=True)
    print(f"{n_drawn} draws over {len(targets)} parsers in {time.monotonic() - started:.0f} s: {len(found)} findings")
    return found


def _apart(target: Target, n_draws: int, number: int, output: Path) -> Count:
    """In a process of its own, as native code may end it."""
    found: list[Finding] = []
    context = multiprocessing.get_context("fork")
    for trial in range(_TRIES):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(theirs, target, n_draws, number + trial, output))
        process.start()
        theirs.close()
        try:
            count: Count = ours.recv()
            process.join()
            return count._replace(findings=[*found, *count.findings])
        except EOFError:
            process.join()
            kept = output / f"{target.name.replace(' ', '_')}_died_{number + trial}{target.suffix}"
            (output / f"file{target.suffix}").rename(kept)
            found.append(Finding(target.name, f"the process ended with {process.exitcode}", "native code", str(kept)))
    return Count(0, 0, found)


def _send(pipe: Connection, target: Target, n_draws: int, number: int, output: Path) -> None:
    pipe.send(draw(target, n_draws, number, output))


if __name__ == "__main__":
    main()

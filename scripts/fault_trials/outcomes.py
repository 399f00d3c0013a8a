"""What became of a trial; the log of trials; the table that is made of it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..golden_results.compare import Difference
from ..pins.records import JsonLines
from .processes import NO_NETWORK, Ended

_TRACEBACK = re.compile(r"^Traceback \(most recent call last\)", re.MULTILINE)
_SAID = 400  # characters of a message that are kept
_SHOWN = 6  # differences


class Outcome(NamedTuple):
    """Of a trial.

    Attributes:
        kind: in a few words, what a table counts.
        is_good: it is as promised.
        detail: what was said, or what differs.
        n: how often the fault struck.
    """

    kind: str
    is_good: bool
    detail: str = ""
    n: int = 1


def verdict(ended: Ended, names: Iterable[str] = ()) -> Outcome:
    """Of one process: finished, or refused with one message that names one of ``names`` (if there are any)."""
    if ended.status == 0:
        return Outcome("finished", True)
    said = message_of(ended)
    if ended.status == NO_NETWORK:
        return Outcome("asked for the network", False, said)
    if _TRACEBACK.search(ended.said):
        return Outcome("traceback", False, said)
    if ended.status < 0:
        return Outcome(f"ended by signal {-ended.status}", False, said)
    if "Stopped: " not in ended.said:
        return Outcome("ended without a message", False, said)
    names = list(names)
    if names and not any(name in ended.said for name in names):
        return Outcome("refused, unnamed", False, said)
    return Outcome("refused, named", True, said)


def message_of(ended: Ended) -> str:
    """The last words of a process, from its message on where it has one."""
    text = ended.said.strip()
    return text[text.rfind("Stopped: ") :][:_SAID] if "Stopped: " in text else text[-_SAID:]


def as_unbroken(differences: Sequence[Difference], what: str, n: int = 1, before: str = "") -> Outcome:
    """Of a run that went on: its files are those of an unbroken one, or not."""
    if not differences:
        return Outcome(what, True, before, n)
    shown = "; ".join(f"{d.path} {d.item} {d.what}"[:200] for d in differences[:_SHOWN])
    return Outcome(f"{what}: OTHER FILES", False, f"{before} {len(differences)} differ: {shown}".strip(), n)


class Log(JsonLines):
    """Trials that were held; what was tried again counts as it ended last.

    Args:
        path: of the file.
        program: holds one again.
    """

    def __init__(self, path: Path, program: str = "scripts/faults") -> None:
        self._program = program
        super().__init__(path, ("fault", "command", "seed"))

    def add(self, fault: str, command: str, seed: int, outcome: Outcome, seconds: float) -> None:
        """One more."""
        entry = {"fault": fault, "command": command, "seed": seed}
        self.append({**entry, **outcome._asdict(), "seconds": round(seconds, 1)})

    def table(self) -> str:
        """Markdown: a line for each fault and command, then each trial that did not end as promised."""
        rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for entry in self.records.values():
            rows[entry["fault"], entry["command"]].append(entry)
            rows[entry["fault"], "all"].append(entry)
        lines = ["| fault | command | trials | faults | outcome |", "|---|---|---|---|---|"]
        for (fault, command), entries in sorted(rows.items()):
            kinds = Counter(entry["kind"] for entry in entries)
            outcome = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
            n_faults = sum(entry["n"] for entry in entries)
            lines.append(f"| {fault} | {command} | {len(entries)} | {n_faults} | {outcome} |")
        bad = [entry for entry in self.records.values() if not entry["is_good"]]
        lines += ["", f"{len(self.records)} trials, {len(bad)} of them not as promised."]
        for entry in bad:
            again = f"{self._program} {entry['fault']} --commands '{entry['command']}' --seed {entry['seed']} --again"
            lines += ["", f"`{again}`: {entry['kind']}", "", f"> {' '.join(entry['detail'].split())}"]
        return "\n".join(lines) + "\n"

"""What happens to a run over two nodes, and whether its files are those of one process."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np

from ..fault_trials.commands import BY_NAME, Command
from ..fault_trials.ground import Ground
from ..fault_trials.outcomes import Outcome, as_unbroken
from ..golden_results.compare import Difference
from .agents import Nodes

_EPOCHS = 8  # so that there are several with prototypes, and time for a kill
_TOLERANCE = 1e-5  # of what is a sum over processes: weights, losses
_HISTORY = "run/history.csv"
_BEGUN = {"train": f"out/{_HISTORY}", "infer": "out/tokens"}  # what there is once there is something to lose
_DONE = {"train": "out/model/model.pt", "tokenize": "out/tokenize/slides.csv"}  # and once there is not
_SAID = 1500


def _trained_longer(command: Command) -> Command:
    return replace(command, options={**command.options, "max_epochs": _EPOCHS}) if command.name == "train" else command


_NAMES = ("tokenize", "import", "train", "infer", "infer from tokens", "evaluate", "index")
COMMANDS = {name: _trained_longer(BY_NAME[name]) for name in _NAMES}


def nodes_of(command: Command, folder: Path, n_nodes: str = "2") -> Nodes:
    """The command, which goes on with what is there, over two nodes."""
    words = replace(command, run=command.run.replace(" train ", " train multi_gpu_train ")).words(is_again=True)
    return Nodes(words, folder, n_nodes)


def undisturbed(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome:
    """Nothing happens."""
    started = time.monotonic()
    nodes = nodes_of(command, folder)
    begun = _begin(nodes, command, folder)
    begun_s = time.monotonic() - started
    outcome = _judged(ground, command, folder, nodes, "as one process", "" if begun else "never began")
    _length_file(ground, command).write_text(f"{time.monotonic() - started - begun_s:.3f}")
    return outcome


def agent(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """SIGKILL of the agent that does not hold the rendezvous, with its processes or without; it is started again."""
    nodes, said = _struck(ground, command, draw, folder, lambda nodes, n: nodes.kill(1, workers=n), (0, 2))
    if not said:
        return None
    time.sleep(draw.uniform(0, 2))
    nodes.start_again(1)
    return _judged(ground, command, folder, nodes, "went on as unbroken", said)


def worker(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """SIGKILL of a process; its agent starts another one."""
    strike = lambda nodes, n: nodes.kill(draw.randrange(2), workers=n, agent=False)  # noqa: E731
    nodes, said = _struck(ground, command, draw, folder, strike, (1,))
    return _judged(ground, command, folder, nodes, "went on as unbroken", said) if said else None


def lost(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """SIGKILL of an agent and its processes, which do not come back, with ``--nnodes=1:2``."""
    nodes, said = _struck(ground, command, draw, folder, lambda nodes, n: nodes.kill(1, workers=n), (2,), "1:2")
    return _judged(ground, command, folder, nodes, "one node ended it", said, (0,)) if said else None


def host(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """SIGKILL of the agent that holds the rendezvous, with its processes or without; the same command again."""
    nodes, said = _struck(ground, command, draw, folder, lambda nodes, n: nodes.kill(0, workers=n), (0, 2))
    if not said:
        return None
    started = time.monotonic()
    statuses = nodes.wait()
    said += f"; the other ended with {statuses[1]} after {time.monotonic() - started:.0f} s"
    return _judged(ground, command, folder, nodes_of(command, folder), "the same command went on as unbroken", said)


FAULTS = {each.__name__: each for each in (undisturbed, agent, worker, lost, host)}


def _struck(
    ground: Ground,
    command: Command,
    draw: Random,
    folder: Path,
    strike: Callable[[Nodes, int], None],
    workers: tuple[int, ...],
    n_nodes: str = "2",
) -> tuple[Nodes, str]:
    """A run that is struck at a random moment, and what was done in words; none where it was over before."""
    length = _length_file(ground, command)
    if not length.exists():
        undisturbed(ground, command, draw, ground.trial(command, f"length of {command.name}"))
    moment, n_workers = draw.uniform(0, float(length.read_text())), draw.choice(workers)
    nodes = nodes_of(command, folder, n_nodes)
    started = time.monotonic()
    if _begin(nodes, command, folder):
        begun = time.monotonic()
        nodes.wait_until(lambda: time.monotonic() - begun > moment)
    if nodes.are_over or (folder / _DONE.get(command.name, "out/run/slides.csv")).exists():
        nodes.wait()
        return nodes, ""
    strike(nodes, n_workers)
    return nodes, f"after {time.monotonic() - started:.1f} s, {moment:.1f} s of work, with {n_workers} processes"


def _length_file(ground: Ground, command: Command) -> Path:
    return ground.folder / f"{command.name.replace(' ', '_')}.length"


def _begin(nodes: Nodes, command: Command, folder: Path) -> bool:
    name = _BEGUN.get(command.name, "out")
    return nodes.wait_until(lambda: (folder / name).exists() and any(folder.glob("out/*")))


def _judged(
    ground: Ground, command: Command, folder: Path, nodes: Nodes, what: str, said: str, of: tuple[int, ...] = (0, 1)
) -> Outcome:
    statuses = nodes.wait()
    if any(statuses[node] for node in of):
        return Outcome(f"ended with {statuses}", False, f"{said}: {nodes.said()[-_SAID:]}")
    differences = ground.differences(command, folder)
    if command.name == "train":
        unbroken = ground.unbroken(command)
        differences = [each for each in differences if not _is_rounding(each, unbroken / "out", folder / "out")]
    return as_unbroken(differences, what, int(bool(said)), said)


def _is_rounding(difference: Difference, first: Path, second: Path) -> bool:
    """Training adds up what its processes have found in another order.

    Of checkpoints, what is exported is compared: the student's keys have a bias without a gradient, which drifts.
    """
    if difference.path.endswith(".pt") and not difference.path.startswith("model/"):
        return True
    if difference.item.endswith("sha256"):
        return True
    if difference.path == _HISTORY:
        one, other = (_column(folder / _HISTORY, difference.item) for folder in (first, second))
        return len(one) == len(other) and np.allclose(one, other, _TOLERANCE, _TOLERANCE, equal_nan=True)
    return difference.largest is not None and difference.largest < _TOLERANCE


def _column(path: Path, name: str) -> list[float]:
    with path.open(newline="", encoding="utf-8") as file:
        return [float(row[name] or "nan") for row in csv.DictReader(file)]

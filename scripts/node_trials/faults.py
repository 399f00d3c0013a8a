"""What happens to a run over two nodes, and whether its files are those of one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np

from ..fault_trials.commands import BY_NAME, Command
from ..fault_trials.ground import Ground
from ..fault_trials.outcomes import Outcome, as_unbroken
from ..golden_results.compare import Difference
from ..pins.records import read_rows
from .agents import Nodes

_EPOCHS = 8  # so that there are several with prototypes, and time for a kill
_TOLERANCE = 1e-5  # of what is a sum over processes: weights, losses
_HISTORY = "run/history.csv"
_N_SLIDES = 6
_STEPS = {"train": _EPOCHS + 1, "infer": 2 * _N_SLIDES}  # others: a file a slide
_MOST_KILLS = 3
_UNDISTURBED = "as one process"
_SAID = 1500


def _trained_longer(command: Command) -> Command:
    return replace(command, options={**command.options, "max_epochs": _EPOCHS}) if command.name == "train" else command


_NAMES = ("tokenize", "import", "train", "infer", "infer from tokens", "evaluate", "index")
COMMANDS = {name: _trained_longer(BY_NAME[name]) for name in _NAMES}


def nodes_of(command: Command, folder: Path, n_nodes: str = "2") -> Nodes:
    """The command, which goes on with what is there, over two nodes."""
    words = replace(command, run=command.run.replace(" train ", " train multi_gpu_train ")).words(is_again=True)
    return Nodes(words, folder, n_nodes)


def undisturbed(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """Nothing happens."""
    return _judged(ground, command, folder, nodes_of(command, folder), _UNDISTURBED, [])


def agent(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """SIGKILL of the agent that does not hold the rendezvous, one to three times, with its processes or without; it is
    started again."""
    nodes, said = nodes_of(command, folder), list[str]()
    for step in sorted(draw.sample(range(_n_steps(command)), draw.randint(1, _MOST_KILLS))):
        n_workers = draw.choice((0, 2))
        if not _struck(nodes, command, folder, step, draw, partial(nodes.kill, 1, workers=n_workers)):
            break
        said.append(f"at {step} with {n_workers} processes")
        time.sleep(draw.uniform(0, 2))
        nodes.start_again(1)
    if not said or not any(nodes.wait()):
        return _judged(ground, command, folder, nodes, "went on as unbroken", said)
    if not _differences(ground, command, folder):
        return Outcome("its result was there, agents waited for the killed one", True, "; ".join(said), len(said))
    again = nodes_of(command, folder)  # torchrun gives up where an agent is lost while they meet
    return _judged(ground, command, folder, again, "all ended, the same command went on as unbroken", said)


def worker(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """SIGKILL of a process; its agent starts another one."""
    nodes, step, node = nodes_of(command, folder), draw.randrange(_n_steps(command)), draw.randrange(2)
    was = _struck(nodes, command, folder, step, draw, partial(nodes.kill, node, workers=1, agent=False))
    return _judged(ground, command, folder, nodes, "went on as unbroken", [f"at {step} of node {node}"] * was)


def lost(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """SIGKILL of an agent and its processes, which do not come back, with ``--nnodes=1:2``."""
    nodes, step = nodes_of(command, folder, "1:2"), draw.randrange(_n_steps(command))
    was = _struck(nodes, command, folder, step, draw, partial(nodes.kill, 1))
    return _judged(ground, command, folder, nodes, "one node ended it", [f"at {step}"] * was, (0,))


def host(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """SIGKILL of the agent that holds the rendezvous, with its processes or without; the same command again."""
    nodes, step, n_workers = nodes_of(command, folder), draw.randrange(_n_steps(command)), draw.choice((0, 2))
    if not _struck(nodes, command, folder, step, draw, partial(nodes.kill, 0, workers=n_workers)):
        nodes.wait()
        return None
    started = time.monotonic()
    status = nodes.wait()[1]
    said = f"at {step} with {n_workers}; the other ended with {status} after {time.monotonic() - started:.0f} s"
    return _judged(ground, command, folder, nodes_of(command, folder), "the same command went on as unbroken", [said])


FAULTS = {each.__name__: each for each in (undisturbed, agent, worker, lost, host)}


def _struck(nodes: Nodes, command: Command, folder: Path, step: int, draw: Random, strike: Callable[[], None]) -> bool:
    """At a random moment after so many steps; not where all was done before."""
    nodes.wait_until(lambda: _reached(command, folder) >= step)
    time.sleep(draw.uniform(0, 2))
    if nodes.are_over or _reached(command, folder) >= _n_steps(command):
        return False
    strike()
    return True


def _n_steps(command: Command) -> int:
    return _STEPS.get(command.name, _N_SLIDES)


def _reached(command: Command, folder: Path) -> int:
    """How many epochs, the untrained encoder's among them, or files of slides are done."""
    if command.name != "train":
        return sum(1 for _ in folder.glob("out/**/*.h5"))
    path = folder / "out" / _HISTORY
    return path.read_text().count("\n") - 1 if path.exists() else 0


def _judged(
    ground: Ground,
    command: Command,
    folder: Path,
    nodes: Nodes,
    what: str,
    said: list[str],
    of: tuple[int, ...] = (0, 1),
) -> Outcome | None:
    """None where it should have been struck, and was over before."""
    statuses = nodes.wait()
    if any(statuses[node] for node in of):
        return Outcome(f"ended with {statuses}", False, f"{said}: {nodes.said()[-_SAID:]}", len(said))
    if not said and what != _UNDISTURBED:
        return None
    return as_unbroken(_differences(ground, command, folder), what, len(said), "; ".join(said))


def _differences(ground: Ground, command: Command, folder: Path) -> list[Difference]:
    """From the unbroken run, beyond rounding."""
    found = ground.differences(command, folder)
    if command.name == "train":
        unbroken = ground.unbroken(command)
        found = [each for each in found if not _is_rounding(each, unbroken / "out", folder / "out")]
    return found


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
    return [float(row[name] or "nan") for row in read_rows(path)]

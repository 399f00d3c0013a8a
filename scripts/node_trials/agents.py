"""Two agents of torchrun that are this machine, each with two processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ..docs_checking.quick_python import python
from ..fault_trials.commands import ROOT
from ..slurm_chain.cluster import free_ports

_MARK = "SLPD_TRIAL_NODE"
_PATIENCE_S = 400.0  # torchrun's agents wait 300 s for one that does not end with them
_LOOKS_S = 0.02
# Seconds: a node that says nothing for three is lost; one that need not come is waited for as long.
_WAITS = "keep_alive_interval=1,keep_alive_max_attempt=3,last_call_timeout=3"


class Nodes:
    """Agents that run one command; the first one holds the rendezvous. What they say goes to ``<folder>.<node>.log``.

    Args:
        words: behind ``python -m``.
        folder: where they run.
        n_nodes: as torchrun's ``--nnodes``.
        n_processes: of each.
    """

    def __init__(self, words: Sequence[str], folder: Path, n_nodes: str = "2", n_processes: int = 2) -> None:
        self.words, self.folder, self._port = list(words), folder, free_ports(1)[0]
        self._options = [f"--nnodes={n_nodes}", f"--nproc_per_node={n_processes}", "--rdzv-backend=c10d"]
        self._options += [f"--rdzv-endpoint=127.0.0.1:{self._port}", "--rdzv-id=trial"]
        self._options += ["--local-addr=127.0.0.1", "--max-restarts=3", "--monitor-interval=0.2"]
        self._marks = [f"{folder}:{node}" for node in range(2)]
        self._agents = [self._start(node) for node in range(2)]

    def _start(self, node: int) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHON_EXEC": python(), "PYTHONPATH": str(ROOT), _MARK: self._marks[node]}
        environment |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        waits = f"--rdzv-conf={_WAITS},is_host={str(node == 0).lower()}"  # here both could be
        words = [python(), "-m", "torch.distributed.run", *self._options, waits, "-m", *self.words]
        with self.log(node).open("ab") as log:
            return subprocess.Popen(words, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def log(self, node: int) -> Path:
        """What a node says."""
        return self.folder.with_name(f"{self.folder.name}.{node}.log")

    def said(self) -> str:
        """All that the nodes have said."""
        return "".join(self.log(node).read_text(errors="replace") for node in range(2))

    def start_again(self, node: int) -> None:
        """An agent in the place of one that was killed."""
        self._agents[node] = self._start(node)

    def kill(self, node: int, *, workers: int = 2, agent: bool = True) -> None:
        """SIGKILL of an agent, and of so many of its processes at the same moment."""
        processes = self._processes(node)[:workers]
        if agent:
            self._agents[node].kill()
            self._agents[node].wait()
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _processes(self, node: int) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (path / "environ").read_bytes().split(b"\0")
                if f"{_MARK}={self._marks[node]}".encode() in words and any(
                    w.startswith(b"LOCAL_RANK=") for w in words
                ):
                    found.append(int(path.name))
        return sorted(found)

    def wait_until(self, is_so: Callable[[], bool]) -> bool:
        """False where the agents have ended, or it takes too long."""
        started = time.monotonic()
        while not is_so():
            if self.are_over or time.monotonic() - started > _PATIENCE_S:
                return False
            time.sleep(_LOOKS_S)
        return True

    @property
    def are_over(self) -> bool:
        """No agent is at work."""
        return all(agent.poll() is not None for agent in self._agents)

    def wait(self) -> list[int]:
        """The statuses of the agents; those that do not end are killed with all that they have started."""
        self.wait_until(lambda: False)
        for node in range(2):
            if self._agents[node].poll() is None or self._processes(node):
                self.kill(node)
        return [agent.wait() for agent in self._agents]

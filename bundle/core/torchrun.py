"""The processes that torchrun has started for one run: what they tell one another, and how they share work out.

They speak through the store by which torchrun's processes find each other, not in a process group: the code that a
process runs by itself afterwards is that of a run of one process.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from .errors import BundleError
from .places import CONFIGS, ROOT
from .ranks import own_world_size
from .settings import check_folder

_PART = 1 << 20  # bytes of a value at a time: the store takes 8 MiB
_LOOKS_S = 0.05
_PATIENCE_S = 60.0  # for a file that another machine has made: as long as NFS may show what was there before
_PR_SET_PDEATHSIG = 1
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Meeting:
    """Processes of one run, which do the same things with it in the same order.

    Args:
        store: which all of them see, and no run of before has used: a ``torch.distributed.Store``.
        rank: which this one is.
        size: how many there are.

    Attributes:
        hosts: of each process, by rank, for messages; :func:`meet` learns their names.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.rank, self.size, self._store = rank, size, store
        self.hosts = [f"process {number}" for number in range(size)]
        self._numbers = itertools.count()

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank; returns when each has come so far. Plain values, as JSON has them.

        Waits for as long as it takes: torchrun ends processes that wait for one which has failed.
        """
        key = f"slpd/{next(self._numbers)}"
        try:
            self._put(f"{key}/{self.rank}", json.dumps(value, default=_plain).encode())
            found = [json.loads(self._get(f"{key}/{rank}")) for rank in range(self.size)]
            n_done = self._store.add(f"{key}/done", 1)
            while self.rank == 0 and n_done < self.size:  # the store may end with this process
                time.sleep(_LOOKS_S)
                n_done = self._store.add(f"{key}/done", 0)
        except RuntimeError as error:
            raise BundleError(f"{self.hosts[0]} has ended, so this one stops.") from error
        return found

    def queue(self) -> Callable[[], int]:
        """What gives 0, 1, 2, ..., each number to one of the processes that ask."""
        key = f"slpd/{next(self._numbers)}"
        return lambda: int(self._store.add(key, 1)) - 1

    def share_out(
        self, items: Iterable[_T], name: Callable[[_T], str], size: Callable[[_T], float], what: str = "slides"
    ) -> Iterator[tuple[int, _T]]:
        """This process's items, each given when it is asked for, the largest of all first, and how many were before.

        Args:
            items: the same on all processes, in any order.
            name: tells them apart.
            size: how much work they are, about.
            what: they are, for messages.

        Raises:
            BundleError: a process has other items.
        """
        by_name = {name(item): item for item in items}
        order = sorted(by_name, key=lambda each: (-size(by_name[each]), each)) if self.rank == 0 else []
        said = self.gather([_digest(sorted(by_name)), len(by_name), order])
        for rank, (digest, count, _) in enumerate(said):
            if digest != said[0][0]:
                raise BundleError(
                    f"{self.hosts[rank]} sees {count} {what}, {self.hosts[0]} {said[0][1]}, and not the same: every "
                    "machine must see the same folders under the same paths."
                )
        return self._drawn([by_name[each] for each in said[0][2]], self.queue())

    def _drawn(self, items: Sequence[_T], following: Callable[[], int]) -> Iterator[tuple[int, _T]]:
        while (number := following()) < len(items):
            yield number, items[number]

    def insist_on_shared(self, folder: str | Path, what: str, setting: str) -> Path:
        """The folder is there, can be written to, and is the same for all processes; what is in it is seen anew.

        Args:
            folder: made where it is missing, by process 0.
            what: will be written to it, for messages.
            setting: gives it, for messages.

        Raises:
            BundleError: it cannot be written to, or another machine has another folder under its name.
        """
        marker = Path(folder) / f".meeting_{socket.gethostname()}_{os.getpid()}"
        if self.rank == 0:
            check_folder(folder, what, setting)
            marker.touch()
        try:
            marker = marker.with_name(self.gather(marker.name)[0])
            lacking = [rank for rank, sees in enumerate(self.gather(_comes(marker))) if not sees]
        finally:
            if self.rank == 0:
                marker.unlink(missing_ok=True)
        if lacking:
            names = ", ".join(dict.fromkeys(self.hosts[rank] for rank in lacking))
            raise BundleError(
                f"{names} does not see what {self.hosts[0]} writes to {folder}: give a {setting} that lies on a file "
                "system which all machines share, under the same path."
            )
        return check_folder(folder, what, setting)

    def _put(self, key: str, value: bytes) -> None:
        parts = [value[first : first + _PART] for first in range(0, len(value), _PART)]
        for number, part in enumerate(parts):
            self._store.set(f"{key}/{number}", part)
        self._store.set(key, str(len(parts)))

    def _get(self, key: str) -> bytes:
        while not self._store.check([key]):  # and not by waiting in the store, where no signal would be heard
            time.sleep(_LOOKS_S)
        return b"".join(self._store.get(f"{key}/{number}") for number in range(int(self._store.get(key))))


@cache
def meeting() -> Meeting | None:
    """With the other processes of this one's torchrun; None where there are none."""
    if own_world_size() == 1 or "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    import torch.distributed as dist

    store, rank, size = next(dist.rendezvous("env://"))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # which outlives processes that are started again
        if rank == 0 and int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1:
            _log.warning(
                "torchrun's agents share their store with these processes: should one be lost, they will not find "
                "together again. Set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 on every machine (docs/scale.md)."
            )
        store = dist.PrefixStore(f"turn {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    return Meeting(store, rank, size)


def start_together() -> None:
    """At the start of a run: where torchrun has started several processes, all of them run the same code.

    Raises:
        BundleError: they do not; hosts and versions are named.
    """
    if (together := meeting()) is not None:
        _end_with_agent()
        meet(together, _versions())


def meet(together: Meeting, versions: Mapping[str, str]) -> None:
    """Compare the versions of what processes run, and learn the names of their hosts.

    Raises:
        BundleError: they differ.
    """
    said = together.gather({"host": socket.gethostname(), "has": versions})
    together.hosts = [f"process {rank} on {each['host']}" for rank, each in enumerate(said)]
    for rank, each in enumerate(said):
        for name, first in said[0]["has"].items():
            if each["has"].get(name) != first:
                raise BundleError(
                    f"the machines of this run do not have the same {name}: {together.hosts[0]} has {first}, "
                    f"{together.hosts[rank]} has {each['has'].get(name)}. Install the same on all of them."
                )


def _versions() -> dict[str, str]:
    sources = (path for folder in (ROOT / "bundle", CONFIGS) for path in folder.rglob("*"))
    texts = {path.relative_to(ROOT).as_posix(): path for path in sources if path.suffix in (".py", ".yaml")}
    code = hashlib.sha256(b"".join(name.encode() + path.read_bytes() for name, path in sorted(texts.items())))
    return {"code": code.hexdigest()[:12], **{name: version(name) for name in ("torch", "monai", "numpy")}}


def _end_with_agent() -> None:
    """A process whose torchrun was killed would go on, and be in the way of the one that takes its place; on Linux."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def _comes(path: Path) -> bool:
    """Whether a file is there, which another machine may have made just now."""
    until = time.monotonic() + _PATIENCE_S
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(_LOOKS_S)
    return True

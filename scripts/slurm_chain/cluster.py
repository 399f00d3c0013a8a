"""A Slurm of one's own: two nodes that are this machine, for as long as a ``with`` lasts."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
NODES = ("a", "b")
_PATIENCE_S = 60.0
_CONF = """ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=10
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool_%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd_%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd_%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} RealMemory=1000
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} RealMemory=1000
PartitionName=low Nodes=a,b Default=YES PriorityTier=1 MaxTime=10:00:00 State=UP
PartitionName=high Nodes=a,b PriorityTier=10 PreemptMode=OFF MaxTime=10:00:00 State=UP
"""


def missing_programs() -> list[str]:
    """Of Slurm and munge, what this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


@contextmanager
def running(folder: Path, cpus: int) -> Iterator[None]:
    """Start munge, the controller and two nodes; Slurm's commands of this process find them.

    Args:
        folder: theirs, without spaces.
        cpus: of a node.

    Raises:
        RuntimeError: they do not come up; their logs lie in the folder.
    """
    for name in ("munge", "state", *(f"spool_{node}" for node in NODES)):
        (folder / name).mkdir(parents=True, mode=0o755 if name == "munge" else 0o700)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    values = {"folder": folder, "host": socket.gethostname(), "user": getpass.getuser(), "ports": free_ports(3)}
    (folder / "slurm.conf").write_text(_CONF.format(**values, nodes=NODES, cpus=cpus))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n" if Path("/sys/fs/cgroup/cpuset").is_dir() else "")
    os.environ |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    with ExitStack() as held:
        _start(held, folder, "munged", "--foreground", "--force", *(
            f"--{option}={folder / 'munge' / name}"
            for option, name in (("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"),
                                 ("seed-file", "seed"))
        ))  # fmt: skip
        _start(held, folder, "slurmctld", "-D", "-c")
        for node in NODES:
            _start(held, folder, "slurmd", "-D", "-N", node)
        held.callback(_end_jobs)
        wait_until(lambda: asked("sinfo", "-h", "-p", "low", "-t", "idle", "-o", "%D").strip() == "2", "two idle nodes")
        yield


def free_ports(count: int) -> list[int]:
    """Of this machine, at the moment."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _start(held: ExitStack, folder: Path, *words: str) -> None:
    said = held.enter_context((folder / f"{words[0]}_{len(list(folder.glob('*.out')))}.out").open("w"))
    process = subprocess.Popen(words, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
    held.callback(end, process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Tell it to end, and kill it where it does not."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
        return
    process.kill()
    process.wait()


def _end_jobs() -> None:
    with suppress(RuntimeError):
        asked("scancel", "--user", getpass.getuser())
        wait_until(lambda: not asked("squeue", "--noheader").strip(), "the end of all jobs")


def asked(*words: str) -> str:
    """What a command says; empty where it fails."""
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def wait_until(is_so: Callable[[], object], what: str, patience_s: float = _PATIENCE_S) -> float:
    """Look some times a second; seconds that it took.

    Raises:
        RuntimeError: it has not come in time.
    """
    started = time.monotonic()
    while not is_so():
        if time.monotonic() - started > patience_s:
            raise RuntimeError(f"waited {patience_s:.0f} s for {what}")
        time.sleep(0.2)
    return time.monotonic() - started

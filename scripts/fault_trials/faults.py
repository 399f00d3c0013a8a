"""The faults: each strikes a command once or a few times, then the same command goes on, undisturbed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from .commands import Command
from .ground import Ground, files_of
from .outcomes import Outcome, as_unbroken, message_of, verdict
from .processes import Ended, Limits, Process

Fault = Callable[[Ground, Command, Random, Path], Outcome | None]
_MOST_KILLS = 5
_LISTED = "slides have a row"  # of the table, says a command that knows which slides there are
_UNSEEN = "gone before it was opened: as if it had not been there"
_EARLY = 0.6  # of a run, in which a second one comes
_LONG = 900.0  # seconds that no run takes


def _ended(ground: Ground, command: Command, folder: Path, what: str, n: int = 1, before: str = "") -> Outcome:
    """The same command again: it ends, with the files of an unbroken run."""
    again = ground.run(command, folder, is_again=True)
    if again.status:
        bad = verdict(again)
        return Outcome(f"{what}, then {bad.kind}", False, f"{before} {bad.detail}".strip(), n)
    return as_unbroken(ground.differences(command, folder), what, n, before)


def kill(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """SIGKILL of the whole process group, one to five times, at random moments or before random changes of files."""
    seconds, n_changes = ground.length(command)
    moments, n_kills = [], 0
    for start in range(draw.randint(1, _MOST_KILLS)):
        is_change = n_changes > 0 and draw.random() < 0.5
        limits = Limits(die_at=draw.randint(1, n_changes) if is_change else 0)
        moment = _LONG if is_change else draw.uniform(0.0, seconds)
        ended = ground.start(command, folder, start > 0, limits).wait(moment)
        moments.append(f"change {limits.die_at}" if is_change else f"{moment:.3f} s")
        if ended.status != -signal.SIGKILL:  # it was quicker, having less to do
            if ended.status:
                return Outcome("killed, then " + verdict(ended).kind, False, message_of(ended), n_kills)
            break
        n_kills += 1
    if not n_kills:
        return None
    return _ended(ground, command, folder, "went on as unbroken", n_kills, f"killed at {', '.join(moments)}")


def _damage(ground: Ground, command: Command, draw: Random, folder: Path, strike: Callable[[Path], str]) -> Outcome:
    """A file of the input is damaged before the run, and whole again for the next one."""
    name = draw.choice(files_of(folder, command.damaged or list(command.needs)))
    where = f"{name} {strike(folder / 'in' / name)}"
    return _judged(ground, command, folder, name, where, ground.run(command, folder))


def _judged(ground: Ground, command: Command, folder: Path, name: str, where: str, first: Ended) -> Outcome:
    """A run one of whose files was not what it had been, and the next one, with the file as it was."""
    path = folder / "in" / name
    found = verdict(first, [path.name, path.stem, name])
    what = "named, refused"
    if not found.is_good:
        return Outcome(found.kind, False, f"{where}: {found.detail}")
    if found.kind == "finished":
        if not ground.differences(command, folder):
            return Outcome("no harm: files as unbroken", True, where)
        if not _is_named(first, folder, path):
            unseen = not path.exists() and not _mentions(first, folder, path)
            kind = _UNSEEN if unseen else "finished, OTHER FILES, unnamed"
            return Outcome(kind, unseen, where)
        what = "named, left out"
        if command.resume or command.grows:  # complete without that slide, or otherwise arranged when it comes later
            return Outcome(what, True, where)
    ground.restore(command, folder, name)
    return _ended(ground, command, folder, f"{what}; with the file whole as unbroken", 1, where)


def _mentions(ended: Ended, folder: Path, path: Path) -> list[str]:
    """Lines that name a file, in what a command says and in its tables."""
    texts = [ended.said, *(p.read_text(errors="replace") for p in (folder / "out").rglob("*.csv"))]
    return [line.lower() for text in texts for line in text.splitlines() if path.stem in line]


def _is_named(ended: Ended, folder: Path, path: Path) -> bool:
    words = ("fail", "damage", "left out", "problem", "cannot")
    return any(word in line for line in _mentions(ended, folder, path) for word in words)


def truncate(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome:
    """A file of the input ends at a random byte."""

    def strike(path: Path) -> str:
        n = draw.randrange(path.stat().st_size)
        os.truncate(path, n)
        return f"cut at byte {n}"

    return _damage(ground, command, draw, folder, strike)


def flip(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """A bit of a file of the input flips: tokens, embeddings, weights, an index; slides have no checksums."""
    if command.damaged is None:
        return None

    def strike(path: Path) -> str:
        place, bit = draw.randrange(path.stat().st_size), draw.randrange(8)
        before = path.stat()
        with path.open("r+b") as file:
            file.seek(place)
            value = file.read(1)[0]
            file.seek(place)
            file.write(bytes([value ^ 1 << bit]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return f"bit {bit} of byte {place}"

    return _damage(ground, command, draw, folder, strike)


def vanish(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """A file of the input is removed after the command has listed its slides, and is there again for the next one."""
    name, later = draw.choice(files_of(folder, list(command.needs))), draw.uniform(0.0, ground.length(command)[0] / 2)
    path, process = folder / "in" / name, ground.start(command, folder)
    listed: list[float] = []

    def remove(took: float) -> bool:
        if not listed and _LISTED in process.said():
            listed.append(took)
        if listed and took > listed[0] + later:
            path.unlink(missing_ok=True)
        return False

    first = process.wait(_LONG, remove)
    return None if path.exists() else _judged(ground, command, folder, name, f"{name} {later:.3f} s later", first)


def two_runs(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """The command twice at once in one folder: the second is told who the first is, or helps; files as unbroken."""
    first = ground.start(command, folder)
    moment = draw.uniform(0.0, ground.length(command)[0] * _EARLY)
    log = folder.with_name(f"{folder.name}.second.log")
    told: list[Ended] = []

    def intrude(took: float) -> bool:
        if told or took < moment or not _is_held(folder, command):
            return False
        first.stop()  # it cannot end before the second one has been told
        if _is_held(folder, command):
            told.append(ground.start(command, folder, bool(command.resume), log=log).wait(_LONG))
        os.killpg(first.pid, signal.SIGCONT)
        return False

    def join(took: float) -> bool:
        if took >= moment and not others:
            others.append(ground.start(command, folder, log=log))
        return False

    others: list[Process] = []
    ended = first.wait(_LONG, intrude if command.locks else join)
    if ended.status:
        return Outcome("the first one failed", False, message_of(ended))
    if others and (second := others[0].wait(_LONG)).status:
        return Outcome("the second one failed", False, message_of(second))
    if not told:
        return as_unbroken(ground.differences(command, folder), "both end, as unbroken") if others else None
    found = verdict(told[0], [f"process {first.pid} on {socket.gethostname()}"])
    if found.kind != "refused, named":
        return Outcome(f"the second: {found.kind}", False, message_of(told[0]))
    what = "the second refused with host and process, the first as unbroken"
    return as_unbroken(ground.differences(command, folder), what)


def _is_held(folder: Path, command: Command) -> bool:
    """As the system lists locks: to try would be to hold one for a moment."""
    locks = Path("/proc/locks").read_text()
    found = (folder / str(command.locks)).glob(".*.lock")
    with suppress(FileNotFoundError):  # the last one to leave removes it
        return any(f":{path.stat().st_ino} " in locks for path in found)
    return False


def _limited(ground: Ground, command: Command, folder: Path, limits: Limits, names: list[str], where: str) -> Outcome:
    """A run within limits ends, or is refused with a message; without them the same command goes on."""
    found = verdict(ground.run(command, folder, limits=limits), names)
    if not found.is_good:
        return Outcome(found.kind, False, f"{where}: {found.detail}")
    if found.kind == "finished" and not ground.differences(command, folder):
        return Outcome("room enough: as unbroken", True, where)
    what = "told" if found.kind != "finished" else "told of slides"
    return _ended(ground, command, folder, f"{what}; with room: as unbroken", 1, where)


def large_files(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome:
    """No file may be larger than a random size (``ulimit -f``), as where a quota is used up."""
    sizes = [path.stat().st_size for path in (ground.unbroken(command) / "out").rglob("*") if path.is_file()]
    most = draw.randint(1, max(sizes) - 1)
    return _limited(ground, command, folder, Limits(file_bytes=most), [], f"{most} bytes")


def memory(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome:
    """Address space for a random amount more than Python with its libraries begins with."""
    most = int(2 ** draw.uniform(24, 28))
    return _limited(ground, command, folder, Limits(more_bytes=most), [], f"{most >> 20} MiB more")


def clock(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome:
    """The clock jumps by up to ten years, back or forth, while the run goes on; it is killed; files get odd times."""
    _, n_changes = ground.length(command)
    jump = draw.choice((-1, 1)) * 10 ** draw.uniform(2, 8.5)
    limits = Limits(die_at=draw.randint(3, max(3, n_changes)), clock_s=jump)
    ended = ground.start(command, folder, limits=limits).wait(_LONG)
    if ended.status not in (0, -signal.SIGKILL):
        return Outcome(verdict(ended).kind, False, message_of(ended))
    for path in (folder / "out").rglob("*"):
        when = time.time() + draw.choice((-1, 1)) * 10 ** draw.uniform(2, 8.5)
        if path.is_file():
            os.utime(path, (when, when))
    return _ended(ground, command, folder, "as unbroken", 1, f"{jump:.0f} s")


FAULTS: dict[str, Fault] = {
    "kill": kill,
    "truncate": truncate,
    "flip": flip,
    "vanish": vanish,
    "two_runs": two_runs,
    "large_files": large_files,
    "memory": memory,
    "clock": clock,
}


def strike(ground: Ground, fault: str, command: Command, seed: int, how: Fault) -> Outcome | None:
    """Hold one trial; None: the fault cannot strike this command, or came too late. Its folder is kept if it is bad."""
    draw = Random(f"{fault} {command.name} {seed}")
    folder = ground.trial(command, f"{fault}_{command.name}_{seed}")
    _remove_logs(folder)
    outcome = how(ground, command, draw, folder)
    if outcome is None or outcome.is_good:
        shutil.rmtree(folder, ignore_errors=True)
        _remove_logs(folder)
    return outcome


def _remove_logs(folder: Path) -> None:
    for path in folder.parent.glob(f"{folder.name}.*"):
        path.unlink()

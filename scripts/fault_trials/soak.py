"""Long runs: what a process holds of memory, files, threads and shared memory, early on and at the end."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

from .commands import Command
from .processes import Process

_LONGEST_S = 3600.0
_EVERY_S = 0.25
_SLIDES = 50


class Held(NamedTuple):
    """By a process at a time: MiB of resident memory, open files, threads, entries of /dev/shm, its own processes."""

    mib: float
    files: int
    threads: int
    shared: int
    children: int


class SoakError(Exception):
    """A long run failed."""


def run(folder: Path, n_reads: int, n_regions: int, n_epochs: int) -> int:
    """Hold the three runs, print and keep their table; 1 where one of them failed."""
    folder = folder.resolve() / "soak"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found: dict[str, dict[str, Any]] = {}
    try:
        _watched(["scripts.fault_trials.reads", "make", "in/tokens", str(_SLIDES), str(n_regions // _SLIDES)], folder)
        _watched(["scripts.fault_trials.reads", "make", "in/few", "6", "8"], folder)
        for title, words in _runs(n_reads, n_epochs).items():
            title = title.format(reads=n_reads, regions=n_regions // _SLIDES * _SLIDES, epochs=n_epochs)
            found[title] = _watched(words, folder)
            print(title, found[title], flush=True)
    except SoakError as error:
        print(f"Stopped: {error}")
        return 1
    (folder.parent / "soak.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    return 0


def _runs(n_reads: int, n_epochs: int) -> dict[str, list[str]]:
    small = {"out_dim": 64, "hidden_dim": 16, "bottleneck_dim": 8, "embed_dim": 24, "depth": 1, "n_heads": 3}
    train = Command(
        "train",
        {
            **{"dataset_dir": "in/few", "output_dir": "out/train", "model_path": "out/model.pt", **small, "n_local": 2},
            **{"max_epochs": n_epochs, "batch_size": 24, "n_prototypes": 2, "prototype_warmup_epochs": 2},
            **{"num_workers": 2, "cache": "none", "checkpoint_interval": 50, "lr_warmup_epochs": 1},
        },
        {},
        run="training train",
    )
    ids = {"dataset_dir": "in/tokens", "output_dir": "out/inference", "region_encoder_ckpt": "out/model.pt"}
    return {
        "{epochs:,} epochs of training, two reading processes": train.words(),
        "{regions:,} regions through inference": Command("infer", ids, {}, run="inferring inference").words(),
        "{reads:,} reads of the token store": ["scripts.fault_trials.reads", "read", "in/tokens", str(n_reads)],
    }


def _watched(words: list[str], folder: Path) -> dict[str, Any]:
    """Run to the end and look at the process meanwhile: a quarter of the way, at the end, and at most."""
    shared = _n_shared()
    seen: list[Held] = []
    last = [0.0]
    process = Process(words, folder, log=folder / "said.log")

    def look(took: float) -> bool:
        if took - last[0] > _EVERY_S:
            last[0] = took
            held = _held(process.pid)
            if held is not None:
                seen.append(held)
        return False

    ended = process.wait(_LONGEST_S, look)
    if ended.status:
        raise SoakError(f"{' '.join(words)} ended with {ended.status}:\n{ended.said[-2000:]}")
    time.sleep(_EVERY_S)
    if len(seen) < 8:
        return {"seconds": ended.seconds}
    early, late = seen[len(seen) // 4], seen[-2]
    return {
        "seconds": round(ended.seconds, 1),
        "MiB at tenths": [seen[min(len(seen) * tenth // 10, len(seen) - 2)].mib for tenth in range(1, 11)],
        "a quarter of the way": early._asdict(),
        "at the end": late._asdict(),
        "at most": {name: max(getattr(held, name) for held in seen) for name in Held._fields},
        "shared memory before and after": [shared, _n_shared()],
    }


def _held(pid: int) -> Held | None:
    """None for a process that has ended."""
    own = Path("/proc") / str(pid)
    try:
        status = dict(line.split(":", 1) for line in (own / "status").read_text().splitlines())
        children = (own / "task" / str(pid) / "children").read_text().split()
        return Held(
            round(int(status["VmRSS"].split()[0]) / 1024, 1),
            len(os.listdir(own / "fd")),
            int(status["Threads"]),
            _n_shared(),
            len(children),
        )
    except (OSError, KeyError):
        return None


def _n_shared() -> int:
    return len(os.listdir("/dev/shm")) if Path("/dev/shm").is_dir() else 0


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: a line for each run."""
    columns = ["run", "seconds", "MiB: a quarter of the way / at the end / at most", "open files, as before", "threads"]
    lines = [f"| {' | '.join([*columns, '/dev/shm before / after'])} |", "|---|---|---|---|---|---|"]
    for title, run_ in found.items():
        moments = [run_["a quarter of the way"], run_["at the end"], run_["at most"]]
        cells = [" / ".join(str(moment[name]) for moment in moments) for name in ("mib", "files", "threads")]
        before, after = run_["shared memory before and after"]
        lines.append(f"| {title} | {run_['seconds']:.0f} | {' | '.join(cells)} | {before} / {after} |")
    return "\n".join(lines) + "\n"

"""``python -m scripts.slurm_chain``: the chain on a real Slurm with what goes wrong there, and the same without."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from bundle.demo.demo_slides import make_demo_slides

from ..pins.records import read_rows
from .cluster import asked, missing_programs, running, wait_until
from .sameness import differences

ROOT = Path(__file__).resolve().parents[2]
_wait = partial(wait_until, patience_s=1200.0)
_PLAN = """work_dir: {work}
slides: slides
slide_table: slides/slide_table.csv
label: label
ids:
  patch_encoder_ckpt: {encoder}
  mpp: 4
  patch_size: 32
  tokenize.batch_size: 256
  tokenize.min_tissue_patches: 128
slurm: {{partition: low, cpus: 1, time: 30}}
tokenize: {{tasks: 2}}
train: {{with: demo_train, nproc: {processes}, time: {minutes}, notice: {notice}, ids: {{max_epochs: {epochs}}}}}
evaluate: {{ids: {{protocols: [knn], n_folds: 2, train_fractions: [1.0]}}}}
infer: {{tasks: 2}}
"""


def main() -> int:
    """Try it; 1 where the two chains differ, or something did not come as it should."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # its Slurm ends with it
    if missing := missing_programs():
        print(f"SKIPPED: this machine has no {', '.join(missing)} (Debian: slurm-wlm); nothing was tried")
        return 0
    with tempfile.TemporaryDirectory(prefix="slurm_trial_") as made:
        folder = options.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        with running(Path(made) / "slurm", cpus=2):
            return _Trial(folder, options).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/slurm_trial", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where things are made, and stay; none: they go at the end")
    parser.add_argument("--slides", type=int, default=8, help="drawn slides")
    parser.add_argument("--epochs", type=int, default=30, help="of training, which is to be interrupted meanwhile")
    parser.add_argument("--processes", type=int, default=1, help="of training")
    parser.add_argument(
        "--time_limit", action="store_true", help="turns of training end by their time, of three minutes"
    )
    return parser


class _Trial:
    """A chain on Slurm and one without, in one folder."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.work = folder / "by slurm"
        self.history = self.work / "eval" / "slpd" / "history.csv"

    def run(self) -> int:
        make_demo_slides(self.folder / "slides", n_slides=self.options.slides, seed=1, mpp=4.0)
        self._write_plan("plan.yaml", "by slurm")
        _slpd(self.folder, "slurm", "plan.yaml")
        jobs = self._jobs()
        _slpd(self.folder, "slurm", "plan.yaml", "--again")
        assert self._jobs() == jobs, "a chain that is at work was submitted once more"
        asked("scancel", jobs["evaluate"]["jobs"]["0"])
        train = jobs["train"]["jobs"]["0"]
        if self.options.time_limit:
            _wait(lambda: "turn 2" in self._log(train), "a second turn of training")
        else:
            self._interrupt(train)
        _wait(lambda: not asked("squeue", "--noheader").strip(), "the end of all jobs")
        assert _slpd(self.folder, "slurm", "plan.yaml", status=1).count("gone cancelled") == 1, (
            "the cancelled step alone is missing"
        )
        _slpd(self.folder, "slurm", "plan.yaml", "--again")
        _wait(lambda: not asked("squeue", "--noheader").strip(), "the end of the step that was cancelled")
        print(_slpd(self.folder, "slurm", "plan.yaml"))
        turns = [line for line in self._log(train).splitlines() if line.startswith("slpd slurm: ")]
        print("\n".join(turns))
        return self._compare()

    def _interrupt(self, train: str) -> None:
        """A turn ends by SIGUSR1, as it comes before the end of the time; the next one by a job that is preferred."""
        _wait(lambda: self._epochs() >= 3, "training")
        asked("scancel", "--batch", "--signal=USR1", train)
        took = _wait(lambda: "is over; it goes on" in self._log(train), "training to save")
        print(f"SIGUSR1 after epoch {self._epochs()}: saved, and asked for another turn, in {took:.1f} s")
        took = _wait(lambda: "turn 2" in self._log(train), "a second turn")
        reached = self._epochs()
        _wait(lambda: self._epochs() > reached + 4, "training to go on")
        asked("sbatch", "--partition=high", "--nodes=2", "--ntasks=4", "--time=1", f"--output={self.folder / 'urgent'}",
              "--wrap=sleep 3")  # fmt: skip
        took = _wait(lambda: "DUE TO PREEMPTION" in self._log(train), "the preferred job")
        print(f"preempted after epoch {self._epochs()}, {took:.1f} s after the preferred job came")
        _wait(lambda: "turn 3" in self._log(train), "a third turn")

    def _compare(self) -> int:
        print("the same commands without Slurm", flush=True)
        alone = self.folder / "alone"
        self._write_plan("alone.yaml", "alone")
        started = time.monotonic()
        for job in self._jobs().values():
            _slpd(self.folder, *(word.replace(str(self.work), str(alone)) for word in job["command"]))
        print(f"took {time.monotonic() - started:.0f} s")
        found = differences(self.work, alone)
        print("\n".join(f"{'same' if not what else 'DIFFERENT: ' + what}  {name}" for name, what in found.items()))
        return int(any(found.values()))

    def _write_plan(self, name: str, work: str) -> None:
        values = {"work": work, "encoder": ROOT / "models" / "demo_patch_encoder.pt", "epochs": self.options.epochs}
        values |= {"processes": self.options.processes, "minutes": 3 if self.options.time_limit else 30}
        values["notice"] = 60 if self.options.time_limit else 120
        (self.folder / name).write_text(_PLAN.format(**values))

    def _jobs(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = json.loads((self.work / "slurm" / "jobs.json").read_text())
        return found

    def _log(self, train: str) -> str:
        path = self.work / "slurm" / f"train_{train}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _epochs(self) -> int:
        if not self.history.exists():
            return 0
        return max(0, len(read_rows(self.history)) - 1)  # the first row is of the untrained encoder


def _slpd(folder: Path, *words: str, status: int = 0) -> str:
    done = subprocess.run([str(ROOT / "scripts" / "slpd"), *words], cwd=folder, capture_output=True, text=True)
    if done.returncode != status:
        raise RuntimeError(f"slpd {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())

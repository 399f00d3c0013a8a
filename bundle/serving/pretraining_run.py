"""SLPD pre-training as an app starts it: the bundle's own commands, one after the other."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ..core import BundleError, as_bool, as_number, as_whole, read_json_file, write_text
from ..networks import read_weights
from ..prototypes import never_begins
from ..slides import find_slides
from .label_settings import TOKEN_IDS, LabelSettings
from .studies import follow

_TRAIN_IDS = ("slide_table", "device", "amp", "n_prototypes", "min_regions", "seed")
_RANGES = {
    "max_epochs": (1, 100_000),
    "batch_size": (1, 1_000_000),
    "n_prototypes": (1, 10_000),
    "min_regions": (1, 1_000_000_000),
    "prototype_warmup_epochs": (0, 1_000_000),
    "seed": (0, 2**53),
}
_TOKENS = "tokens"  # in a run's folder: links to the token files that it trains on
_LAST_WORDS = 12


class PretrainingRun:
    """Tokenizes the studies and trains on them, in processes of their own.

    Every start makes a run folder (``work_dir/training/run_001``, ...); ``resume`` goes on in the last one. Finished
    token files are used again. The model replaces the served one when training is complete, in one step.

    Args:
        settings: weights, folders, configs.
        slides: folder of slides.
    """

    def __init__(self, settings: LabelSettings, slides: Path) -> None:
        self.settings, self.slides = settings, slides
        self.folder = settings.work_dir / "training"

    def start(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run to the end.

        Args:
            request: ``max_epochs`` and other numbers of ``configs/train.yaml``; ``pretrained`` (start from the model
                that is served), ``resume`` (go on with the last run).

        Returns:
            What :meth:`progress` then says.

        Raises:
            BundleError: a step failed.
        """
        resumes = as_bool(request.get("resume"))
        run = self._run_folder(resumes)
        commands = {"tokenizing": self.tokenizing(run), "training": self.training(request, run, resumes)}
        warning = self.warning(request)  # before the run has a folder: from then on clients see its state
        if warning:
            print(f"slpd: {warning}", flush=True)
        run.mkdir(parents=True, exist_ok=True)
        note: dict[str, Any] = {}
        for state, command in commands.items():
            note = {"state": state, "max_epochs": request.get("max_epochs")} | ({"warning": warning} if warning else {})
            self._note(run, note)
            print(f"slpd: {state} ({run.name})", flush=True)
            try:
                if state == "training":
                    self._choose_tokens(run)
                self._follow(command)
            except BundleError as error:
                self._note(run, {**note, "state": "failed", "error": str(error)})
                raise
        self._note(run, {**note, "state": "done"})
        print(f"slpd: done, the new model is {self.settings.trained_region_encoder}", flush=True)
        return self.progress()

    def tokenizing(self, run: Path) -> list[str]:
        """The command that makes token files of slides that have none."""
        given = {name: self.settings.how[name] for name in TOKEN_IDS if name in self.settings.how}
        return self._command(
            "tokenizing",
            [self.settings.bundle_root / "configs" / "tokenize.yaml"],
            {
                "dataset_dir": self.slides,
                "tokens_dir": self.settings.tokens_dir,
                "output_dir": run / "tokenize",
                "patch_encoder_ckpt": self.settings.patch_encoder_ckpt,
                **given,
            },
        )

    def training(self, request: Mapping[str, Any], run: Path, resumes: bool) -> list[str]:
        """The command that trains.

        Raises:
            BundleError: a number in the request is none.
        """
        given = {name: self.settings.reading[name] for name in _TRAIN_IDS if name in self.settings.reading}
        asked = _numbers(request)
        if resumes:
            asked |= _as_begun(run / "last.pt")
        if as_bool(request.get("pretrained")) and not resumes:
            asked["region_encoder_ckpt"] = self.settings.region_encoder_ckpt
        return self._command(
            "training",
            self.settings.train_configs,
            {
                "dataset_dir": run / _TOKENS,
                "output_dir": run,
                "model_path": self.settings.trained_region_encoder,
                "slides_dir": self.slides,
                "resume": str(resumes).lower(),
                **given,
                **asked,
            },
        )

    def warning(self, request: Mapping[str, Any]) -> str:
        """Why the run will be plain DINO, as a viewer's few epochs make it; empty: it will not be."""
        ids = ConfigParser.load_config_files([str(path) for path in self.settings.train_configs]) | _numbers(request)
        return never_begins(ids["max_epochs"], ids["prototype_warmup_epochs"])

    def _choose_tokens(self, run: Path) -> None:
        """Link the token files of the slides that are in the studies now; uploads and former slides have some, too.

        Raises:
            BundleError: no slide has a token file.
        """
        tokens = [self.settings.tokens_dir / f"{slide.slide_id}.h5" for slide in find_slides(self.slides)]
        present = {path.name: path for path in tokens if path.is_file()}
        follow(run / _TOKENS, present)
        if not present:
            raise BundleError(
                f"no slide of {self.slides} has tokens in {self.settings.tokens_dir}: see {run}/tokenize."
            )

    def progress(self) -> dict[str, Any]:
        """``state`` of the last run (tokenizing, training, done, failed) and the last line of its history."""
        runs = self._runs()
        if not runs:
            return {}
        try:
            found = read_json_file(runs[-1] / "progress.json")
        except (OSError, ValueError):
            return {"run": runs[-1].name}
        history = _last_line(runs[-1] / "history.csv")
        return {"run": runs[-1].name, **found, "epoch": int(float(history.get("epoch", 0))), "last_epoch": history}

    def _runs(self) -> list[Path]:
        return sorted(self.folder.glob("run_[0-9][0-9][0-9]"))

    def _run_folder(self, resumes: bool) -> Path:
        runs = self._runs()
        if resumes and runs:
            return runs[-1]
        number = int(runs[-1].name[-3:]) + 1 if runs else 1
        return self.folder / f"run_{number:03d}"

    def _note(self, run: Path, note: Mapping[str, Any]) -> None:
        write_text(run / "progress.json", json.dumps(note))

    def _command(self, run_id: str, configs: Sequence[Path], ids: Mapping[str, Any]) -> list[str]:
        files = str([str(path) for path in configs]) if len(configs) > 1 else str(configs[0])
        arguments = [word for name, value in ids.items() for word in (f"--{name}", str(value))]
        root = ["--bundle_root", str(self.settings.bundle_root)]
        return [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", files, *root, *arguments]

    def _follow(self, command: Sequence[str]) -> None:
        """Run a command, hand its lines on, keep the last of them for the error."""
        last: deque[str] = deque(maxlen=_LAST_WORDS)
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.settings.bundle_root,
            env=_plain_environment(),
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip():
                    last.append(line.rstrip())
                    print(line.rstrip(), flush=True)
        if process.returncode:
            raise BundleError(f"{command[4]} ended with code {process.returncode}; its last words:\n" + "\n".join(last))


def _as_begun(checkpoint: Path) -> dict[str, Any]:
    """What a run took over from the weights that it began with, which it does not read again when it is resumed."""
    identity = read_weights(checkpoint).get("identity", {}) if checkpoint.is_file() else {}
    return {name: identity[name] for name in ("mask_missing", "standardize_tokens") if name in identity}


def _numbers(request: Mapping[str, Any]) -> dict[str, Any]:
    """Ids of training in a request, as numbers: text would reach MONAI, which evaluates what begins with ``$``."""
    given = {name: value for name, value in request.items() if value not in (None, "")}
    numbers: dict[str, Any] = {}
    for name, (low, high) in _RANGES.items():
        if name in given:
            numbers[name] = as_whole(given[name], name, low)
            as_number(numbers[name], name, low, high)
    if "lr" in given:
        numbers["lr"] = as_number(given["lr"], "lr", 0, 1000)
    return numbers


def _plain_environment() -> dict[str, str]:
    """Without the app's folders on Python's path: another bundle's package must not stand before this one's."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _last_line(path: Path) -> dict[str, str]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return {}
    return rows[-1] if rows else {}

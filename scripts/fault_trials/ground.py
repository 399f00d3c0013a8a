"""Where trials are held: a small cohort, every command's unbroken result, folders for trials, comparing with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..golden_results.compare import Difference, compare_folders
from ..golden_results.rules import fits
from ..golden_results.steps import option_words
from ..pins.foreign_features import random_slide
from ..pins.records import made_once
from .commands import BY_NAME, ROOT, Command
from .processes import FREE, Ended, Limits, Process

_ONE_TIME = 1_000_000_000  # seconds since 1970, of all files of the ground: what is keyed by times then agrees
_RULES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text(encoding="utf-8"))
_LONGEST_S = 900.0
_NOT_STRUCK = (".csv", ".json", ".npz")  # say what they say, whatever it is; copies of embeddings that no command reads


class GroundError(Exception):
    """A command does not run where nothing was broken."""


class Ground:
    """A folder: ``slides`` and ``features``, drawn once, ``<command>`` with each one's unbroken result, ``trials``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        (self.folder / "trials").mkdir(parents=True, exist_ok=True)

    def source(self, what: str) -> Path:
        """Of an entry of a command's ``needs``; made where it is missing."""
        if what == "demo":
            return made_once(self.folder / "patch_encoder", _copy_encoder)
        if what in ("slides", "features"):
            return made_once(self.folder / what, _draw_slides if what == "slides" else _draw_features)
        name, _, place = what.partition("/")
        return self.unbroken(BY_NAME[name]) / "out" / place

    def unbroken(self, command: Command) -> Path:
        """The folder of a command's run that nobody disturbed.

        Raises:
            GroundError: it failed.
        """
        folder = self.folder / command.name.replace(" ", "_")
        if not (folder / "ended").exists():
            shutil.rmtree(folder, ignore_errors=True)
            self.prepare(command, folder)
            print(f"  unbroken: {command.name}", flush=True)
            ended = self.start(command, folder, log=folder / "said.log").wait(_LONGEST_S)
            if ended.status:
                raise GroundError(f"{command.name} ended with {ended.status}:\n{ended.said[-3000:]}")
            _age(folder)
            (folder / "ended").write_text(f"{ended.seconds:.3f} {ended.n_changes}\n")
        return folder

    def length(self, command: Command) -> tuple[float, int]:
        """Seconds and changes of files of the unbroken run."""
        seconds, n_changes = (self.unbroken(command) / "ended").read_text().split()
        return float(seconds), int(n_changes)

    def prepare(self, command: Command, folder: Path) -> Path:
        """A folder for a run, with copies of all that it reads."""
        shutil.rmtree(folder, ignore_errors=True)
        for name, what in command.needs.items():
            source, place = self.source(what), folder / "in" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, place) if source.is_dir() else shutil.copy2(source, place)
        (folder / "out").mkdir()
        return folder

    def restore(self, command: Command, folder: Path, name: str) -> None:
        """A file below ``in`` as it was, its time as well."""
        top = next(top for top in command.needs if name == top or name.startswith(f"{top}/"))
        shutil.copy2(self.source(command.needs[top]) / name[len(top) + 1 :], folder / "in" / name)

    def trial(self, command: Command, title: str) -> Path:
        """A fresh folder for a trial."""
        return self.prepare(command, self.folder / "trials" / title.replace(" ", "_"))

    def start(
        self, command: Command, folder: Path, is_again: bool = False, limits: Limits = FREE, log: Path | None = None
    ) -> Process:
        """Start the command in a folder."""
        return Process(command.words(is_again), folder, limits, log)

    def run(self, command: Command, folder: Path, is_again: bool = False, limits: Limits = FREE) -> Ended:
        """Run it to its end."""
        return self.start(command, folder, is_again, limits).wait(_LONGEST_S)

    def differences(self, command: Command, folder: Path) -> list[Difference]:
        """What a trial has made otherwise than the unbroken run; nothing temporary may be left either."""
        try:
            found = compare_folders(self.unbroken(command) / "out", folder / "out").differences
        except ValueError as error:
            return [Difference(str(folder), "", str(error))]
        return [difference for difference in found if not _is_exempt(difference)]


def files_of(folder: Path, tops: Sequence[str]) -> list[str]:
    """Files below ``in``, in these of its folders, that can be damaged."""
    found = (path for top in tops for path in (folder / "in" / top).rglob("*") if path.is_file())
    named = (path.relative_to(folder / "in").as_posix() for path in found if path.suffix not in _NOT_STRUCK)
    return sorted(name for name in named if not Path(name).name.startswith("."))


def _age(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (_ONE_TIME, _ONE_TIME))


def _is_exempt(difference: Difference) -> bool:
    said = {"files": difference.path, "items": difference.item, "what": difference.what}
    return any(all(fits(text, rule.get(name, ["*"])) for name, text in said.items()) for rule in _RULES)


def _draw_slides(folder: Path) -> None:
    folder.mkdir()
    options = {"output_dir": folder / "out", "n_slides": 6, "regions": 3, "mpp": 4, "seed": 0, "n_workers": 1}
    ended = Process(["bundle.demo", *option_words(options)], folder, log=folder / "said.log").wait(_LONGEST_S)
    if ended.status:
        raise GroundError(ended.said)
    for path in (folder / "out").iterdir():
        path.rename(folder / path.name)
    (folder / "out").rmdir()
    (folder / "said.log").unlink()
    (folder / "said.changes").unlink(missing_ok=True)
    _age(folder)


def _draw_features(folder: Path) -> None:
    for number in range(6):
        random_slide(folder / "features_random" / f"slide_{number}.h5", 32, 16, 0.7, 8, seed=number)
    _age(folder)


def _copy_encoder(folder: Path) -> None:
    folder.mkdir()
    shutil.copy(ROOT / "models" / "demo_patch_encoder.pt", folder / "patch_encoder.pt")
    _age(folder)

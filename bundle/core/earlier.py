"""What a run of other settings, or another run, has left is kept: files step aside before others take their names."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .atomic import link_atomically, write_text
from .errors import BundleError
from .foreign import read_json_file
from .ranks import own_rank

_log = logging.getLogger(__name__)
_RECORD = "settings.json"
_FOLDER = "earlier"


def dated(path: Path) -> Path:
    """The name under which a file is kept, which no other file has: ``model.2026-11-29_2340.pt``, by when it was
    written. Of a file that is kept already, that name."""
    when = _stamp(path)
    names = [f"{path.stem}.{when}{more}{path.suffix}" for more in ("", *(f"_{n}" for n in range(2, 1000)))]
    return next(name for name in map(path.with_name, names) if not name.exists() or _is_same(path, name))


def _is_same(path: Path, kept: Path) -> bool:
    """One file under two names: whoever kept it was killed before another took its name."""
    return path.exists() and path.samefile(kept)


def keep_aside(path: Path, beside: Sequence[str] = (".json",)) -> Path:
    """Give a file a dated name as well, and those beside it that go with it: first the ``.json`` that tells of it.

    The file stays under its own name, too, until another takes that: there is never none.

    Args:
        path: the file.
        beside: how the names of the others end, after the stem of the file's.

    Returns:
        The dated name.

    Raises:
        BundleError: it cannot be done; nothing has changed then.
    """
    aside = dated(path)
    if aside.exists():
        return aside
    others = {path.with_name(path.stem + ending): aside.with_name(aside.stem + ending) for ending in beside}
    for other, kept in others.items():  # first, so that under a dated name nothing is ever alone
        if other.is_file() and other != path:
            link_atomically(other, kept)
    link_atomically(path, aside)
    return aside


class EarlierResults:
    """Before results are written: those of other settings go to ``output_dir/earlier/<date>/``; of the same ones, they
    are replaced. Called as a report, with whatever was found. Of the processes of torchrun the first one does it.

    What results were made with stands in ``output_dir/settings.json``; of results without a word nobody knows, so they
    are kept.

    Args:
        output_dir: the folder of the results.
        what: whose they are: a verb.
        names: of files and folders, as in the folder.
        settings: what they depend on; plain values, anything else counts as its text.
    """

    def __init__(self, output_dir: str | Path, what: str, names: Sequence[str], settings: Mapping[str, Any]) -> None:
        self.output_dir, self.what, self.names = Path(output_dir), what, list(names)
        self.settings = json.loads(json.dumps(settings, default=str))

    def __call__(self, *found: Any) -> Path | None:
        """Make room.

        Returns:
            The folder in which earlier results are now; None where there were none to keep, or another process does
            it.

        Raises:
            BundleError: they cannot be moved, or it cannot be noted what the new ones are made with.
        """
        if own_rank():
            return None
        try:
            aside = self._step_aside()
            self.output_dir.mkdir(parents=True, exist_ok=True)
            record = {**self._recorded(), self.what: self.settings}
            write_text(self.output_dir / _RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise BundleError(
                f"earlier results in {self.output_dir} cannot be kept ({error}): free some space, or choose another "
                "output_dir."
            ) from error
        return aside

    def _step_aside(self) -> Path | None:
        there = {name: path for name in self.names if (path := self.output_dir / name).exists()}
        if not there or self._recorded().get(self.what) == self.settings:
            return None
        when = max(map(_stamp, filter(Path.is_file, there.values())), default="") or max(map(_stamp, there.values()))
        base = self.output_dir / _FOLDER / when
        folder = next(f for n in range(1, 1000) if not (f := base if n == 1 else Path(f"{base}_{n}")).exists())
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in there.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # somebody has removed it meanwhile
                os.replace(path, folder / name)
        _log.info("results of other settings were in %s: they are kept in %s", self.output_dir, folder)
        return folder

    def _recorded(self) -> dict[str, Any]:
        try:
            found = read_json_file(self.output_dir / _RECORD)
        except (OSError, ValueError):  # none, or damaged: nobody knows
            return {}
        return found if isinstance(found, dict) else {}


def _stamp(path: Path) -> str:
    """When it was written; now, where somebody has removed it meanwhile."""
    written_s = time.time()
    with contextlib.suppress(FileNotFoundError):
        written_s = path.stat().st_mtime
    return time.strftime("%Y-%m-%d_%H%M", time.localtime(written_s))

"""Looks that are done, on disk: a line each, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...cohort import SlideRef, SlideRow
from ...core import BundleError, write_text
from .look import Look

_VERSION = 1  # counts changes of what is looked at
_FIELDS = [each.name for each in fields(Look) if each.name != "ref"]


class LookFile:
    """A file of looks; lines are added as slides are done, and one that a kill cut short counts for nothing.

    A look is good as long as the slide's file (bytes, time), its row of the slide table and the settings are the same.
    Slides with a problem are looked at again each time: a disk may have been away.

    Args:
        path: the file; its folder is there.
        settings: all that changes a look.
        is_fresh: forget what is there.

    Raises:
        BundleError: it cannot be written.
    """

    def __init__(self, path: Path, settings: Any, *, is_fresh: bool = False) -> None:
        self.path, self.settings = path, repr((_VERSION, settings))
        self._found = {} if is_fresh else self._read()
        try:  # without lines that were cut short or overtaken
            write_text(path, "".join(json.dumps(each) + "\n" for each in self._found.values()))
        except OSError as error:
            raise self._unwritable(error) from error

    def get(self, ref: SlideRef, row: SlideRow) -> Look | None:
        """The slide's look, if it is still good."""
        found = self._found.get(ref.slide_id)
        if found is None or found.get("problem") or found["key"] != self._key(ref, row):
            return None
        return Look(ref, **{name: found[name] for name in _FIELDS})

    def add(self, look: Look, row: SlideRow) -> None:
        """Keep a look.

        Raises:
            BundleError: the file cannot be written.
        """
        line = {"slide": look.ref.slide_id, "key": self._key(look.ref, row)}
        line |= {name: getattr(look, name) for name in _FIELDS}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _read(self) -> dict[str, dict[str, Any]]:
        found = {}
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return {}
        for line in text.splitlines():
            try:
                values = json.loads(line)
                if {"key", *_FIELDS} <= set(values):
                    found[str(values["slide"])] = values
            except (ValueError, TypeError, KeyError):  # cut short, or of another version
                continue
        return found

    def _key(self, ref: SlideRef, row: SlideRow) -> str:
        """What a look depends on, in short."""
        stamps: list[Any] = [str(ref.relative), ref.section, row.mpp, str(row.roi), self.settings]
        for path in (ref.path, row.roi):
            try:
                stat = None if path is None else path.stat()
                stamps.append(stat and (stat.st_size, stat.st_mtime_ns))
            except OSError as error:
                stamps.append(str(error))
        return hashlib.sha256(repr(stamps).encode()).hexdigest()

    def _unwritable(self, error: OSError) -> BundleError:
        return BundleError(f"{self.path} cannot be written: {error.strerror}. Choose another output_dir.")

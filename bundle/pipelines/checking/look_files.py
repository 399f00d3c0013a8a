"""Looks that are done, on disk: a line each, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...cohort import SlideRef, SlideRow
from ...core import BundleError, parsed_json, write_text
from .look import Look

_VERSION = 1  # counts changes of what is looked at
_FIELDS = [each.name for each in fields(Look) if each.name != "ref"]


class LookFile:
    """A file of looks; lines are added as slides are done, and one that a kill cut short counts for nothing.

    A look is good as long as the slide's file (bytes, time), its row of the slide table and the settings are the same.
    Slides with a problem are looked at again each time: a disk may have been away. Slides that were in work when a
    process died are known by a line of their own, until :meth:`close`.

    Args:
        path: the file; its folder is there.
        settings: all that changes a look.
        is_fresh: forget what is there.

    Raises:
        BundleError: it cannot be written.
    """

    def __init__(self, path: Path, settings: Any, *, is_fresh: bool = False) -> None:
        self.path, self.settings = path, repr((_VERSION, settings))
        self._lock = threading.Lock()
        self._found: dict[str, dict[str, Any]] = {}
        self._deaths: dict[str, list[str]] = {}  # keys of looks that were begun and never done
        if not is_fresh:
            self._read()
        self._write([each for slide_id in self._deaths for each in self._lines_of(slide_id)])

    def get(self, ref: SlideRef, row: SlideRow) -> Look | None:
        """The slide's look, if it is still good."""
        found = self._found.get(ref.slide_id)
        if found is None or found.get("problem") or found["key"] != self._key(ref, row):
            return None
        return Look(ref, **{name: found[name] for name in _FIELDS})

    def deaths(self, ref: SlideRef, row: SlideRow) -> int:
        """How many processes died while they looked at the slide as it is now, with others or alone."""
        return self._deaths.get(ref.slide_id, []).count(self._key(ref, row))

    def begin(self, ref: SlideRef, row: SlideRow) -> None:
        """Note that a slide is in work.

        Raises:
            BundleError: the file cannot be written.
        """
        self._append({"slide": ref.slide_id, "begun": self._key(ref, row)})

    def add(self, look: Look, row: SlideRow) -> None:
        """Keep a look.

        Raises:
            BundleError: the file cannot be written.
        """
        line = {"slide": look.ref.slide_id, "key": self._key(look.ref, row)}
        line |= {name: getattr(look, name) for name in _FIELDS}
        self._found[look.ref.slide_id] = line
        self._append(line)

    def close(self, *, keeps: Collection[str] = ()) -> None:
        """Leave nothing but looks that are done: whatever ended the run, no slide did.

        Args:
            keeps: slides whose deaths are to be remembered.

        Raises:
            BundleError: the file cannot be written.
        """
        self._write([each for slide_id in keeps for each in self._lines_of(slide_id)])

    def _append(self, line: dict[str, Any]) -> None:
        try:
            with self._lock, self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _lines_of(self, slide_id: str) -> list[dict[str, Any]]:
        return [{"slide": slide_id, "begun": key} for key in self._deaths.get(slide_id, [])]

    def _write(self, more: Sequence[dict[str, Any]]) -> None:
        """Without lines that were cut short or overtaken."""
        try:
            write_text(self.path, "".join(json.dumps(each) + "\n" for each in [*self._found.values(), *more]))
        except OSError as error:
            raise self._unwritable(error) from error

    def _read(self) -> None:
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        for line in text.splitlines():
            try:
                values = parsed_json(line)
                slide_id = str(values["slide"])
                if "begun" in values:
                    self._deaths.setdefault(slide_id, []).append(str(values["begun"]))
                elif {"key", *_FIELDS} <= set(values):
                    self._found[slide_id] = values
                    self._deaths.pop(slide_id, None)
            except (ValueError, TypeError, KeyError):  # cut short, or of another version
                continue

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

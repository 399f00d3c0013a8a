"""What is known of the token files of a folder, so that those that did not change need not be opened again."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..cohort import is_file_name
from ..core import Replacement, file_system_time_ns, own_rank, parsed_json
from .token_header import TokenHeader, TokenLayout

MANIFEST = ".manifest.jsonl"
_FORMAT = 1
_STEP_NS = 3_000_000_000  # longer than any file system's step of time
_MOST_LINE = 1 << 26  # bytes; a slide of a million regions has less
_log = logging.getLogger(__name__)


class Manifest:
    """``.manifest.jsonl`` in a folder of token files: a line a file, with all but its tokens.

    A line counts while the file's bytes, time of change (``mtime``), time of change as the file system keeps it
    (``ctime``, which nobody can set) and inode are those of the line. A file that was written less than three seconds
    before it is read gets no line: it might be written again within a step of the file system's clock, and look the
    same. That clock is asked, so that those of machines do not matter. Regions are compared with the checksums of the
    line when they are read, as ever.

    The last line has the number of the others and their CRC-32; where it does not fit, the manifest is damaged and
    made anew. It is written under a temporary name, by the first process of a run; of two runs the later counts. A
    folder that cannot be written to goes on without.

    Args:
        root: the folder.
        paths: its token files, found below ``root``.
    """

    def __init__(self, root: Path, paths: Sequence[Path]) -> None:
        self.path, self._start = root / MANIFEST, len(str(root / "_")) - 1
        self._now = None if own_rank() else self._clock()
        self._files = {str(path)[self._start :]: (path, _identity(path)) for path in paths}
        self._new: dict[str, TokenLayout] = {}
        self._layouts: dict[str, TokenLayout] = {}
        self._n_lines = 0
        try:
            self._read()
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            if not isinstance(error, FileNotFoundError):
                _log.warning("%s is damaged (%s): it is made anew, from all files", self.path, error)
            self._layouts, self._n_lines = {}, 0
        self._n_known = len(self._layouts)

    def layout(self, path: Path) -> TokenLayout | None:
        """What is known of a file as it is now, handed out once; None where it has to be read."""
        return self._layouts.pop(str(path)[self._start :], None)

    def note(self, path: Path, layout: TokenLayout) -> None:
        """A file was read."""
        name = str(path)[self._start :]
        found = self._files[name][1]
        if self._now is not None and found and max(found[1:3]) + _STEP_NS <= self._now:
            self._new[name] = layout

    def save(self) -> None:
        """Write lines for what was read, and leave out those that count no more."""
        if self._now is None or not (self._new or self._n_lines > self._n_known):
            return
        try:
            with Replacement(self.path) as part, part.open("wb") as file:
                n, crc = 0, 0
                for line in self._lines():
                    n, crc = n + 1, zlib.crc32(line, crc)
                    file.write(line)
                file.write(_as_line({"lines": n, "crc32": crc}))
        except (OSError, ValueError) as error:
            _log.warning("%s cannot be written (%s): the next start reads files again", self.path, error)
        self._new.clear()

    def _read(self) -> None:
        for line in _whole_lines(self.path):
            entry = parsed_json(line.decode())
            self._n_lines += 1
            if self._is_current(entry):
                self._layouts[entry["file"]] = _layout(self._files[entry["file"]][0], entry)

    def _is_current(self, entry: dict[str, Any]) -> bool:
        _, found = self._files.get(entry["file"], (None, None))
        return found is not None and list(found) == entry["identity"]

    def _lines(self) -> Iterator[bytes]:
        """Of the new manifest: its first, those of the old one that count, and those of what was read."""
        yield _as_line({"kind": "token_manifest", "manifest_version": _FORMAT, "bundle_version": __version__})
        for line in _whole_lines(self.path) if self._n_known else ():
            entry = json.loads(line)
            if self._is_current(entry) and entry["file"] not in self._new:
                yield line
        for name, layout in self._new.items():
            with contextlib.suppress(TypeError):  # an attribute that is no plain value: read each time
                yield _as_line({"file": name, "identity": self._files[name][1], **_plain(layout)})

    def _clock(self) -> int | None:
        """Now, as the folder's file system has it (ns); None where nothing can be written."""
        try:
            return file_system_time_ns(self.path.parent)
        except OSError as error:
            _log.info("%s cannot be written (%s): files are read again at each start", self.path, error)
            return None


def _identity(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:  # gone since it was found
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Lines of files; after the last one it is known whether all are as they were written.

    Raises:
        ValueError: they are not, or another version wrote them.
    """
    with path.open("rb") as file:
        first = file.readline(_MOST_LINE)
        about = parsed_json(first.decode())
        if (about["kind"], about["manifest_version"]) != ("token_manifest", _FORMAT):
            raise ValueError("another version has written it")
        n, crc, line = 1, zlib.crc32(first), file.readline(_MOST_LINE)
        while following := file.readline(_MOST_LINE):
            n, crc = n + 1, zlib.crc32(line, crc)
            yield line
            line = following
    if parsed_json(line.decode()) != {"lines": n, "crc32": crc}:
        raise ValueError("its checksum differs")


def _as_line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _plain(layout: TokenLayout) -> dict[str, Any]:
    """What a line holds of a file; ``header.path`` is where it was found."""
    header = layout.header
    about: dict[str, Any] = {"regions": header.n_regions, "dim": header.dim, "encoder": header.encoder}
    about |= {"mpp": header.mpp, "region_patches": header.region_patches, "dtype": header.dtype.str}
    arrays: dict[str, Any] = {
        "coords": layout.coords,
        "mask": layout.bits,
        "offsets": layout.offsets,
        "checksums": layout.checksums,
    }
    packed = {name: None if each is None else base64.b64encode(each).decode() for name, each in arrays.items()}
    return {**about, "attributes": header.attributes, **packed}


def _layout(path: Path, entry: dict[str, Any]) -> TokenLayout:
    """What :func:`_plain` has made plain.

    Raises:
        ValueError, LookupError, TypeError: nothing that it makes.
    """
    n, side, dim, kind = entry["regions"], entry["region_patches"], entry["dim"], np.dtype(entry["dtype"])
    attributes = {sys.intern(name): _shared(value) for name, value in entry["attributes"].items()}
    slide_id = str(attributes["slide_id"])
    if kind.kind != "f" or min(n, side, dim) < 1 or not is_file_name(slide_id):
        raise ValueError(f"{entry['file']} has {n} regions of {side} x {side} x {dim} {kind}, slide {slide_id!r}")
    header = TokenHeader(path, slide_id, n, side, dim, kind, _shared(entry["encoder"]), entry["mpp"], attributes)
    size, changed = entry["identity"][:2]
    coords, bits = _array(entry["coords"], "<i8", (n, 2)), _array(entry["mask"], "u1", (n, -(-side * side // 8)))
    offsets, checksums = (
        None if text is None else _array(text, code, (n,))
        for text, code in ((entry["offsets"], "<i8"), (entry["checksums"], "<u4"))
    )
    return TokenLayout(header, (size, changed), coords, bits, offsets, checksums)


def _array(text: str, code: str, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), code).reshape(shape)


def _shared(value: Any) -> Any:
    """One text for all files that have the same."""
    return sys.intern(value) if isinstance(value, str) else value

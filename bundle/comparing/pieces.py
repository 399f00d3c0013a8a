"""Pieces of a comparison: runs of published configs, which anyone can repeat by their commands."""

from __future__ import annotations

import gc
import json
import logging
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from monai.bundle import ConfigParser

from ..core import CONFIGS, KIND_OF, BundleError, put_value, read_json_file, user_error, write_text

_log = logging.getLogger(__name__)
_REMOVE = "Remove it: finished trainings are known by their checkpoints."


class Piece(NamedTuple):
    """A run of a config: what it is called here, the id that is run, the file in ``configs/``, and other ids than it
    has."""

    name: str
    run_id: str
    config: str
    ids: dict[str, Any]

    @property
    def command(self) -> str:
        """What a user would type in the bundle's root for the same."""
        given = [word for name, value in self.ids.items() for word in (f"--{name}", _quoted(str(value)))]
        return " ".join(["python -m monai.bundle run", self.run_id, "--config_file", f"configs/{self.config}", *given])


def make_piece(name: str, run_id: str, bundle_root: Path, config: str, ids: Mapping[str, Any]) -> Piece:
    """A piece that names only what the config has otherwise.

    Raises:
        BundleError: an id is not in the config.
    """
    known = _read(bundle_root, config)
    unknown = sorted(set(ids) - set(known))
    if unknown:
        raise BundleError(f"configs/{config} has no id {', '.join(unknown)}; its ids stand at its top.")
    return Piece(name, run_id, config, {k: v for k, v in ids.items() if v != known[k]})


def parsed(piece: Piece, bundle_root: Path, **parts: Any) -> ConfigParser:
    """The piece's config with its ids, parsed; ``parts`` take the place of what the config makes by these ids."""
    config = _read(bundle_root, piece.config)
    config.update(piece.ids, **parts)
    parser = ConfigParser(config)
    parser.read_meta(str(CONFIGS / "metadata.json"))
    parser.parse(True)
    for name in KIND_OF.keys() & piece.ids.keys():  # paths and names as they are: MONAI's parser takes # for its own
        put_value(parser, name, piece.ids[name])
    return parser


def run_piece(piece: Piece, bundle_root: Path) -> Any:
    """Run it in this process, and return what its last step returns.

    Raises:
        BundleError: a mistake of the user's stopped it; the message names the piece.
    """
    _log.info("%s: %s", piece.name, piece.command)
    try:
        return parsed(piece, bundle_root).get_parsed_content(piece.run_id)[-1]
    except Exception as error:
        mistake = user_error(error)
        if mistake is None:
            raise
        raise BundleError(f"{piece.name} stopped: {mistake}") from error
    finally:
        gc.collect()  # networks, and tokens on a GPU, before the next piece makes its own


def read_record(path: Path, advice: str) -> dict[str, dict[str, Any]]:
    """What an earlier call wrote down.

    Args:
        path: of the JSON file.
        advice: a sentence on what to do where it is damaged.

    Raises:
        BundleError: the file cannot be read, or is none of a comparison.
    """
    try:
        found: dict[str, dict[str, Any]] = read_json_file(path)
        if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
            raise ValueError("other contents")
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is damaged ({error}). {advice}") from error
    return found


class PieceRecord:
    """What has been run to its end, and how long it took: ``pieces.json``.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, dict[str, Any]] = read_record(path, _REMOVE) if path.is_file() else {}

    def has(self, piece: Piece, result: Path) -> bool:
        """Whether the piece, as it is asked for now, was run, and its result is still there."""
        return self.done.get(piece.name, {}).get("command") == piece.command and result.is_file()

    def run(self, piece: Piece, bundle_root: Path) -> Any:
        """Run it, note it, and return what its last step returns."""
        started = time.monotonic()
        found = run_piece(piece, bundle_root)
        self.note(piece, time.monotonic() - started)
        return found

    def note(self, piece: Piece, seconds: float) -> None:
        """Write down that a piece is complete."""
        self.done[piece.name] = {"command": piece.command, "seconds": round(seconds, 1)}
        write_text(self.path, json.dumps(self.done, indent=1) + "\n")


def _quoted(word: str) -> str:
    """As a shell takes it for one word, lists and dictionaries in double quotes."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def _read(bundle_root: Path, config: str) -> dict[str, Any]:
    found: dict[str, Any] = ConfigParser.load_config_files([str(CONFIGS / config)])
    return {**found, "bundle_root": str(bundle_root)}

"""Files of strangers: what is looked at before they are read as what they seem to be."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

_MOST_TEXT = 1 << 30  # bytes; the annotations of a slide, or an index of a million slides, have less
_MOST_YAML, _MOST_VALUES = 1 << 24, 1_000_000  # bytes of a file, values in it
_DEEPEST_YAML = 100
_MOST_UNPACKED = 1 << 35
_SMALL, _MOST_TIMES = 1 << 28, 200  # what numbers become when they are unpacked; zeros alone become a thousand times


def parsed_json(text: str, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """What a JSON text holds.

    Args:
        text: the text.
        parse_constant: see :func:`json.loads`.

    Raises:
        ValueError: it is none, or is nested deeper than anything that is meant to be read.
    """
    try:
        return json.loads(text, parse_constant=parse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def read_json_file(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none, too large, or nested too deep.
    """
    return parsed_json(read_small(path).decode("utf-8"))


def read_yaml_file(path: Path) -> Any:
    """What a YAML file holds, of plain types.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none, too large, nested too deep, or would be by its aliases.
    """
    text = read_small(path, _MOST_YAML).decode("utf-8")
    depth = accumulate(1 if found[0] in "[{" else -1 for found in re.finditer(r"[][{}]", text))
    if max(depth, default=0) > _DEEPEST_YAML:  # PyYAML takes seconds to give up
        raise ValueError("it is nested too deep")
    try:
        loader = yaml.SafeLoader(text)  # not libyaml's, whose recursion ends in a crash
        root = loader.get_single_node()
        if root is not None and _written_out(root, {}) > _MOST_VALUES:
            raise ValueError(f"its aliases stand for more than {_MOST_VALUES:,} values")
        return None if root is None else loader.construct_document(root)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _written_out(node: Any, sizes: dict[int, int]) -> int:
    """Values below a node where each alias is replaced by what it stands for; one within itself is without end."""
    if id(node) not in sizes:
        sizes[id(node)] = _MOST_VALUES  # for an alias of what it is in
        below = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else node.value
        is_leaf = isinstance(node, yaml.ScalarNode)
        sizes[id(node)] = 1 if is_leaf else 1 + sum(_written_out(each, sizes) for each in below)
    return sizes[id(node)]


def read_small(path: Path, most: int = _MOST_TEXT) -> bytes:
    """A text file's bytes.

    Args:
        path: the file.
        most: bytes that are read.

    Raises:
        OSError: it cannot be read.
        ValueError: it has more.
    """
    with path.open("rb") as file:
        contents = file.read(most + 1)
    if len(contents) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return contents


def insist_on_unpacked(path: Path, most: int = _MOST_UNPACKED) -> None:
    """Look at what a zip archive would become, before it is unpacked; other files are let through.

    Args:
        path: the file.
        most: bytes that it may become, but for what is stored as it is.

    Raises:
        ValueError: more than its bytes can be worth, or its table of contents is damaged.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [entry for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
    except (zipfile.BadZipFile, NotImplementedError, UnicodeError, LookupError) as error:
        raise ValueError(f"its table of contents is damaged ({error})") from error
    n_unpacked = sum(entry.file_size for entry in packed)
    n_packed = path.stat().st_size
    if n_unpacked > most or (n_unpacked > _SMALL and n_unpacked > _MOST_TIMES * n_packed):
        raise ValueError(f"it has {n_packed:,} bytes and would be unpacked to {n_unpacked:,}")

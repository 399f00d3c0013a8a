"""What a page prints that can be typed, and the files and pictures that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME, COMMAND, PYTHON = "name", "command", "python"
_FENCE = re.compile(r"^```(\w*)\s*$")
_HEADING = re.compile(r"^#+ (.*)$")
_FIRST_WORDS = r"slpd\b|(?:\./)?scripts/\w+(?= |$)|torchrun\b|python3? |tensorboard\b|pip\b|curl\b|monai-deploy\b"
_TYPED = re.compile(rf"^(?:{_FIRST_WORDS})")
_INLINE = re.compile(r"`([^`]+)`")
_NAMED = re.compile(r"slpd(?: [a-z]+)?|(?:\./)?scripts/\w+|torchrun|python -m monai\.bundle run(?: training)?")
_MADE = re.compile(r"^\| *files? *\|", re.IGNORECASE)


@dataclass(frozen=True)
class Printed:
    """Something to type, as a page prints it.

    Attributes:
        page: path from the root.
        heading: that it stands under.
        text: without its comment; Python: the whole block.
        kind: ``command``; ``python``; ``name`` of a command alone, in the middle of a sentence.
    """

    page: str
    heading: str
    text: str
    kind: str


def pages() -> list[str]:
    """Pages whose words are checked, from the root."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "models" / "README.md"]
    return [path.relative_to(ROOT).as_posix() for path in [*found, *sorted((ROOT / "docs").rglob("*.md"))]]


def printed(page: str, text: str | None = None) -> list[Printed]:
    """What a page prints to be typed, in its order; the same line under the same heading counts once.

    Args:
        page: path from the root.
        text: of the page; None: it is read.
    """
    if text is None:
        text = (ROOT / page).read_text(encoding="utf-8")
    return list(dict.fromkeys(_read(page, text)))


def _read(page: str, text: str) -> Iterator[Printed]:
    fence: str | None = None
    heading, block = "", [""]
    for line in re.sub(r" *\\\n *", " ", text).splitlines():
        if mark := _FENCE.match(line):
            if fence == "python":
                yield Printed(page, heading, "\n".join(block), PYTHON)
            fence, block = (mark[1] if fence is None else None), []
        elif fence is None:
            if title := _HEADING.match(line):
                heading = title[1]
            yield from (Printed(page, heading, words, kind) for words, kind in _inline(line))
        elif fence == "python":
            block.append(line)
        elif line.strip() and (fence == "bash" or (fence == "" and _TYPED.match(line))):
            yield Printed(page, heading, without_comment(line), COMMAND)


def _inline(line: str) -> Iterator[tuple[str, str]]:
    """Commands within a sentence; a row of a table that begins with one prints it to be typed."""
    for match in _INLINE.finditer(line):
        words = match[1]
        if _TYPED.match(words):
            is_name = _NAMED.fullmatch(words) and not line.startswith(f"| `{words}`")
            yield words, NAME if is_name else COMMAND


def without_comment(line: str) -> str:
    """A line of a shell without what stands behind a ``#``."""
    return re.split(r"\s#(?:\s|$)", line.strip(), maxsplit=1)[0].strip()


def files_named(page: str) -> list[str]:
    """Patterns of files that a page's tables (with the head ``file``) say are made; ``<slide>`` is any name."""
    found, is_in = [], False
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        is_in = bool(_MADE.match(line)) or (is_in and line.startswith("|"))
        if is_in:
            cell = line.split("|")[1]
            names = (re.sub(r"<\w+>", "*", name) for name in _INLINE.findall(cell))
            found += [name for name in names if re.fullmatch(r"[\w.*/-]*(?:\.\w+|/)", name)]
    return found


def pictures(page: str) -> list[str]:
    """Pictures that a page shows, from the root."""
    names = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    return [((ROOT / page).parent / name).resolve().relative_to(ROOT).as_posix() for name in names]

"""``--help`` of ``slpd`` and of each subcommand, made of the configs' own comments."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

from ..core.kinds import FLAG, FORCED_FLAG, KIND_OF, MAY_BE_OPEN, NAMED_TEXTS, NUMBER, NUMBERS, TEXT, TEXTS, WORD
from .commands import ORDER, SUMMARIES, Command
from .config_ids import ConfigId, ids_of, purpose

_TYPES = {
    TEXT: "TEXT",
    NUMBER: "NUMBER",
    FLAG: "true|false",
    FORCED_FLAG: "true|false|force",
    WORD: "WORD|NUMBER",
    TEXTS: "LIST",
    NUMBERS: "NUMBERS",
    NAMED_TEXTS: "{NAME: TEXT}",
}
OWN_OPTIONS = (
    ("--work_dir DIR", "folder that default places are in, and that results go to", "."),
    ("--with CONFIG", "a further config whose values come on top, by path, or by name of one that comes along", ""),
    ("--processes N", "so many processes share the work, one a GPU where there are GPUs", "1"),
    ("--dry_run", "only say what would be read, made and overwritten", ""),
    ("--verbose", "everything that MONAI and the run have to say", ""),
)
_MOST_WIDE, _LEAST_WIDE = 110, 60


def overview() -> str:
    """What ``slpd`` says of itself."""
    lines = ["slpd: slide-level representations of whole-slide images, by SLPD (MICCAI 2023)", ""]
    for title, names in ORDER:
        lines += [title, *(f"  slpd {name:<10} {SUMMARIES[name]}" for name in names), ""]
    return "\n".join([*lines, "slpd COMMAND --help has options, defaults, examples; README.md the way through."])


def help_of(command: Command) -> str:
    """Purpose, three examples and all ids of a subcommand, with kind, default and reason."""
    width = min(max(shutil.get_terminal_size().columns, _LEAST_WIDE), _MOST_WIDE)
    lines = [f"slpd {command.name} [{command.first_shown}] [--id VALUE ...]", ""]
    lines += [*textwrap.wrap(purpose(command.path), width), "", "examples"]
    for words, what in command.examples:
        lines += [f"  slpd {command.name} {words}".rstrip(), *_indented(what, width)]
    lines += ["", "of slpd itself"]
    for option, what, default in OWN_OPTIONS:
        if command.several or not option.startswith("--processes"):
            lines += _entry(option, what, default, width)
    group = None
    for one in ids_of(command.path).values():
        if one.group != group:
            group = one.group
            lines += ["", group or "further"]
        lines += _entry(f"--{one.name} {_kind(one)}", one.comment, one.shown, width)
    lines += ["", "Everything below these in the config can be given as well: --train#trainer#max_epochs 3"]
    return "\n".join(lines)


def _kind(one: ConfigId) -> str:
    """The kind of an id's values; ids without one are read as Python."""
    kind = _TYPES.get(KIND_OF.get(one.name, ""), "VALUE")
    return f"{kind} or null" if one.name in MAY_BE_OPEN and one.default is not None else kind


def _entry(option: str, what: str, default: str, width: int) -> Iterator[str]:
    yield f"  {option}" + (f"   [{default}]" if default else "")
    yield from _indented(what, width)


def _indented(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=" " * 8, subsequent_indent=" " * 8)

"""What was typed behind a subcommand, as ids and values; what is wrong with it is said before anything is imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import BundleError, SettingError
from ..core.kinds import FLAG, FORCED_FLAG, KIND_OF, NOT_GIVEN, TEXTS, read_word
from ..core.naming import did_you_mean
from ..core.places import CONFIGS
from ..core.settings import FORCE, as_bool
from .commands import Command
from .config_ids import ids_of, top_ids

CONFIG_FLAGS = frozenset(name for name, kind in KIND_OF.items() if kind in (FLAG, FORCED_FLAG))
_OWN_FLAGS = {"dry_run", "verbose", "help"}
_OWN_VALUES = {"work_dir", "with", "processes"}
_MADE_BY_SLPD = {"config_file", "run_id", "bundle_root", "logging_file"}
# What must be there before a run: what it is, in words, and what to do without.
_INPUTS = {
    "dataset_dir": "",
    "slide_table": "give the CSV with a row a slide (docs/slide_table.md)",
    "slides_dir": "give the folder of the slides",
    "splits": "give the CSV of splits",
    "exclude": "give the file of slides to leave out, a slide a line",
    "patch_encoder_ckpt": "give a patch encoder (docs/encoders.md), or train one: slpd encoder SLIDES",
    "region_encoder_ckpt": "give the region encoder, or train one: slpd train TOKENS",
    "second_encoder_ckpt": "give the second patch encoder's file",
    "encoders_file": "give a YAML of encoders",
    "coords_dir": "give the folder of coordinates",
    "head": "give a head that slpd evaluate ... --save_head linear has written",
}
_NEEDED = {"tokenize": ("dataset_dir", "patch_encoder_ckpt"), "search": ()}


@dataclass
class Words:
    """A subcommand's words, taken apart.

    Attributes:
        values: ids of the config with their words, as they were typed.
        work_dir: the folder that default places are in.
        mixins: further configs.
        processes: that share the work.
        dry_run: whether to say what would be done, in place of doing it.
        verbose: whether MONAI's words are shown.
        wants_help: whether help is asked for.
    """

    values: dict[str, str] = field(default_factory=dict)
    work_dir: Path = Path(".")
    mixins: list[Path] = field(default_factory=list)
    processes: int = 1
    dry_run: bool = False
    verbose: bool = False
    wants_help: bool = False


def read_words(command: Command, words: Sequence[str]) -> Words:
    """Take apart what stands behind a subcommand.

    Args:
        command: the subcommand.
        words: ``SLIDES --mpp 0.5 --resume``; ``--id=value`` and ``--some-id`` are understood as well.

    Raises:
        BundleError: an id is unknown (with the nearest ones), has no value, or a value is none of its kind.
    """
    read = Words()
    options, plain = split_options(words, flags=_OWN_FLAGS | CONFIG_FLAGS)
    for name, word in options.items():
        if name in _OWN_FLAGS:
            setattr(read, {"help": "wants_help"}.get(name, name), as_bool(word))
    if read.wants_help:
        return read
    if len(plain) > 1:
        raise BundleError(
            f"slpd {command.name} takes one word without a name, {command.first_shown}; {plain[1]!r} is one more. "
            "Values with a space stand in quotes."
        )
    read.mixins = [_mixin(name) for name in _listed(options.get("with", ""))]
    read.work_dir = Path(options.get("work_dir") or ".")
    read.processes = _processes(options.get("processes", "1"), command)
    values = {name: word for name, word in options.items() if name not in _OWN_FLAGS | _OWN_VALUES}
    if plain and command.first in values:
        raise BundleError(
            f"{plain[0]!r} and --{command.first} {values[command.first]!r} are the same; give one of them."
        )
    if plain:
        values[command.first] = plain[0]
    read.values = {name: _checked(name, word, command, read.mixins) for name, word in values.items()}
    return read


def split_options(words: Sequence[str], flags: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """``--a 1 --b=2 --flag word`` as options by name, and words without one.

    Args:
        words: of a command.
        flags: options that may stand without a value; a word behind them is theirs only if it says yes or no.
    """
    options: dict[str, str] = {}
    plain, flags, rest = [], set(flags), list(words)
    while rest:
        word = rest.pop(0)
        if word == "-k":
            word = "--k_neighbors"
        if word in ("-h", "--help"):
            options["help"] = "true"
        elif not word.startswith("--") or word == "--":
            plain.append(word)
        else:
            name, joined, value = word[2:].partition("=")
            name = _name(name)
            if not joined and rest and _belongs(rest[0], name in flags):
                value = rest.pop(0)
            elif not joined and name in flags:
                value = "true"
            elif not joined:
                without = f"--{name} has no value; write --{name} VALUE, or --{name}=VALUE where it begins with --."
                flag = "" if name in KIND_OF else did_you_mean(name, flags, "", start="--", most=1)
                raise BundleError(f"there is no --{name}; {flag}" if flag else without)
            options[name] = value
    return options, plain


def _name(typed: str) -> str:
    top, hash_sign, below = typed.partition("#")
    return top.replace("-", "_") + hash_sign + below


def _belongs(word: str, to_flag: bool) -> bool:
    if to_flag:
        return word.lower() in ("true", "false", "yes", "no", "on", "off", "0", "1", FORCE)
    return not word.startswith("--")


def _checked(name: str, word: str, command: Command, mixins: Sequence[Path]) -> str:
    """A value that the config will take, or an error."""
    top = name.replace("::", "#").split("#")[0]
    known = set().union(top_ids(command.path), *map(top_ids, mixins))
    if top in _MADE_BY_SLPD or top not in known:
        ids = [*ids_of(command.path), *_OWN_FLAGS, *_OWN_VALUES]
        hint = did_you_mean(top, ids, f"slpd {command.name} --help lists what there is.", start="--")
        raise BundleError(f"slpd {command.name} has no --{top}; {hint}")
    if name == top and name in KIND_OF:
        read_word(name, word)
        if KIND_OF[name] == TEXTS and word not in NOT_GIVEN and not set(word) & set("[](),"):
            return str([word])  # a list of one
    return word


def _processes(word: str, command: Command) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise SettingError(f"--processes is {word!r}; give a whole number of at least 1.")
    if int(word) > 1 and not command.several:
        raise SettingError(f"--processes is {word}, and slpd {command.name} runs in one process; leave it out.")
    return int(word)


def _listed(word: str) -> list[str]:
    return [part.strip() for part in word.strip("[]").split(",") if part.strip()]


def _mixin(name: str) -> Path:
    """A further config: a file, or one that comes along."""
    for path in (Path(name), CONFIGS / name, CONFIGS / f"{name}.yaml"):
        if path.is_file():
            return path.resolve()
    raise BundleError(
        f"--with is {name!r}: there is no such file, and no config of that name comes along in {CONFIGS}."
    )


def with_places(command: Command, read: Words) -> dict[str, str]:
    """The words that were typed, and the places that the run will use where none was."""
    mixed = set().union(*map(top_ids, read.mixins))
    places = {
        one.name: str(read.work_dir / one.place)
        for one in ids_of(command.path).values()
        if one.place and one.name not in mixed
    }
    return {**places, **read.values}


def check_inputs(command: Command, read: Words, values: Mapping[str, str]) -> None:
    """What is to be read must be there; asked before MONAI is imported, which takes seconds.

    Raises:
        BundleError: a file or folder is missing; the message names the id, the place and what to do.
    """
    needed = _NEEDED.get(command.name, ("dataset_dir",))
    for name, advice in _INPUTS.items():
        word = values.get(name, "")
        if (name not in read.values and name not in needed) or word in NOT_GIVEN:
            continue
        if not Path(word).expanduser().exists():
            given = f"--{name} is {word!r}: it does not exist" if name in read.values else f"there is no {word}"
            if name == command.first:
                given = f"there is no {word}"
                advice = f"give {command.first_shown.replace('|', ' or ')}: slpd {command.name} {command.first_shown}"
            raise BundleError(f"{given}; {advice}.")

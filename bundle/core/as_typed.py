"""Values stay what was typed: before MONAI resolves a config of ours it imports from here, and each is put right.

MONAI's command line reads values as Python (``20_01`` becomes 2001, ``a,b`` two words, what follows a ``#`` is cut),
and its parser runs what begins with ``$`` and follows what begins with ``@``. An ``$import`` is the first thing that
it does with a config, so that each config begins with ``$from bundle.core.as_typed import values``. What is looked up
then (:func:`__getattr__`) finds the parser that is at work, and gives it for every id of :data:`KIND_OF` what was
typed.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from .config_values import may_stand_in_config
from .errors import BundleError
from .from_ids import FromIds
from .kinds import FLAG, FORCED_FLAG, KIND_OF, NAMED_TEXTS, TEXT, TEXTS, WORD, is_not_given, read_word

_COMMANDS = ("run", "run_workflow")


class Values(NamedTuple):
    """What a config learns of itself.

    Attributes:
        mistake: the first thing that was wrong with the values, which ``begin`` is told; empty where nothing was.
        from_ids: builds components; None where the config is looked at by something else than MONAI's parser.
    """

    mistake: str = ""
    from_ids: FromIds | None = None

    def __call__(self, of: str, **written: Any) -> Any:
        """A component whose other arguments are ids: what ``_target_: '@from_ids'`` asks for."""
        assert self.from_ids is not None, "only MONAI's parser asks"
        return self.from_ids(of, **written)


def __getattr__(name: str) -> Any:
    """``values``, looked up anew for every config that is resolved; MONAI hides errors that are raised in here."""
    if name == "values":
        return _put_right(list(_frames(sys._getframe(1))))
    raise AttributeError(name)


def is_bundle_command(argv: Sequence[str]) -> bool:
    """Whether this process is ``python -m monai.bundle``."""
    return Path(argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py")


def typed_words(words: Sequence[str]) -> dict[str, str | None]:
    """Ids of a command with their words as they were typed, by Fire's own rules of what is an id and what its word.

    A flag without a word is ``True``, as Fire has it; any other id without one has None.

    Args:
        words: of a command after ``python -m monai.bundle``.
    """
    import fire  # type: ignore[import-untyped]
    from monai.bundle import scripts

    found: dict[str, str] = {}

    def catcher(command: Any) -> Any:
        def catch(*args: Any, **ids: Any) -> None:
            found.update({name: str(word) for name, word in ids.items()})

        catch.__signature__ = inspect.signature(command)  # type: ignore[attr-defined]
        return fire.decorators.SetParseFn(str)(catch)

    try:
        fire.Fire({name: catcher(getattr(scripts, name)) for name in _COMMANDS}, list(words))
    except SystemExit:  # words behind a lone hyphen, of which MONAI's command will complain as well
        pass
    return {
        name: word if KIND_OF.get(name) in (FLAG, FORCED_FLAG, WORD) or _stands(name, word, words) else None
        for name, word in found.items()
    }


def put_value(parser: Any, name: str, value: Any) -> None:
    """Give an id a value that the parser hands on as it is, whatever it looks like; before it is resolved."""
    resolver = parser.ref_resolver
    parser.config[name] = value
    for known, item in resolver.items.items():  # of what MONAI made of the value, too: nothing below it may be run
        top, *below = known.split(resolver.sep)
        if top == name:
            item.__class__ = _kept_item()  # the very item: MONAI may have it in hand already
            item.config = resolver.resolved_content[known] = _part(value, below)
    resolver.resolved_content[name] = value


@cache
def _kept_item() -> type:
    """An item of a config that is what it is: to the parser an expression, whose value is not computed."""
    from monai.bundle import ConfigExpression

    class KeptItem(ConfigExpression):
        def update_config(self, config: Any) -> None:
            pass

        def evaluate(self, globals: Any = None, locals: Any = None) -> Any:
            return self.config

    return KeptItem


def _put_right(frames: Sequence[tuple[str, Mapping[str, Any]]]) -> Values:
    from monai.bundle import ConfigParser

    selves = [values["self"] for _, values in frames if "self" in values]
    parsers = list({id(one): one for one in selves if isinstance(one, ConfigParser)}.values())
    if not parsers:
        return Values()
    parser, mistakes = parsers[0], []
    given = _given(frames) if len(parsers) == 1 else None  # a config that runs another has its own words
    for name, value in (_left_in(parser) if given is None else given).items():
        top, *below = name.replace("::", "#").split("#")
        if top not in KIND_OF or top not in parser.config or top in parser.ref_resolver.resolved_content:
            continue
        try:
            if below:
                _put_below(parser, top, below, value)
            else:
                put_value(parser, top, _read(top, value))
        except BundleError as error:
            mistakes.append(str(error))
            put_value(parser, top, str(value) if isinstance(value, str) else None)
    return Values(next(iter(mistakes), ""), FromIds(parser.config, parser.ref_resolver.get_resolved_content))


def _given(frames: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any] | None:
    """What MONAI's command was given, as it was given; None where the config was not started by one."""
    from monai.bundle import ConfigParser

    command = next((values for name, values in frames if name in _COMMANDS), None)
    if command is None:
        return None
    file = command.get("args_file")
    given = dict(ConfigParser.load_config_file(file)) if file else {}
    given |= command.get("override") or command.get("kwargs") or {}
    if is_bundle_command(sys.argv):
        words = typed_words(sys.argv[1:])
        given |= {name: _NO_WORD if word is None else _Word(word) for name, word in words.items()}
    return given


def _left_in(parser: Any) -> dict[str, Any]:
    """Values of a parser of which nobody knows where they come from, apart from expressions that a config may have."""
    ids = set(parser.config)
    return {
        name: value
        for name, value in parser.config.items()
        if name in KIND_OF and not may_stand_in_config(value, name, ids)
    }


class _Word(str):
    """A word of the command line."""


_NO_WORD = object()


def _read(name: str, value: Any) -> Any:
    kind = KIND_OF[name]
    if value is _NO_WORD:
        raise BundleError(f"--{name} has no value; write --{name}=VALUE, where a value may begin with a hyphen.")
    if isinstance(value, _Word):
        return read_word(name, str(value))
    if is_not_given(name, value):  # of a file of arguments, or of MONAI's own function
        return None
    if isinstance(value, PathLike) and kind == TEXT:
        return str(value)
    if kind == TEXT and isinstance(value, bool | int | float | list | tuple | dict):
        raise BundleError(f"{name} is {value!r}; give it as a text, in quotes.")
    if isinstance(value, str) and kind == TEXT and "::" in value:
        raise BundleError(
            f"{name} is {value!r}: MONAI writes :: for #, so that nobody knows which of them was given. Give a path as "
            "a pathlib.Path, anything else on the command line."
        )
    if isinstance(value, str) and (kind not in (TEXT, TEXTS, NAMED_TEXTS) or value.startswith("%")):
        return read_word(name, value, name) if value.startswith(("$", "@", "%")) else value
    return value


def _put_below(parser: Any, top: str, below: Sequence[str], value: Any) -> None:
    """An item of texts, given by itself. It stays where MONAI's parser goes through it, so that it must be plain."""
    if KIND_OF[top] not in (TEXTS, NAMED_TEXTS) or len(below) > 1 or not isinstance(value, str):
        return
    if value.startswith(("$", "@", "%")) or "#" in value:
        raise BundleError(f"--{top}#{below[0]} is {str(value)!r}; give the whole of --{top}, its items in quotes.")
    container, key = parser.config[top], below[0]
    if isinstance(container, dict) or (key.isdecimal() and int(key) < len(container)):
        container[key if isinstance(container, dict) else int(key)] = str(value)


def _part(value: Any, path: Sequence[str]) -> Any:
    """What of a value stands below it at ``path``; None where there is nothing."""
    for key in path:
        try:
            value = value[key if isinstance(value, dict) else int(key)]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return value


def _stands(name: str, word: str, words: Sequence[str]) -> bool:
    """Whether a flag's word was typed; Fire makes True of a flag without one."""
    for flag, following in zip(words, [*words[1:], ""], strict=True):
        spelled, is_joined, value = flag.partition("=")
        if spelled.lstrip("-").replace("-", "_") == name and (value if is_joined else following) == word:
            return True
    return False


def _frames(frame: FrameType | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Callers, the nearest first: the name, for MONAI's commands only, and the variables of each."""
    while frame is not None:
        is_command = frame.f_globals.get("__name__") == "monai.bundle.scripts"
        yield (frame.f_code.co_name if is_command else ""), frame.f_locals
        frame = frame.f_back

"""What happens first in every run: the command line is checked, errors are made readable, numbers are seeded."""

import ast
import difflib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import torch

from .errors import BundleError

_RUN_ARGUMENTS = {"run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"}


def begin(seed: int = 0) -> None:
    """Start a run: refuse unknown ids on the command line, print user errors as one message, seed torch.

    MONAI takes an unknown flat id silently, so that a typing error would change nothing and say nothing.

    Args:
        seed: seed of torch's generators; the networks' first weights come from it.

    Raises:
        BundleError: the command line names an id that no config file has.
    """
    sys.excepthook = _say_user_errors_plainly
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    if _is_bundle_command(sys.argv):
        check_command_line(sys.argv[1:])
    torch.manual_seed(int(seed))


def check_command_line(arguments: Sequence[str]) -> None:
    """Compare every ``--id`` with the top-level ids of the config files named in ``arguments``.

    Raises:
        BundleError: an id is unknown; the message names the nearest known ones.
    """
    from monai.bundle import ConfigParser  # takes seconds; processes that only want a BundleError need not wait

    given = _options(arguments)
    files = given.get("config_file")
    if files is None:
        return
    known = set(ConfigParser.load_config_files(_as_literal(files)))
    if "args_file" in given:
        given |= {str(name): "" for name in ConfigParser.load_config_files(_as_literal(given["args_file"]))}
    for name in given:
        top = name.replace("::", "#").split("#")[0]
        if top in known | _RUN_ARGUMENTS:
            continue
        near = difflib.get_close_matches(top, known, n=3)
        hint = f"did you mean --{' or --'.join(near)}?" if near else f"known ids: {', '.join(sorted(known))}."
        raise BundleError(f"--{top} is no id of {files}; {hint}")


def user_error(error: BaseException | None) -> BundleError | None:
    """The user's mistake at the root of an error that MONAI or a worker process may have wrapped, or None."""
    while error is not None:
        if isinstance(error, BundleError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _say_user_errors_plainly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    mistake = user_error(error)
    if mistake is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"\nStopped: {mistake}", file=sys.stderr, flush=True)


def _is_bundle_command(argv: Sequence[str]) -> bool:
    return Path(argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py")


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """``--a 1 --b=2 --c`` as a dictionary; a flag without a value gets an empty string."""
    options: dict[str, str] = {}
    for position, word in enumerate(arguments):
        if not word.startswith("--"):
            continue
        name, is_joined, value = word[2:].partition("=")
        following = arguments[position + 1] if position + 1 < len(arguments) else ""
        options[name] = value if is_joined else ("" if following.startswith("--") else following)
    return options


def _as_literal(text: str) -> list[str] | str:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return list(value) if isinstance(value, list | tuple) else text

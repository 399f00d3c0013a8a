"""What happens first in every run: the command line is checked, errors are made readable, numbers are seeded."""

from __future__ import annotations

import ast
import inspect
import logging
import re
import socket
import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .as_typed import Values, is_bundle_command
from .bfloat16 import insist_on_quick_bfloat16
from .errors import BundleError, SettingError
from .from_ids import located, target_of
from .kinds import KIND_OF, MAY_BE_OPEN, NOT_GIVEN, WORD
from .naming import did_you_mean
from .ranks import own_rank, own_world_size
from .scarcity import ran_out
from .settings import as_number, as_whole, check_device
from .signals import KEPT, end_when_told
from .torchrun import start_together

if TYPE_CHECKING:
    import torch

_WEIGHTS = {"patch_encoder_ckpt", "second_encoder_ckpt", "region_encoder_ckpt"}
_RUN_ARGUMENTS = {"run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"}


def begin(
    seed: int = 0, device: torch.device | str | int = "cpu", from_ids: Values | None = None, amp: bool | str = False
) -> None:
    """Start a run: seed torch, meet torchrun's other processes; on MONAI's command line refuse unknown ids, and print
    user errors as one message.

    MONAI takes an unknown flat id silently, so that a typing error would change nothing and say nothing.

    Args:
        seed: seed of torch's generators; the networks' first weights come from it.
        device: where the run will compute.
        from_ids: what was found when the ids took the values that were given for them (:mod:`bundle.core.as_typed`).
        amp: whether the run asks for bfloat16; "force": without trying first whether it pays on a CPU.

    Raises:
        BundleError: the command line names an id that no config file has, or a value is not of the id's kind; there is
            no such device, or bfloat16 is slow there; or processes of this run have other code.
    """
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    if is_bundle_command(sys.argv):  # another process that runs a config keeps its own ways with errors
        sys.excepthook = _say_user_errors_plainly
        threading.excepthook = _leave_out_what_will_be_said_again
        end_when_told()
        check_command_line(sys.argv[1:])
    if from_ids is not None and from_ids.mistake:
        raise SettingError(from_ids.mistake)
    check_device(device)
    start_together()
    insist_on_quick_bfloat16(amp, device)
    import torch

    torch.manual_seed(as_whole(seed, "seed"))


def check_command_line(arguments: Sequence[str]) -> None:
    """Compare every ``--id`` with what the config files named in ``arguments`` hold under that id.

    Raises:
        BundleError: an id is unknown, at the top or nested (``--train#trainer#max_epochs``): the message names the
            nearest known ones. Or a number is expected and something else is given.
    """
    from monai.bundle import ConfigParser  # takes seconds; processes that only want a BundleError need not wait

    given = _options(arguments)
    files = given.get("config_file")
    if files is None:
        return
    config = ConfigParser.load_config_files(_as_literal(files))
    known = set(config)
    if "args_file" in given:
        listed = ConfigParser.load_config_files(_as_literal(given["args_file"])).items()
        given = {**{str(name): "null" if value is None else str(value) for name, value in listed}, **given}
    for name, value in given.items():
        top, *below = name.replace("::", "#").split("#")
        if top in _RUN_ARGUMENTS:
            continue
        if top not in known:
            raise BundleError(f"--{top} is no id of {files}; {_hint(top, known)}")
        default = _default(config[top], top, below)
        if KIND_OF.get(name) != WORD:  # whose words stand for themselves: n_folds auto
            _check_number(name, value, default)
        if name in _WEIGHTS and default is not None and value in NOT_GIVEN:
            raise SettingError(
                f"--{name} is {value!r}, and nothing can be done without: give a file, or leave --{name} out for the "
                "usual one."
            )


def _default(node: Any, path: str, below: Sequence[str]) -> Any:
    """What the config holds under a nested id; None for an argument of a component that the config leaves out."""
    if not below:
        return node
    name, *rest = below
    if isinstance(node, list):
        if not name.isdecimal() or int(name) >= len(node):
            raise BundleError(f"--{path}#{name}: {path} is a list; give a number from 0 to {len(node) - 1}.")
        return _default(node[int(name)], f"{path}#{name}", rest)
    if not isinstance(node, dict):
        raise BundleError(f"--{path}#{name}: {path} is {node!r} and has nothing below it; change the id it stands for.")
    if name in node:
        return _default(node[name], f"{path}#{name}", rest)
    arguments = _arguments_of(node)
    if name.startswith("_") or arguments is None or (name in arguments and not rest):
        return None
    raise BundleError(f"--{path}#{name} is no id of the config; {_hint(name, {*node, *arguments}, f'{path}#')}")


def _arguments_of(node: dict[str, Any]) -> set[str] | None:
    """Arguments that a ``_target_`` takes; none for a plain dictionary; None: any, or nobody knows."""
    if "_target_" not in node:
        return set()
    target = located(target_of(node))
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters) else {p.name for p in parameters}


def _check_number(name: str, value: str, default: Any) -> None:
    is_number = isinstance(default, int | float) and not isinstance(default, bool)
    is_open = name in MAY_BE_OPEN and value in NOT_GIVEN
    if not is_number or is_open or value.startswith(("$", "@", "%")) or value == "None":
        return
    try:
        as_number(value, f"--{name}")
    except SettingError as error:
        raise SettingError(f"--{name} is {value!r}; give a number, such as {default}.") from error


def _hint(name: str, known: set[str], path: str = "") -> str:
    return did_you_mean(name, known, f"known ids: {', '.join(sorted(known))}.", start=f"--{path}")


def user_error(error: BaseException | None) -> BundleError | None:
    """The user's mistake, or what ran out, at the root of an error that MONAI or a worker process may have wrapped.

    None where it is neither.

    Where another library's part (a ``DataLoader``, say) refuses its arguments, these are the config's, not our code's.
    """
    while error is not None:
        if isinstance(error, BundleError):
            return error
        if lack := ran_out(error):
            return lack
        cause = error.__cause__ or error.__context__
        part = re.match(r"Failed to instantiate component '([\w.]+)'", str(error))
        if part and not part[1].startswith("bundle.") and isinstance(cause, TypeError | ValueError):
            return BundleError(f"the config's {part[1]} cannot be made: {cause}")
        error = cause
    return None


def _say_user_errors_plainly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    mistake = user_error(error)
    if issubclass(kind, KeyboardInterrupt):
        print(f"\nStopped: interrupted. {KEPT}", file=sys.stderr, flush=True)
    elif mistake is None:
        sys.__excepthook__(kind, error, trace)
    else:
        who = f" (process {own_rank()} on {socket.gethostname()})" if own_world_size() > 1 else ""
        print(f"\nStopped{who}: {mistake}", file=sys.stderr, flush=True)


def _leave_out_what_will_be_said_again(error: threading.ExceptHookArgs) -> None:
    """A thread that keeps its exception (TensorBoard's writer on a full disk) has an owner who raises it once more."""
    if error.exc_value is None or getattr(error.thread, "exception", None) is not error.exc_value:
        threading.__excepthook__(error)


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

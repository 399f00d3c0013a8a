"""Arguments that a config does not write are the ids of their names, so that a value stands once: at the config's top.

A config names :class:`FromIds` once (``from_ids: '@imports#0'``) and then asks for a component so::

    loss_function:
      _target_: '@from_ids'
      of: bundle.training.SLPDLoss
      center_momentum: 0.8

``of`` takes what it is called with: what is written, and for each other argument whose name is an id at the config's
top, that id, be it a value (``out_dim``) or a part (``table``). ``scripts/wiring`` prints what every component gets.
"""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable, Mapping
from typing import Any

TARGET = "@from_ids"  # what a component's ``_target_`` is then
_PACKAGE, _, _ = __name__.rpartition(".core.")  # a server imports the bundle under a name of its own
_PUBLISHED = "bundle"


class FromIds:
    """Builds the components of one config.

    Args:
        ids: the config's top: names alone are looked at.
        resolve: gives what an id stands for, as MONAI's parser has it.
    """

    def __init__(self, ids: Mapping[str, Any], resolve: Callable[[str], Any]) -> None:
        self._ids, self._resolve = ids, resolve
        self._under_way: list[str] = []

    def __call__(self, of: str, **written: Any) -> Any:
        """What a class or a function makes of its arguments.

        Args:
            of: where it is, ``bundle.<package>.<Name>`` or any other importable name.
            written: the arguments that the config writes.

        Raises:
            ModuleNotFoundError: there is nothing of that name.
            ValueError: it needs itself.
        """
        made = located(of)
        if made is None:
            raise ModuleNotFoundError(f"no class or function is called {of}.")
        if of in self._under_way:
            raise ValueError(f"{' needs '.join([*self._under_way, of])}: write one of them out.")
        self._under_way.append(of)
        try:
            return made(**{name: self._resolve(name) for name in taken_from_ids(made, self._ids, written)}, **written)
        finally:
            self._under_way.pop()


def located(of: str) -> Any:
    """The class or function of a name, this package's own where it begins with ``bundle.``; None: nothing."""
    own = of if _PACKAGE == _PUBLISHED or not of.startswith(f"{_PUBLISHED}.") else _PACKAGE + of[len(_PUBLISHED) :]
    return pydoc.locate(own)


def taken_from_ids(made: Any, ids: Mapping[str, Any], written: Mapping[str, Any]) -> list[str]:
    """Arguments that are ids, in the order of the signature.

    Args:
        made: a class or a function.
        ids: by name, whatever they are.
        written: arguments that are given.
    """
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    taken = [p.name for p in inspect.signature(made).parameters.values() if p.kind in kinds]
    return [name for name in taken if name in ids and name not in written]


def target_of(component: Mapping[str, Any]) -> str:
    """The name of the class or function of a config's component, whichever way it asks for it."""
    target = str(component["_target_"])
    return str(component["of"]) if target == TARGET else target

"""``table.yaml``: which file stands for which word of a page, which sizes are added, what is not run and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from .printed import NAME, PYTHON, ROOT, Printed, pictures

_RUN = re.compile(r"(?:slpd|(?:\./)?scripts/\w+|torchrun|python3? -(?:m (?:monai|bundle|scripts)[.\w]*|c))(?: |$)")
_WORD = re.compile(r"(?<![\w./-])[A-Z][A-Z_]{3,}(?![\w.-])")
NEEDS = ("a GPU", "several machines", "over five minutes", "another tool", "a server", "the network", "other data")


@dataclass(frozen=True)
class Plan:
    """What becomes of something printed.

    Attributes:
        line: what is typed in its place; empty: it is not run.
        alone: a folder that is removed before; empty: none.
        needs: what is missing here, one of :data:`NEEDS`.
        because: in words.
    """

    line: str
    needs: str = ""
    because: str = ""
    alone: str = ""


class Table:
    """The table, asked page by page.

    Args:
        entries: what the YAML holds; None: it is read.
    """

    def __init__(self, entries: Mapping[str, Any] | None = None) -> None:
        if entries is None:
            entries = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
        self._all = entries

    def files(self, page: str, heading: str = "") -> dict[str, str | None]:
        """What lies in the folder of a page (or comes to it under a heading): name, and what of the ground it is."""
        if heading:
            return dict(self._own(f"{page}#{heading}").get("files", {}))
        return {**self._all["files"], **self._own(page).get("files", {})}

    def plan(self, one: Printed) -> Plan:
        """What becomes of it."""
        for entry in self._all["not_run"]:
            if _is_of(entry, one):
                return Plan("", entry["needs"], entry["because"])
        line = self._typed(one)
        if one.kind == PYTHON:
            return Plan(line)
        if one.kind == NAME:
            return Plan(f"{line} -- --help" if line.startswith("python") else f"{line} --help")  # Fire's way
        own = self._own(one.page).get("sizes", {})
        added = _longest(own, one) or _longest(self._all["sizes"], one)
        return Plan(f"{line} {added}".strip(), alone=_longest(self._all["alone"], one))

    def faults(self, all_printed: Iterable[Printed]) -> list[str]:
        """What is neither run nor listed, and what the table holds that no page prints (any more)."""
        all_printed = list(all_printed)
        found = [fault for one in all_printed for fault in self._faults_of(one)]
        for entry in self._all["not_run"]:
            if entry["needs"] not in NEEDS:
                found.append(f"table.yaml: {entry['needs']!r} is not one of {', '.join(NEEDS)}")
            if not any(_is_of(entry, one) for one in all_printed):
                found.append(f"table.yaml, not_run: no page prints {entry.get('is', entry.get('begins'))!r}")
        keys = {one.page for one in all_printed} | {f"{one.page}#{one.heading}" for one in all_printed}
        found += [f"table.yaml: no page {key} prints a command" for key in self._all["pages"] if key not in keys]
        texts = "\n".join(one.text for one in all_printed)
        return found + [f"table.yaml: no command begins with {key!r}" for key in self._all["sizes"] if key not in texts]

    def unmade(self, page: str) -> list[str]:
        """Patterns of files that a page names and that its commands here do not make."""
        return list(self._own(page).get("unmade", {}))

    def unnamed_pictures(self, page: str) -> list[str]:
        """Pictures of a page of which neither the table nor a page says by which command they were made."""
        found = []
        for picture in pictures(page):
            made_by = self._all["pictures"].get(picture, "")
            if made_by is None:
                continue
            where, _, words = made_by.rpartition(": ")
            if not words or words not in (ROOT / (where or page)).read_text(encoding="utf-8"):
                found.append(f"{page}: no command is said to have made {picture} (table.yaml, pictures)")
        return found

    def pictures_of_unknown_origin(self) -> list[str]:
        """Pictures whose command nobody has kept."""
        return [picture for picture, made_by in self._all["pictures"].items() if made_by is None]

    def figures(self) -> list[dict[str, str]]:
        """Sentences with a number: page, what it says, and who knows the number."""
        return list(self._all["figures"])

    def _own(self, key: str) -> dict[str, Any]:
        return dict(self._all["pages"].get(key) or {})

    def _words(self, one: Printed) -> dict[str, str]:
        own = (self._own(key).get("words", {}) for key in (one.page, f"{one.page}#{one.heading}"))
        words = dict(self._all["words"])
        for mapping in own:
            words.update(mapping)
        return words

    def _typed(self, one: Printed) -> str:
        """The printed words, with those of the table in place of the ones that everybody replaces."""
        line = one.text.removeprefix("./") if one.kind != PYTHON else one.text
        for word, typed in sorted(self._words(one).items(), key=lambda pair: -len(pair[0])):
            literal = str(typed).replace("\\", r"\\")
            line = re.sub(rf"(?<![\w./-]){re.escape(word)}(?![\w-])", literal, line)
        return line

    def _faults_of(self, one: Printed) -> Iterator[str]:
        if self.plan(one).line and one.kind != PYTHON:
            where = f"{one.page}, under {one.heading!r}"
            if not _RUN.match(one.text):
                yield f"{where}: {one.text!r} is neither run nor listed in table.yaml under not_run"
            known = {*self.files(one.page), *self.files(one.page, one.heading), *self._all["made"]}
            for word in _WORD.findall(self._typed(one)):
                if word not in known:
                    yield f"{where}: table.yaml does not say what {word} of {one.text!r} is"


def _longest(entries: Mapping[str, str], one: Printed) -> str:
    """The entry whose key is the longest beginning of a command."""
    fits = [begin for begin in entries if f"{one.text} ".removeprefix("./").startswith(f"{begin} ")]
    return entries[max(fits, key=len)] if fits else ""


def _is_of(entry: Mapping[str, str], one: Printed) -> bool:
    text = one.text.removeprefix("./")
    is_there = fnmatchcase(one.page, entry.get("page", "*")) and fnmatchcase(one.heading, entry.get("heading", "*"))
    return is_there and text.startswith(entry.get("begins", "")) and text == entry.get("is", text)

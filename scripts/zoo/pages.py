"""A package's pages: what is of the repository alone is left out, and each file that a text names is there."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from posixpath import normpath

from bundle.core import BundleError

_PASSAGE = "<!-- repository -->.*?<!-- /repository -->"
_OWN = re.compile(rf" {_PASSAGE}(?=[\s.,:;)])|{_PASSAGE}", re.DOTALL)  # no space is left where none belongs
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_LINK = re.compile(r"(!?)\[([^]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"(?<![\w/.<@-])(?:\.{1,2}/)*((?:configs|scripts|bundle|tests|docs)/[\w./*<>-]*\w)")
_MODULE = re.compile(r"(?:-m |`)((?:scripts|bundle)(?:\.\w+)+)")


def shipped_text(text: str, name: str, files: Collection[str]) -> str:
    """A page as a package has it.

    Passages between ``<!-- repository -->`` and ``<!-- /repository -->`` go, and columns of tables that are called
    "test"; pictures and links to what stays at home become nothing and plain words.

    Args:
        text: the page in the repository, Markdown.
        name: its path, ``docs/README.md``.
        files: paths of all files of the package.

    Raises:
        BundleError: a passage begins or ends alone.
    """
    text = _OWN.sub("", text)
    if "repository -->" in text:
        raise BundleError(f"{name} has a <!-- repository --> without its <!-- /repository -->, or the other way round.")
    text = _COMMENT.sub("", "".join(_without_tests(text.splitlines(keepends=True))))

    def adapted(link: re.Match[str]) -> str:
        is_picture, words, target = link.groups()
        if _is_there(normpath(f"{PurePosixPath(name).parent}/{target}"), files):
            return link[0]
        path, is_first = PurePosixPath(target), re.search(r"(?:^|\.\s+|\n\n)$", link.string[: link.start()])
        subject = (path.parent.name if path.stem == "README" else path.stem).replace("_", " ")
        if is_picture:
            return ""
        if words == target or words in target:  # the file's name, in place of words on it
            return f"{'The' if is_first else 'the'} repository's page on {subject}"
        return f"{words} (the repository's page on {subject})"

    return re.sub(r"\n{3,}", "\n\n", _LINK.sub(adapted, text))


def _without_tests(lines: list[str]) -> Iterator[str]:
    """Lines without the last cell of tables whose last column is called "test"."""
    drops = False
    for line in lines:
        cells = line.rstrip().removesuffix("|").rpartition("|")
        drops = line.startswith("|") and (drops or cells[2].strip() == "test")
        yield f"{cells[0]}|\n" if drops else line


def absent_names(text: str, name: str, files: Collection[str]) -> Iterator[str]:
    """What a text names that a package has not: targets of links, paths, modules that are run.

    Args:
        text: of a page, a config or a module.
        name: its path in the package.
        files: paths of all files of the package.
    """
    is_page, beside = name.endswith(".md"), PurePosixPath(name).parent
    links = [link[3] for link in _LINK.finditer(text)] if is_page else []
    yield from (link for link in links if not _is_there(normpath(f"{beside}/{link}"), files))
    paths = (path for path in _PATH.findall(text) if "<" not in path)
    if name.endswith(".py"):  # a docstring may say by which benchmark its number was found
        paths = (path for path in paths if not path.startswith("scripts/"))
    yield from (path for path in paths if not _is_there(path, files))
    if is_page:
        modules = {module: "/".join(module.split(".")[:2]) for module in _MODULE.findall(text)}
        yield from (m for m, path in modules.items() if not (_is_there(path, files) or _is_there(f"{path}.py", files)))


def _is_there(path: str, files: Collection[str]) -> bool:
    """A file, a folder, or a pattern that finds one."""
    return path in files or any(file.startswith(f"{path}/") for file in files) or bool(fnmatch.filter(files, path))

"""The package holds what its configs, commands, pages and serving reach, and no other file."""

import ast
import posixpath
import re
from pathlib import Path

from bundle.console.commands import COMMANDS

# What MONAI, the Model Zoo, MONAI Label, MONAI Deploy and a shell begin with.
ROOTS = {
    *("LICENSE", "README.md", "docs/README.md", "docs/data_license.txt", "models/README.md", "models/model.ts"),
    *("configs/metadata.json", "configs/logging.conf", "configs/train.json", "configs/inference.json"),
    "configs/multi_gpu_train.json",
    *("scripts/setup", "scripts/slpd", "scripts/demo", "scripts/label"),
}
TEXTS = (".py", ".md", ".yaml", ".json", ".html", ".css", ".txt", ".toml", ".conf", "setup", "slpd", "demo", "label")
PATH = re.compile(r"(?:configs|scripts|bundle|docs|models)/[\w./-]*\w|pyproject\.toml|constraints\.txt")
MODULE = re.compile(r"\bbundle((?:\.\w+)+)")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


def modules_of(dotted, files):
    """Files of a module, a name in it, and every package above it: what importing it takes."""
    parts = dotted.split(".")
    places = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    found = {place + end for place in places for end in (".py", "/__init__.py")}
    return {*found, f"{places[-1]}/__main__.py"} & files


def imports(name, tree):
    """Modules that a module imports, absolute ones; of constants, those that name a module, or a part of the bundle."""
    package = name.split("/")[:-1]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package[: len(package) - level + 1] if level else []
                yield from (".".join([*above, *filter(None, [module]), alias.name]) for alias in names)
            case ast.Constant(value=str(text)) if re.fullmatch(r"(?:bundle)?(?:\.\w+)+", text):
                yield f"bundle{text.removeprefix('bundle')}"


def reached_by(name, text, files):
    """What one file reaches: imports, `_target_`s, links, paths, files beside it that it names."""
    folder = posixpath.dirname(name)
    if not name.endswith(TEXTS):
        return {f"{posixpath.splitext(name)[0]}.json"} & files  # what is known of weights
    found = {posixpath.normpath(f"{folder}/{link}") for link in LINK.findall(text)} | set(PATH.findall(text))
    if name.endswith(".py"):
        for dotted in imports(name, ast.parse(text)):
            found |= modules_of(dotted, files)
    else:
        for dotted in MODULE.findall(text):
            found |= modules_of(f"bundle{dotted}", files)
    if name.endswith(".md"):
        found |= {f"{folder}/{file}" for file in re.findall(r"`(\w+\.\w+)`", text)}
        commands = re.findall(r"slpd ([a-z]+)", text)
        found |= {f"configs/{COMMANDS[command].config}" for command in commands if command in COMMANDS}
        mixins = {f"configs/{mixin}.yaml" for mixin in re.findall(r"--with ([a-z_/]+)", text)}
        folders = {posixpath.dirname(mixin) for mixin in mixins} - {"configs"}  # a page names one of several
        found |= mixins | {file for file in files if posixpath.dirname(file) in folders}
    if name.startswith(("bundle/", "scripts/")):  # templates, tables and requirements
        quoted = {word.rsplit("/")[-1] for word in re.findall(r"[\w/]+\.(?:html|css|yaml|txt)", text)}
        found |= {
            file for file in files if file.endswith((".html", ".css", ".yaml", ".txt")) and Path(file).name in quoted
        }
    return found & files


def test_every_file_is_reached(package):
    """From what others start, by configs, imports, pages and commands; what is not is not shipped."""
    paths = {path.relative_to(package.folder).as_posix(): path for path in package.folder.rglob("*") if path.is_file()}
    files, reached, waiting = set(paths), set(), ROOTS & set(paths)
    assert waiting == ROOTS
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= reached_by(name, paths[name].read_text(errors="replace"), files) - reached
    assert sorted(files - reached) == []


def test_every_target_is_there(package):
    """No `_target_` of a config asks for a room that stayed at home."""
    configs = [path.read_text() for path in (package.folder / "configs").glob("*.yaml")]
    rooms = {room for text in configs for room in re.findall(r"_target_: bundle\.(\w+)\.", text)}
    assert len(rooms) > 8
    assert [room for room in sorted(rooms) if not (package.folder / "bundle" / room / "__init__.py").is_file()] == []

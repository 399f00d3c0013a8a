"""How configs are wired: what each component gets, and what two configs say alike."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from bundle.core.from_ids import TARGET, located, taken_from_ids, target_of

CONFIGS = Path(__file__).parents[2] / "configs"
_LEAST = 3  # lines; fewer in a row are how YAML is written
_FRAME = {"begin", "table"}  # with which configs begin
_OWN = {"_target_", "of"}


def components(config: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], list[str]]]:
    """Every component of a config, in its order: where it stands, what is called, what is written, what are ids.

    Args:
        config: as YAML has it.
    """
    for path, node in _nodes(config, ""):
        if "_target_" in node:
            name = target_of(node)
            written = {key: value for key, value in node.items() if key not in _OWN}
            taken = taken_from_ids(located(name), config, written) if node["_target_"] == TARGET else []
            yield path, name, written, taken


def _nodes(value: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        yield path, value
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from _nodes(child, f"{path}#{key}".lstrip("#"))


def wiring_lines(path: Path) -> list[str]:
    """The lines of a config's components, without comments and indentation, nor ``begin`` and ``table``."""
    found: list[str] = []
    top: list[str] = []
    for line in [*path.read_text().splitlines(), "end:"]:
        text = line.split(" #")[0].rstrip()
        if not text or text.startswith("#"):
            continue
        if not text.startswith((" ", "-")):
            is_wiring = any("_target_" in each or "@begin" in each for each in top)
            found += top if is_wiring and top[0].rstrip(":") not in _FRAME else []
            top = []
        top.append(text.strip())
    return found


def shared_blocks(one: Path, other: Path) -> list[list[str]]:
    """Runs of at least three lines of wiring that stand in both, in the order of ``one``."""
    a, b = wiring_lines(one), wiring_lines(other)
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return [a[block.a : block.a + block.size] for block in blocks if block.size >= _LEAST]


def _show(path: Path) -> None:
    for where, name, written, taken in components(yaml.safe_load(path.read_text())):
        print(f"{where}: {name}")
        for key, value in written.items():
            print(f"    {key}: {'a component' if isinstance(value, dict | list) else value}")
        for key in taken:
            print(f"    {key}: @{key}, by its name")


def _compare() -> None:
    paths = sorted(CONFIGS.glob("*.yaml"))
    for path in paths:
        text = path.read_text()
        n_expressions = sum("$" in line for line in text.splitlines() if not line.lstrip().startswith("#"))
        n_lines, n_wiring = len(text.splitlines()), len(wiring_lines(path))
        print(f"{path.name}: {n_lines} lines, {n_wiring} of wiring, {n_expressions} with an expression")
    for one, other in combinations(paths, 2):
        blocks = shared_blocks(one, other)
        if blocks:
            lengths = [len(block) for block in blocks]
            print(f"\n{one.name} and {other.name}: {sum(lengths)} lines, at most {max(lengths)} in a row")
            print("\n  --\n".join("\n".join(f"  {line}" for line in block) for block in blocks))


def main() -> None:
    """The command line: see ``scripts/wiring``."""
    parser = argparse.ArgumentParser(prog="scripts/wiring", description="How the configs are wired.")
    parser.add_argument("config", nargs="?", type=Path, help="one config, written out; without: what they share")
    options = parser.parse_args()
    if options.config is None:
        _compare()
    else:
        _show(options.config)


if __name__ == "__main__":
    main()

"""What the Model Zoo asks of a bundle's files, beyond what MONAI's own commands check."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from bundle.networks import sha256_of

from .configs import AS_JSON
from .large_files import NAME, large_files
from .pages import absent_names

_TABLES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
_PRIVATE = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|mnt|data|workspace|work)/[\w.]")
_VERSION = re.compile(r"\d+(?:\.\d+)*(?:(?:a|b|rc|\.post|\.dev)\d+)?")


def broken_rules(folder: Path) -> list[str]:
    """One sentence for each rule that a package breaks; empty: none.

    Args:
        folder: an unpacked package.
    """
    missing = [f"{name} is missing" for name in _TABLES["needed"] if not (folder / name).is_file()]
    if missing:
        return missing
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    rules: list[Callable[[Path, dict[str, Any]], Iterator[str]]]
    rules = [_name_and_versions, _pages, _names, _configs, _sizes, _machine_paths, _links]
    return [complaint for rule in rules for complaint in rule(folder, metadata)]


def _name_and_versions(folder: Path, metadata: dict[str, Any]) -> Iterator[str]:
    if not re.fullmatch(r"[a-z0-9]+(?:_[A-Za-z0-9]+)+", metadata.get("name", "")):
        yield f"the name {metadata.get('name')!r} is not of the form <modality>_<task>"
    if metadata["version"] not in metadata.get("changelog", {}):
        yield f"version {metadata['version']} is not in the changelog of configs/metadata.json"
    pins = {name: metadata[f"{name}_version"] for name in ("monai", "pytorch", "numpy")}
    for name, version in (pins | metadata["required_packages_version"]).items():
        if not _VERSION.fullmatch(version):
            yield f"{name} {version!r} is not one version, so that 'pip install {name}=={version}' fails"


def _pages(folder: Path, metadata: dict[str, Any]) -> Iterator[str]:
    text = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    headings = {line.lstrip("#").strip() for line in text.splitlines() if line.startswith("#")}
    yield from (f"docs/README.md has no heading {name!r}" for name in _TABLES["headings"] if name not in headings)


def _names(folder: Path, metadata: dict[str, Any]) -> Iterator[str]:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    texts = {*_TABLES["texts"]} - {".toml"}  # a project file tells what a wheel leaves out
    for name in sorted(file for file in files if Path(file).suffix in texts):
        absent = absent_names((folder / name).read_text(encoding="utf-8", errors="replace"), name, files)
        yield from (f"{name} names {found}, which is not in the package" for found in dict.fromkeys(absent))


def _configs(folder: Path, metadata: dict[str, Any]) -> Iterator[str]:
    for path in sorted((folder / "configs").glob("*.yaml")):
        twin = path.with_suffix(".json")
        said = json.loads(twin.read_text()) if twin.is_file() else None
        if said != yaml.safe_load(path.read_text()) and (twin.is_file() or path.stem in AS_JSON):
            yield f"configs/{twin.name} does not say what configs/{path.name} says"
    for path in sorted((folder / "configs").glob("*.json")):
        text = path.read_text(encoding="utf-8")
        if text.strip() != json.dumps(json.loads(text), indent=4):
            yield f"configs/{path.name} is not JSON of indent 4"


def _sizes(folder: Path, metadata: dict[str, Any]) -> Iterator[str]:
    path = folder / NAME
    listed = yaml.safe_load(path.read_text(encoding="utf-8"))["large_files"] if path.is_file() else []
    hashes = {entry["path"]: entry["hash_val"] for entry in listed}
    yield from (f"{name} is over 25 MB and not in {NAME}" for name in large_files(folder) if name not in hashes)
    for name, sha256 in hashes.items():
        if (folder / name).is_file() and sha256_of(folder / name) != sha256:
            yield f"{name} is another file than {NAME} says"


def _machine_paths(folder: Path, metadata: dict[str, Any]) -> Iterator[str]:
    for path in (p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix in _TABLES["texts"]):
        found = _PRIVATE.search(path.read_text(encoding="utf-8", errors="replace"))
        if found:
            yield f"{path.relative_to(folder)} names a folder of one machine: {found[0]}..."


def _links(folder: Path, metadata: dict[str, Any]) -> Iterator[str]:
    yield from (f"{path.relative_to(folder)} is a link" for path in folder.rglob("*") if path.is_symlink())

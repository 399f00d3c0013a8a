"""Which files of the bundle a package takes along."""

from __future__ import annotations

from pathlib import Path

FOLDERS = ("bundle", "configs", "docs", "scripts")
FILES = ("LICENSE", "CHANGELOG.md", "CITATION.cff", "constraints.txt", "pyproject.toml", "models/README.md")
LEFT_OUT = {"scripts/check", "scripts/test"}  # they need the tests, which stay in the repository
_NEVER = {"__pycache__", "raw"}  # bytecode; raw numbers of benchmarks


def packaged_files(root: Path) -> list[str]:
    """Paths relative to ``root``, sorted, with ``/`` on every system; nothing hidden, no link, no bytecode."""
    found = [name for name in FILES if (root / name).is_file()]
    for folder in FOLDERS:
        for path in (root / folder).rglob("*"):
            relative = path.relative_to(root)
            is_wanted = not any(part.startswith(".") or part in _NEVER for part in relative.parts)
            if is_wanted and path.is_file() and not path.is_symlink() and path.suffix != ".pyc":
                found.append(relative.as_posix())
    return sorted(set(found) - LEFT_OUT)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

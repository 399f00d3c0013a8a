"""Which files of the bundle a package takes along."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

_log = logging.getLogger(__name__)
FOLDERS = (*("bundle", "configs", "docs"), *("scripts/deploy_app", "scripts/monailabel_app"))
FILES = (
    *("LICENSE", "constraints.txt", "pyproject.toml"),
    *("models/README.md", "models/demo_patch_encoder.pt"),
    *("models/tissue_region_encoder.pt", "models/tissue_region_encoder.json"),
    # What measures, tests and packages needs the repository, and stays there.
    *("scripts/demo", "scripts/label", "scripts/setup", "scripts/slpd"),
)
_NEVER = {"__pycache__"}
# Of the repository alone: how it is built and tried, what was measured with scripts that stay there.
_AT_HOME = {
    *("architecture.md", "benchmarks", "evidence.md", "learning.md", "reliability.md", "sharing.md", "tissue_outlines"),
    *("what_tests_notice.md", "atlas_tissue.jpg", "evidence_prototypes.jpg", "learning.png", "learning_pairs.png"),
}


def packaged_files(root: Path) -> list[str]:
    """Paths relative to ``root``, sorted, with ``/`` on every system; nothing hidden, no link, no bytecode.

    In a git checkout only what git tracks goes along: a table of patients or a mixin of one's own that lies in
    ``configs/`` stays at home, and a warning names it. A copy without git's records is taken as it is.
    """
    found = [name for name in FILES if (root / name).is_file()]
    for folder in FOLDERS:
        for path in (root / folder).rglob("*"):
            relative = path.relative_to(root)
            is_wanted = not any(part.startswith(".") or part in _NEVER for part in relative.parts)
            is_wanted = is_wanted and not (folder == "docs" and relative.parts[1] in _AT_HOME)
            if is_wanted and path.is_file() and not path.is_symlink() and path.suffix != ".pyc":
                found.append(relative.as_posix())
    wanted, tracked = set(found), _tracked_files(root)
    if tracked is None:
        return sorted(wanted)
    if wanted - tracked:
        _log.warning("left out, as git does not know them: %s", ", ".join(sorted(wanted - tracked)))
    return sorted(wanted & tracked)


def _tracked_files(root: Path) -> set[str] | None:
    """What git tracks below ``root``; None where it is no checkout of its own."""
    if not (root / ".git").exists():
        return None
    try:
        listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        _log.warning("git does not tell which files it tracks (%s): all are packaged", error)
        return None
    return set(listed.stdout.split("\0"))


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

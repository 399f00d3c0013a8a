"""``python -m scripts.zoo.pins``: whether pip finds each version that the metadata names, for Python 3.10 and 3.11.

The Model Zoo's checks begin by installing these versions as ``==`` pins, and end there where one does not exist.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

_METADATA = Path(__file__).resolve().parents[2] / "configs" / "metadata.json"
PYTHONS = ("3.10", "3.11")


def metadata_pins(metadata: Mapping[str, Any]) -> list[str]:
    """The requirements ``name==version`` that a bundle's metadata makes."""
    frameworks = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    pins = {name: metadata[field] for name, field in frameworks.items()} | metadata["required_packages_version"]
    return [f"{name}=={version}" for name, version in pins.items()]


def missing_pins(requirements: Sequence[str], python: str, *options: str) -> dict[str, str]:
    """What pip says of each requirement that it does not find for a Python; empty: it finds them all.

    Args:
        requirements: what is looked for, each by itself; nothing is installed.
        python: the Python that it is for, "3.10".
        options: of pip, such as ``--index-url``.
    """
    call = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed", "--quiet"]
    call += ["--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "30"]
    call += ["--only-binary=:all:", f"--python-version={python}", *options]
    with tempfile.TemporaryDirectory() as scratch:  # pip wants a place for wheels of another Python
        report = Path(scratch) / "report.json"
        call += ["--target", scratch, "--report", str(report), *requirements]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if not done.returncode:
            return _unfit(json.loads(report.read_text(encoding="utf-8"))["install"], python)
    if len(requirements) > 1:
        each = (missing_pins([requirement], python, *options) for requirement in requirements)
        return {requirement: words for missing in each for requirement, words in missing.items()}
    words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return {requirements[0]: (words or [f"exit status {done.returncode}"])[-1].removeprefix("ERROR: ")}


def _unfit(found: Sequence[Mapping[str, Any]], python: str) -> dict[str, str]:
    """Wheels whose own metadata refuse a Python; pip compares them with the Python that it runs on."""
    wheels = (each["metadata"] for each in found)
    return {
        f"{wheel['name']}=={wheel['version']}": f"requires Python {wheel['requires_python']}"
        for wheel in wheels
        if not SpecifierSet(wheel.get("requires_python") or "").contains(python)
    }


def main(*options: str) -> int:
    """Look for every pin and say what is missing; exit status 1 where something is.

    Args:
        options: of pip.
    """
    unknown = missing_pins(["monai"], PYTHONS[-1], *options)
    if unknown:
        print(f"SKIPPED, pins NOT looked for: pip reaches no registry that has monai ({unknown['monai']})")
        return 0
    requirements = metadata_pins(json.loads(_METADATA.read_text(encoding="utf-8")))
    found = {python: missing_pins(requirements, python, *options) for python in PYTHONS}
    for python, missing in found.items():
        print(f"Python {python}: {len(requirements) - len(missing)} of {len(requirements)} pins found")
        print("".join(f"  {requirement}: {words}\n" for requirement, words in missing.items()), end="")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

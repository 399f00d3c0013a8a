"""``slpd doctor``: is this machine right, what is slow or missing, and the command that mends it."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from ..core.bfloat16 import cpu_speeds
from ..core.memory import total_memory
from ..core.places import CONFIGS

GOOD, SLOW, MISSING = "good", "slow", "missing"
_MB = 1 << 20
_LEAST_SHM_GB, _LEAST_MEMORY_GB, _LEAST_DISK_MBS = 1.0, 8.0, 50.0
_PROBED_MB = 32


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        value: what was found; no path of the user's.
        state: "good", "slow" or "missing".
        advice: what mends it; empty where nothing is to be mended.
    """

    name: str
    value: str
    state: str = GOOD
    advice: str = ""


def main(words: Sequence[str]) -> int:
    """Look at everything and print it; status 1 where something is missing that every run needs."""
    parser = argparse.ArgumentParser(prog="slpd doctor", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("."), help="where runs will write to [.]")
    parser.add_argument("--json", action="store_true", help="for bug reports; holds no path and no name of yours")
    options = parser.parse_args(list(words))
    if not options.folder.is_dir():
        parser.exit(2, f"slpd: there is no folder {options.folder}; give the one that runs will write to.\n")
    found = list(look(options.folder))
    if options.json:
        print(json.dumps([asdict(finding) for finding in found], indent=1))
    else:
        print("\n".join(_lines(found)))
    return int(any(finding.state == MISSING for finding in found))


def look(folder: Path) -> Iterator[Finding]:
    """Each finding as it is made; the probes take some two seconds together.

    Args:
        folder: where runs will write to: its disk and its locks are tried.
    """
    yield Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield from _packages()
    yield from _readers()
    yield from _gpus()
    yield from _memory()
    yield from _disk(folder)
    yield _bfloat16()


def _packages() -> Iterator[Finding]:
    """Versions beside those that the bundle was tested with."""
    about = json.loads((CONFIGS / "metadata.json").read_text(encoding="utf-8"))
    tested = {
        "monai": about["monai_version"], "torch": about["pytorch_version"], **about["required_packages_version"],
    }  # fmt: skip
    absent, others = [], []
    for name, version in tested.items():
        try:
            has = metadata.version(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
            continue
        if has.partition("+")[0] != version.partition("+")[0]:
            others.append(f"{name} {has} (tested: {version})")
    absent = [name for name in absent if name not in ("faiss-cpu", "faiss-gpu", "cucim-cu13", "cucim")]
    if absent:
        yield Finding("packages", f"without {', '.join(absent)}", MISSING, f"pip install {' '.join(absent)}")
    said = "; ".join(others) if others else "as tested"
    yield Finding("versions", said, GOOD, "pip install -c constraints.txt ... brings the tested ones" if others else "")


def _readers() -> Iterator[Finding]:
    """What reads slides, and what clusters on a GPU."""
    for name, module, advice in (
        ("cuCIM", "cucim.clara", "pip install --no-deps cucim-cu13 click lazy-loader (with a GPU: the extra [gpu])"),
        ("OpenSlide", "openslide", "pip install openslide-bin openslide-python"),
        ("tifffile", "tifffile", "pip install tifffile imagecodecs"),
        ("faiss", "faiss", "pip install faiss-cpu; only kmeans_backend: faiss needs it"),
    ):
        try:
            found = importlib.import_module(module)
        except Exception as error:  # a library that is missing below it, of any kind
            state = MISSING if name in ("OpenSlide", "tifffile") else SLOW
            yield Finding(name, f"cannot be imported ({type(error).__name__})", state, advice)
            continue
        version = getattr(found, "__version__", "") or getattr(sys.modules[module.split(".")[0]], "__version__", "")
        yield Finding(name, str(version) or "is there")


def _gpus() -> Iterator[Finding]:
    import torch

    listed = _output(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"])
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            yield Finding(f"GPU {index}", f"{about.name}, {about.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}")
    elif listed:
        advice = "install torch with CUDA and the extra [gpu]; in a clone, scripts/setup does"
        yield Finding("GPU", f"{listed.splitlines()[0]}, but torch {torch.__version__} cannot use it", MISSING, advice)
    else:
        yield Finding("GPU", f"none; torch {torch.__version__} on {torch.get_num_threads()} threads")


def _output(words: Sequence[str]) -> str:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _memory() -> Iterator[Finding]:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        machine_gb, gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, total_memory() / 1e9
        advice = "" if gb >= _LEAST_MEMORY_GB else "--num_workers 1 --batch_size 16 for a first try"
        limited = f", by a limit; the machine has {machine_gb:.0f} GB" if gb < machine_gb else ""
        yield Finding("memory", f"{gb:.0f} GB{limited}", SLOW if advice else GOOD, advice)
    if Path("/dev/shm").is_dir():
        usage = shutil.disk_usage("/dev/shm")
        is_tiny = usage.free / 1e9 < _LEAST_SHM_GB
        advice = "docker run --shm-size=8g, or --num_workers 0 in training" if is_tiny else ""
        value = f"{usage.free / 1e9:.3g} of {usage.total / 1e9:.3g} GB free"
        yield Finding("shared memory", value, SLOW if is_tiny else GOOD, advice)


def _disk(folder: Path) -> Iterator[Finding]:
    """Room, speed and locks where runs will write to."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".slpd-doctor-") as file:
            started = time.perf_counter()
            file.write(os.urandom(_PROBED_MB * _MB))
            file.flush()
            os.fsync(file.fileno())
            rate = _PROBED_MB / (time.perf_counter() - started)
            locks = _can_lock(file.fileno())
    except OSError as error:
        advice = "give a folder that can be written: slpd doctor FOLDER"
        yield Finding("disk", f"nothing can be written ({error.strerror})", MISSING, advice)
        return
    free = shutil.disk_usage(folder).free / 1e9
    advice = "" if rate >= _LEAST_DISK_MBS else "a local disk for tokens: they are written at the speed of encoding"
    yield Finding("disk", f"{free:,.0f} GB free, writes {rate:,.0f} MB/s", SLOW if advice else GOOD, advice)
    yield Finding("file locks", "work" if locks else "none here; a marker file takes their place")


def _can_lock(descriptor: int) -> bool:
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except (OSError, ImportError):
        return False
    return True


def _bfloat16() -> Finding:
    """How much quicker a block is in bfloat16 on this CPU; without units for it it takes many times as long."""
    speeds = cpu_speeds()
    advice = "" if speeds.ratio > 1 else "leave --amp false on the CPU, as it is by default; true is refused here"
    value = f"{speeds.ratio:.2g} times the speed of float32 ({speeds.bfloat16:.3g} and {speeds.float32:.3g} blocks/s)"
    return Finding("bfloat16 on the CPU", value, GOOD, advice)


def _lines(found: Sequence[Finding]) -> list[str]:
    width = max(len(finding.name) for finding in found)
    lines = []
    for finding in found:
        mark = {GOOD: " ", SLOW: "~", MISSING: "!"}[finding.state]
        lines.append(f"{mark} {finding.name:<{width}}  {finding.value}")
        if finding.advice:
            lines.append(f"  {'':<{width}}  -> {finding.advice}")
    n_missing = sum(finding.state == MISSING for finding in found)
    n_slow = sum(finding.state == SLOW for finding in found)
    said = "this machine is right" if not n_missing + n_slow else f"{n_missing} missing (!), {n_slow} slow (~)"
    return [*lines, said]

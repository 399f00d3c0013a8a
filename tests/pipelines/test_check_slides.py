"""The start script of checking: words before MONAI is imported, then the command itself."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

_SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_slides"


def _start(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([_SCRIPT, *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=300)


def test_slides_are_counted_first_and_checked_then(tmp_path: Path) -> None:
    slides = tmp_path / "my slides"
    slides.mkdir()
    (slides / "empty.svs").touch()
    (slides / "torn.ndpi").write_bytes(b"II*\0")
    done = _start("my slides", "--output_dir", tmp_path / "check", "--num_workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stderr.splitlines()
    assert first == "looking for slides in my slides ..."
    assert second == "2 slides found; starting ..."
    with (tmp_path / "check" / "checks.csv").open(newline="") as file:
        assert {row["slide"]: bool(row["problem"]) for row in csv.DictReader(file)} == {"empty": True, "torn": True}


def test_a_folder_that_is_not_there_is_said_before_monai_starts(tmp_path: Path) -> None:
    done = _start("nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "nowhere" in done.stderr and "does not exist" in done.stderr
    assert "monai" not in (done.stdout + done.stderr).lower()

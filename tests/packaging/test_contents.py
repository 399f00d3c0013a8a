"""Which files a package takes."""

import re
import subprocess
from pathlib import Path

from scripts.zoo.__main__ import chosen_patch_encoder
from scripts.zoo.contents import packaged_files

ROOT = Path(__file__).parents[2]


def test_what_git_does_not_track_stays_at_home(tmp_path, caplog):
    """A private table in configs/ once went into the package; without git's records everything is taken."""
    (tmp_path / "configs").mkdir()
    for name in ("LICENSE", "configs/train.yaml", "configs/my_slides.csv"):
        (tmp_path / name).write_text("x\n")
    assert packaged_files(tmp_path) == ["LICENSE", "configs/my_slides.csv", "configs/train.yaml"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "add", "LICENSE", "configs/train.yaml"], check=True)
    assert packaged_files(tmp_path) == ["LICENSE", "configs/train.yaml"]
    assert "configs/my_slides.csv" in caplog.text


def test_the_patch_encoder_at_hand_goes_along(tmp_path):
    """Not naming one once left it out; "none" does, and so does an untrained package."""
    assert chosen_patch_encoder(None, tmp_path) is None
    (tmp_path / "patch_encoder.pt").touch()
    assert chosen_patch_encoder(None, tmp_path) == tmp_path / "patch_encoder.pt"
    assert chosen_patch_encoder(Path("other.pt"), tmp_path) == Path("other.pt")
    assert chosen_patch_encoder(Path("none"), tmp_path) is chosen_patch_encoder(None, None) is None


def test_a_script_that_ships_brings_its_python():
    """Start scripts once shipped whose Python did not: what a shipped one starts is in the package, tools are not."""
    files = packaged_files(ROOT)
    scripts = [ROOT / name for name in files if name.startswith("scripts/") and not Path(name).suffix]
    assert {path.name for path in scripts} == {"demo", "label", "setup", "slpd"}
    started = {name for path in scripts for name in re.findall(r"(?:bundle|scripts)(?:\.\w+)+", path.read_text())}
    modules = {name.replace(".", "/") for name in started}
    forms = ("{}.py", "{}/__main__.py", "{}/__init__.py")
    assert modules and all({form.format(name) for form in forms} & set(files) for name in modules)
    assert not [name for name in files if name.startswith(("scripts/bench", "scripts/zoo", "tests/"))]

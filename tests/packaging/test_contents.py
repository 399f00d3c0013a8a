"""Which files a package takes."""

import subprocess

from bundle.packaging.contents import packaged_files


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

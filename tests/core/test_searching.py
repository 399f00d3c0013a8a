"""Files of a folder and of what is linked into it."""

import os

import pytest
from empty_files import touch

from bundle.core import files_below, readable, tells_no_names_apart


def names(root, **how):
    """What is found, from the folder on."""
    return [path.relative_to(root).as_posix() for path in files_below(root, (".svs",), **how)]


def test_links_are_followed_once(tmp_path):
    """Linked files and folders count; a folder is looked at once, by the path with fewest links, and loops end."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(root, "a.svs", "x/b.SVS", "notes.txt", ".hidden.svs")
    touch(elsewhere, "c.svs", "deep/d.svs")
    (root / "0_first").symlink_to(elsewhere)
    (root / "again").symlink_to(elsewhere / "deep")
    (root / "0_own").symlink_to(root / "x")
    (root / "x" / "up").symlink_to(root)
    (root / "above").symlink_to(tmp_path)
    (elsewhere / "back").symlink_to(root)
    (root / "linked.svs").symlink_to(elsewhere / "c.svs")
    assert names(root) == ["0_first/c.svs", "0_first/deep/d.svs", "a.svs", "linked.svs", "x/b.SVS"]


def test_a_folder_of_links_alone(tmp_path):
    """Nothing was found in it before Python 3.13, whose own search follows links."""
    touch(tmp_path / "elsewhere", "c.svs")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "site").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "root") == ["site/c.svs"]


def test_links_that_lead_nowhere(tmp_path, caplog):
    """They are named, or found, so that each can be reported by itself."""
    touch(tmp_path, "a.svs")
    (tmp_path / "gone.svs").symlink_to(tmp_path / "not_mounted.svs")
    (tmp_path / "site").symlink_to(tmp_path / "not_mounted")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert names(tmp_path, dead=True) == ["a.svs", "gone.svs"]
    assert "2 links lead nowhere and are left out" in caplog.text and "site" in caplog.text
    caplog.clear()
    assert names(tmp_path) == ["a.svs"] and "gone.svs" in caplog.text
    caplog.clear()
    assert names(tmp_path, is_quiet=True) == ["a.svs"] and not caplog.text


def test_names_that_are_no_text():
    """Bytes that are no UTF-8 become %FC and the like; all other names stay."""
    assert readable(os.fsdecode(b"M\xfcller.tif")) == "M%FCller.tif"
    for name in ("M\u00fcller.tif", "a.svs", "\u8089 50%.svs"):
        assert readable(name) == name


def test_case_counts_here(tmp_path):
    """The file system is asked, in the nearest folder that is there; nothing of the question stays."""
    if (tmp_path.parent / tmp_path.name.upper()).exists():
        pytest.skip("the file system of temporary files takes capitals and small letters for one")
    assert not tells_no_names_apart(tmp_path / "out" / "a.h5", tmp_path / "out" / "A.h5")
    assert tells_no_names_apart(tmp_path / "a.h5", tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())

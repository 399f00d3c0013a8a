"""What another run, or a run of other settings, has left is there afterwards, whatever comes in its place."""

import json
import os
import time
from pathlib import Path

import pytest

from bundle.core import BundleError, EarlierResults, dated, keep_aside

WHEN = time.mktime((2026, 11, 29, 23, 40, 0, 0, 0, -1))


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (WHEN, WHEN))
    return path


def texts(folder):
    """Relative name -> text of each file."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_file_and_what_tells_of_it_get_a_dated_name(tmp_path):
    """By when it was written; a second one of that minute has a number."""
    path = written(tmp_path / "model.pt", "first")
    written(tmp_path / "model.json", "of the first")
    assert keep_aside(path).name == "model.2026-11-29_2340.pt"
    path.unlink()
    written(path, "second")
    written(tmp_path / "model_head.pt", "of the second")
    assert keep_aside(path, ["_head.pt"]).name == "model.2026-11-29_2340_2.pt"
    found = texts(tmp_path)
    assert found["model.2026-11-29_2340.pt"] == "first" and found["model.2026-11-29_2340.json"] == "of the first"
    assert found["model.2026-11-29_2340_2.pt"] == found["model.pt"] == "second"
    assert found["model.2026-11-29_2340_2_head.pt"] == "of the second" and len(found) == 7


def test_what_is_kept_already_is_not_kept_twice(tmp_path):
    """A run that was killed before it wrote its own finds the names of the first time, and what went with it then."""
    path = written(tmp_path / "model.pt", "first")
    written(tmp_path / "model_head.pt", "of the first")
    aside = keep_aside(path, ["_head.pt"])
    (tmp_path / "model_head.pt").unlink()  # names are given to new files, none is written in place
    written(tmp_path / "model_head.pt", "of a run that was killed")
    assert dated(path) == aside == keep_aside(path, ["_head.pt"])
    assert texts(tmp_path)[f"{aside.stem}_head.pt"] == "of the first" and len(texts(tmp_path)) == 4


def run(folder, **settings):
    """Results of a run: a file and a folder."""
    aside = EarlierResults(folder, "evaluating", ["results.csv", "hparams"], settings)()
    for name in ("results.csv", "hparams/a"):
        path = folder / name
        path.unlink(missing_ok=True)
        written(path, str(settings))
    return aside


def test_results_of_other_settings_step_aside_and_of_the_same_are_replaced(tmp_path):
    """Each once, in a folder of its own; what is no result stays where it is."""
    written(tmp_path / "results.csv", "of nobody knows what")
    written(tmp_path / "notes.txt", "mine")
    assert run(tmp_path, label="a") == tmp_path / "earlier" / "2026-11-29_2340"
    assert run(tmp_path, label="a") is None
    assert run(tmp_path, label="b") == tmp_path / "earlier" / "2026-11-29_2340_2"
    assert run(tmp_path, label="b", path=Path("c")) is not None
    found = texts(tmp_path)
    assert json.loads(found.pop("settings.json")) == {"evaluating": {"label": "b", "path": "c"}}
    first = {"earlier/2026-11-29_2340/results.csv": "of nobody knows what"}
    others = {
        f"earlier/2026-11-29_2340_{n}/{name}": str({"label": label})
        for n, label in ((2, "a"), (3, "b"))
        for name in ("results.csv", "hparams/a")
    }
    last = dict.fromkeys(("results.csv", "hparams/a"), str({"label": "b", "path": Path("c")}))
    assert found == {"notes.txt": "mine", **first, **others, **last}


def test_verbs_that_share_a_folder_do_not_know_of_one_another(tmp_path):
    """Each has settings and names of its own in it."""
    run(tmp_path, label="a")
    EarlierResults(tmp_path, "charting", ["atlas.html"], {"label": "b"})()
    assert run(tmp_path, label="a") is None and not (tmp_path / "earlier").exists()


def test_a_folder_that_cannot_take_them_is_an_error(tmp_path):
    """Before anything is written over."""
    run(tmp_path, label="a")
    (tmp_path / "earlier").touch()
    with pytest.raises(BundleError, match="earlier results in .* cannot be kept"):
        run(tmp_path, label="b")
    assert (tmp_path / "results.csv").read_text() == str({"label": "a"})


def test_of_several_processes_the_first_one_makes_room(tmp_path, monkeypatch):
    """The others left results in folders of their own, or failed where it had been quicker."""
    written(tmp_path / "results.csv", "of nobody knows what")
    monkeypatch.setenv("RANK", "1")
    assert EarlierResults(tmp_path, "evaluating", ["results.csv"], {})() is None
    assert texts(tmp_path) == {"results.csv": "of nobody knows what"}
    monkeypatch.setenv("RANK", "0")
    assert EarlierResults(tmp_path, "evaluating", ["results.csv"], {})() is not None


def test_results_that_somebody_removes_meanwhile_need_no_keeping(tmp_path, monkeypatch):
    """It ended with an error; the others are kept."""
    for name in ("a.csv", "b.csv"):
        written(tmp_path / name, name)
    real = Path.exists

    def exists_until_now(path):
        found = real(path)
        if path.name == "a.csv":
            path.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "exists", exists_until_now)
    aside = EarlierResults(tmp_path, "evaluating", ["a.csv", "b.csv"], {})()
    assert aside is not None and texts(aside) == {"b.csv": "b.csv"}

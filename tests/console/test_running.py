"""A subcommand's run: what is said before and after it, and what of others is not."""

import logging
import sys
import warnings

import pytest
from empty_files import touch

from bundle.console import running, talking
from bundle.console.__main__ import main
from bundle.console.talking import duration, quiet_run


@pytest.fixture
def runs(monkeypatch):
    """Words of the runs that would have been started."""
    found = []
    monkeypatch.setattr(running, "run_here", found.append)
    return found


def test_slides_are_counted_before_monai_starts(runs, tmp_path, capsys):
    """What, from where with how many slides, to where; at the end where things are and what is next."""
    slides = touch(tmp_path / "my slides", "a.svs")
    (tmp_path / "eval" / "check").mkdir(parents=True)
    (tmp_path / "eval" / "check" / "checks.csv").write_text("slide,problem\na,torn\nb,\n")
    assert main(["check", str(slides), "--work_dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("slpd check: ") and lines[1] == f"  from  {slides} (1 slide)"
    assert lines[2] == f"  to    {tmp_path / 'eval' / 'check'}" and lines[3].startswith("done in ")
    assert lines[4].strip() == str(tmp_path / "eval" / "check") and lines[5].startswith("next  slpd tokenize")
    assert runs[0][:2] == ["run", "checking"] and f"--dataset_dir={slides}" in runs[0]


@pytest.mark.parametrize(
    ("problems", "following"), [(["", "torn"], "--exclude"), (["", ""], "slpd tokenize"), (["torn", "torn"], None)]
)
def test_what_follows_a_check_is_what_it_has_found(runs, tmp_path, capsys, problems, following):
    """Slides with a problem are left out; nothing is advised where that would be all."""
    folder = touch(tmp_path / "slides", "a.svs")
    (tmp_path / "eval" / "check").mkdir(parents=True)
    rows = "".join(f"{number},{problem}\n" for number, problem in enumerate(problems))
    (tmp_path / "eval" / "check" / "checks.csv").write_text(f"slide,problem\n{rows}")
    assert main(["check", str(folder), "--work_dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert ("--exclude" in out) == (following == "--exclude")
    assert "next" not in out if following is None else following in out.splitlines()[-1]


def test_token_files_are_checked_as_well(runs, tmp_path, capsys):
    """They are no slides: nothing is counted, and they are not to be tokenized."""
    (tmp_path / "a.h5").touch()
    assert main(["check", str(tmp_path), "--work_dir", str(tmp_path)]) == 0 and len(runs) == 1
    out = capsys.readouterr().out
    assert f"  from  {tmp_path}\n" in out and "next" not in out


def test_a_dry_run_runs_nothing_and_says_what_is_there(runs, tmp_path, capsys):
    """What would be read, and of each place to be made whether something is there."""
    (tmp_path / "tokens").mkdir()
    touch(tmp_path, "models/model.pt")
    assert main(["train", str(tmp_path / "tokens"), "--work_dir", str(tmp_path), "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "-m monai.bundle run training" in said and f"--dataset_dir {tmp_path / 'tokens'}" in said
    assert "model.pt (is there; that of another run is kept aside)" in said and "slpd (new)" in said and not runs


def test_errors_are_one_line_and_a_status(runs, tmp_path, capsys):
    """On stderr; nothing is started."""
    assert main(["check", str(tmp_path / "none")]) == 2 and not runs
    assert capsys.readouterr().err.startswith("slpd: there is no ")


def test_only_what_is_the_users_concern_is_said(capsys):
    """Warnings of the bundle and results; no word of other libraries; of what comes each epoch one in a while."""
    with quiet_run(is_verbose=False):
        logging.getLogger("monai.bundle.scripts").info("input summary")
        logging.getLogger("bundle.pipelines.jobs").info("slide a")
        logging.getLogger("bundle.pipelines.pipeline").info("1 slide\nslide  status")
        logging.getLogger("bundle.anything").warning("look out")
        for epoch in (1, 2):
            logging.getLogger("bundle.training.handlers.history").info("epoch %d", epoch)
        warnings.warn("of a library", UserWarning, stacklevel=1)
        warnings.warn_explicit("of ours", UserWarning, f"{talking.ROOT}/bundle/slides/slide.py", 1)
    out, err = capsys.readouterr()
    assert out.splitlines() == ["1 slide", "warning: look out", "epoch 1"] and err.splitlines() == ["warning: of ours"]


def test_a_silent_run_gives_signs_of_life(monkeypatch, capsys):
    """Where nothing was written for long; a run that writes needs none."""
    monkeypatch.setattr(talking, "SILENCE_S", 0.0)
    with quiet_run(is_verbose=False):
        logging.getLogger("bundle.core.lock").warning("is waited for")
        assert sys.stdout.last_s > 1.0, "what is logged is heard"
        threads = [t for t in talking.threading.enumerate() if t.name == "signs of life"]
        assert threads
        sys.stderr.last_s = sys.stdout.last_s = 0.0
        talking.time.sleep(1.3)
    assert "still at work" in capsys.readouterr().err


def test_durations_are_written_as_people_do():
    assert [duration(s) for s in (0.4, 61, 3661)] == ["0:00", "1:01", "1:01:01"]

"""What people get wrong in their first hour: each is one message of few lines, which says what to do."""

import os
import sys
from pathlib import Path

import pytest
from warm import run_python

from bundle.console.__main__ import main
from bundle.core import ROOT

_MOST_LINES = 6


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """A folder to stand in, with one slide that is none, its table, and a patch encoder that is none."""
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a.svs").write_bytes(b"no slide")
    (tmp_path / "empty").mkdir()
    (tmp_path / "slides.csv").write_text("slide,diagnosis\na,x\n")
    (tmp_path / "encoder.pt").write_bytes(b"no weights")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("tokenise slides", "did you mean slpd tokenize?"),
        ("tokenize slide", "give SLIDES"),
        ("tokenize slides", "slpd encoder SLIDES"),
        ("tokenize slides --patch_encoder encoder.pt --mpp .5um", "give a number"),
        ("train tokens --max_epoch 3", "did you mean --max_epochs"),
        ("train", "give TOKENS"),
        ("train empty --resume=maybe", "give true or false"),
        ("train empty --with nscls", "no config of that name"),
        ("train empty empty", "one more"),
        ("evaluate empty --slide_table slide.csv", "give the CSV with a row a slide"),
        ("run slides", "--quick"),
        ("run slides --quick --label diagnosis", "--slide_table slides.csv"),
        ("run slides --quick --batch_size 8", "--train.batch_size"),
        ("run slides --quik", "did you mean --quick?"),
        ("check empty", "no slide found"),
        ("check slides --processes 4", "leave it out"),
    ],
)
def test_a_mistake_is_said_at_once(cohort, capsys, words, advice):
    """Before MONAI is imported, with status 2."""
    status = main(words.split())
    out, err = capsys.readouterr()
    assert status == 2 and advice in err and len((out + err).splitlines()) <= _MOST_LINES


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("train empty", "no token file (.h5) in empty"),
        ("tokenize slides --patch_encoder_ckpt encoder.pt", "encoder.pt"),
        ("train empty --device cuda", "give --device cpu"),
    ],
)
def test_a_mistake_that_a_run_finds(cohort, words, advice):
    """One message, no traceback, few lines; and nothing of MONAI's own words."""
    command = [sys.executable, "-m", "bundle.console", *words.split()]

    done = run_python(command, cwd=cohort, env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""})
    text = done.stdout + done.stderr
    assert done.returncode == 1 and advice in text and "Traceback" not in text, text
    assert len([line for line in text.splitlines() if line.strip()]) <= _MOST_LINES, text
    assert not Path("eval").exists() or not list(Path("eval").rglob("*.pt"))

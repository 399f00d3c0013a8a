"""What a run says before its first epoch: when SLPD begins and for whom, and whether checkpoints have room."""

import logging
from types import SimpleNamespace

import pytest
import torch
from cohorts import write_cohort
from engines import make_engine

from bundle.prototypes import Outlook, PrototypeBank, never_begins
from bundle.storage import TokenDataset
from bundle.training import PlanHandler, RunState, SLPDLoss

SLIDES = torch.tensor([0] * 5 + [1] * 2 + [2] * 3 + [3])
OF_SLIDES = SimpleNamespace(slide_index=SLIDES, slide_ids=list("abcd"))


def said(tmp_path, caplog, max_epochs, bank=None, **settings):
    """Level and text of what a run says before its first step."""
    weights = {name: settings.pop(name) for name in ("intra_weight", "inter_weight") if name in settings}
    bank = bank or PrototypeBank(4, min_regions=2)
    student = torch.nn.Linear(9, 10)
    state = RunState(tmp_path, {"student": student, "teacher": student}, {})
    handler = PlanHandler(bank, OF_SLIDES, SLPDLoss(out_dim=8, **weights), state, **settings)
    steps = []
    engine = make_engine(lambda _, batch: steps.append(len(caplog.records)), [handler])
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="bundle.training.handlers.plan"):
        engine.run([0], max_epochs=max_epochs)
    assert steps[0] == 2, "before the first step"
    return [(record.levelname, record.getMessage()) for record in caplog.records[:2]]


def test_the_outlook_is_what_the_bank_then_does():
    """Slides, regions and prototypes that are announced are those of the first clustering, chosen regions included."""
    features = torch.nn.functional.normalize(torch.randn(11, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    for chosen in (None, torch.tensor([0, 1, 2, 3, 5, 7, 8, 10])):
        for least, most in ((1, 2), (2, 4), (3, 4), (6, 4)):
            bank = PrototypeBank(most, min_regions=least, trained_regions=chosen)
            found = Outlook.of(bank, SLIDES, 4)
            bank.fit(features, SLIDES, 4)
            assert found.slides == int(bank.valid.any(1).sum())
            assert found.prototypes == int(bank.valid.sum())
            assert found.regions == int((bank.assignment >= 0).sum())
            assert (found.all_slides, found.all_regions) == (4, 11)


def test_when_it_begins_and_for_whom(tmp_path, caplog):
    """The first epoch with prototypes, slides, regions, prototypes; and the room for checkpoints."""
    (level, text), (_, disk) = said(tmp_path, caplog, 21)
    assert level == "INFO"
    assert text == "SLPD begins in epoch 21 of 21, for 3 of 4 slides (10 of 11 regions), with up to 9 prototypes"
    assert disk.startswith(f"checkpoints will take up to 0.00 GB in {tmp_path}")


def test_checkpoints_are_counted(tmp_path):
    """Student with two moments of each weight, teacher, assignments; last, one in writing, every tenth epoch."""
    student = torch.nn.Linear(9, 10)
    state = RunState(tmp_path, {"student": student, "teacher": student}, {})
    handler = PlanHandler(PrototypeBank(4), OF_SLIDES, SLPDLoss(out_dim=8), state, checkpoint_interval=10)
    assert handler.disk_bytes(35) == (400 * 4 + 8 * 11) * (3 + 2)


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_memory_is_told_too(tmp_path, cache):
    """Tokens where they are kept; the student four times, the teacher once; prototypes and what they are found in."""
    write_cohort(tmp_path / "tokens", (5, 2, 3, 1))
    data = TokenDataset(tmp_path / "tokens", cache=cache)
    student = torch.nn.Linear(999, 1000)
    state = RunState(tmp_path, {"student": student, "teacher": student}, {})
    settings = {"prototype_warmup_epochs": 1, "bottleneck_dim": 10**7}
    text = PlanHandler(PrototypeBank(4), data, SLPDLoss(out_dim=8), state, **settings).memory("cpu")
    kept = sum(region["features"].nbytes for region in data) if cache == "memory" else 0
    assert data.resident == (("the machine's memory", kept) if kept else ("", 0))
    assert ("tokens 0.00 GB in the machine's memory" if kept else "tokens are read from their files") in text
    assert "networks and optimizer 0.02 GB on cpu" in text and f"{0.04 * (9 + 10):.2f} GB; each step" in text


@pytest.mark.parametrize(
    ("settings", "level", "words"),
    [
        ({"max_epochs": 20}, "WARNING", "SLPD never begins in this run: max_epochs is 20, and the first 20 epochs"),
        ({"max_epochs": 2, "prototype_warmup_epochs": 10**6}, "INFO", "2 epochs of plain DINO, as it was asked for"),
        ({"max_epochs": 2, "intra_weight": 0.0, "inter_weight": 0.0}, "INFO", "2 epochs of plain DINO"),
        ({"max_epochs": 30, "bank": PrototypeBank(4, min_regions=6)}, "WARNING", "none of 4 slides has the 6"),
        ({"max_epochs": 30, "bank": PrototypeBank(4, min_regions=5)}, "INFO", "a slide alone has no neighbors"),
    ],
)  # fmt: skip
def test_a_run_without_slpd_is_warned_of_unless_it_was_asked_for(tmp_path, caplog, settings, level, words):
    """Each of these used to be trained to its end without a word."""
    found = said(tmp_path, caplog, settings.pop("max_epochs"), **settings)[0]
    assert found[0] == level and words in found[1]


def test_a_full_disk_is_warned_of(tmp_path, caplog, monkeypatch):
    """Hours before the checkpoint that would not fit."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 100})())
    assert said(tmp_path, caplog, 1)[1][0] == "WARNING"


def test_the_first_epoch_of_slpd_is_the_one_after_the_warm_up():
    """20 epochs of warm-up leave nothing to 20, and one to 21."""
    assert "max_epochs is 20" in never_begins(20, 20.0) and never_begins(21, 20) == "" and never_begins(1, 10**6) == ""

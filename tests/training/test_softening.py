"""Prototypes that join: their ramp, and what is said where they make all targets one."""

import math
from types import SimpleNamespace

import pytest
import torch
from engines import make_engine

from bundle.training import DivergenceHandler, EpochRecordHandler, PrototypeRampHandler

UNIFORM = math.log(500)


def _output(entropy, terms=None):
    """Of a step; ``terms``: self, intra and inter of a run with prototypes."""
    own = dict(zip(("self", "intra", "inter"), terms or (entropy + 1, 0, 0), strict=True))
    values = own | {"loss": sum(own.values()), "teacher_entropy": entropy, "teacher_spread": 0.5}
    values |= {"intra_entropy": entropy + 0.1, "inter_entropy": entropy} if terms else {}
    return {name: torch.tensor(float(value)) for name, value in values.items()}


def _warnings(outputs, caplog):
    """What a run with one step an epoch says, and the record of its last epoch."""
    steps = iter(outputs)
    engine = make_engine(lambda e, b: next(steps), [EpochRecordHandler(), DivergenceHandler(500)])
    state = engine.run([0], max_epochs=len(outputs))
    return [record.getMessage() for record in caplog.records if "softened" in record.getMessage()], state.record


def test_softening_is_named_once_and_says_what_to_try(caplog):
    """Nearly uniform since prototypes joined, and three terms that are one: one warning, after the second epoch."""
    outputs = [_output(3.0)] * 2 + [_output(5.9, (6.1, 6.0, 6.0))] * 4
    said, record = _warnings(outputs, caplog)
    assert len(said) == 1 and "about 365 of 500 outputs (20 before prototypes)" in said[0]
    assert "self 6.10, intra 6.00, inter 6.00" in said[0] and "--prototype_temperature match" in said[0]
    assert record["teacher_outputs"] == pytest.approx(math.exp(5.9))
    assert record["intra_outputs"] == pytest.approx(math.exp(6.0), rel=1e-5)


@pytest.mark.parametrize(
    ("before", "joined"),
    [
        (3.0, [_output(5.7, (5.9, 5.8, 5.8))] * 3),  # 0.92 of uniform: planted cohorts are learned well so
        (3.0, [_output(5.9, (6.0, 4.9, 5.1))] * 3),  # soft, but the terms still differ: regions are told apart
        (5.85, [_output(5.9, (6.1, 6.0, 6.0))] * 3),  # hardly softer than before prototypes
        (3.0, [_output(h, (h + 0.2, h + 0.1, h + 0.1)) for h in (5.9, 3.2, 5.9)]),  # never twice
    ],
    ids=["softer", "terms differ", "soft before", "recovers"],
)
def test_a_healthy_run_is_not_named(before, joined, caplog):
    """Targets that are far from uniform, terms that differ, DINO's own softness, a soft epoch that passes."""
    assert _warnings([_output(before)] * 2 + joined, caplog)[0] == []


@pytest.mark.parametrize(("entropy", "n_warnings"), [(0.95 * UNIFORM, 1), (0.92 * UNIFORM, 0)])
def test_a_resumed_run_goes_by_how_near_to_uniform_targets_are(entropy, n_warnings, caplog):
    """It has seen no epoch without prototypes; without neighbors the two terms that there are count."""
    said, _ = _warnings([_output(entropy, (entropy + 0.1, entropy + 0.1, 0.0))] * 3, caplog)
    assert len(said) == n_warnings


def test_the_ramp_is_linear_after_the_warm_up():
    """Share 0 through the first of three epochs, then steps of an eighth over two, then 1; the record can show it."""
    loss, seen = SimpleNamespace(prototype_share=1.0), []
    ramp = PrototypeRampHandler(loss, prototype_warmup_epochs=1, prototype_ramp_epochs=2)
    state = make_engine(lambda e, b: seen.append(loss.prototype_share), [ramp]).run(range(4), max_epochs=4)
    assert seen == pytest.approx([0.0] * 4 + [i / 8 for i in range(8)] + [1.0] * 4)
    assert state.schedules == {"prototype_share": 1.0}


def test_without_a_ramp_nothing_is_set():
    """0 epochs: the loss keeps its own share and schedules stay as they are."""
    loss = SimpleNamespace(prototype_share=0.5)
    ramp = PrototypeRampHandler(loss, prototype_warmup_epochs=1)
    state = make_engine(handlers=[ramp]).run(range(2), max_epochs=2)
    assert loss.prototype_share == 0.5 and not hasattr(state, "schedules")
    with pytest.raises(ValueError, match="prototype_ramp_epochs is -1"):
        PrototypeRampHandler(loss, 1, -1)


def test_numbers_of_a_run_that_has_diverged_are_recorded():
    """Whatever stands where an entropy should, the record is made: stopping the run is others' business."""
    output = {"teacher_entropy": torch.tensor(1e6), "intra_entropy": torch.tensor(math.nan)}
    record = make_engine(lambda e, b: output, [EpochRecordHandler()]).run([0], max_epochs=1).record
    assert record["teacher_outputs"] == math.inf and math.isnan(record["intra_outputs"])

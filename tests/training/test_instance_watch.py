"""Instance identification: measured as said, and named when it lasts."""

import math

import pytest
import torch
from engines import make_engine
from ignite.engine import Events

from bundle.training import DivergenceHandler, EpochRecordHandler, InstanceHandler
from bundle.training.handlers.instance_watch import instance_statistics
from bundle.training.handlers.turn import in_turn


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("n_views", [1, 2, 6])
def test_the_statistics_are_a_double_loop(n_views):
    """Each crop against each region's first teacher view, one pair at a time; the teacher's own crop does not count."""
    teacher = unit(2, 7, 5)
    student = torch.nn.functional.normalize(teacher[:1] + 1.2 * unit(n_views, 7, 5, seed=1), dim=-1)
    hits, nearest = [], []
    for view in range(min(1, n_views - 1), n_views):
        for region in range(7):
            cosines = [float(student[view, region] @ teacher[0, other]) for other in range(7)]
            own = cosines.pop(region)
            hits.append(own > max(cosines))
            nearest.append(max(cosines))
    accuracy, similarity = instance_statistics(student, teacher).tolist()
    assert accuracy == pytest.approx(sum(hits) / len(hits)) and similarity == pytest.approx(sum(nearest) / len(nearest))
    assert 0 < accuracy < 1 or n_views == 1


def test_the_ends_of_the_scale():
    """Regions apart: 1, and a low cosine. All alike: nobody is found. One region alone: nothing can be said."""
    apart = torch.eye(4).expand(3, 4, 4)
    assert instance_statistics(apart, apart[:2]).tolist() == [1, 0]
    alike = torch.ones(3, 4, 4) / 2
    assert instance_statistics(alike, alike[:2]).tolist() == [0, 1]
    assert instance_statistics(alike[:, :1], alike[:2, :1]).isnan().all()


def run(bottlenecks, own_loss, n_epochs, every=2, n_steps=5):
    """The records of an engine with these bottlenecks in each step and all three handlers."""

    def step(engine, batch):
        engine.state.bottlenecks = bottlenecks(engine.state.epoch, batch)
        scalars = {"loss": 1.0, "self": own_loss, "teacher_entropy": 2.0, "teacher_spread": 0.5}
        return {name: torch.tensor(value) for name, value in scalars.items()}

    handlers = in_turn([DivergenceHandler(out_dim=100), EpochRecordHandler(), InstanceHandler(every)])
    engine, records = make_engine(step, handlers), []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: records.append(e.state.record))
    engine.run(range(n_steps), max_epochs=n_epochs)
    return records


def test_the_record_has_the_mean_of_the_looks():
    """Steps 1, 3 and 5 of five, of this epoch alone."""
    looks = {(epoch, step): unit(3, 6, 4, seed=10 * epoch + step) for epoch in (1, 2) for step in range(5)}
    records = run(lambda epoch, step: (looks[epoch, step], looks[epoch, step][:2]), 1.0, 2)
    for epoch, record in enumerate(records, 1):
        own = [instance_statistics(looks[epoch, step], looks[epoch, step][:2]) for step in (0, 2, 4)]
        expected = torch.stack(own).mean(0).tolist()
        assert [record["instance_accuracy"], record["other_similarity"]] == pytest.approx(expected)


def warnings(caplog, bottlenecks, own_loss, n_epochs):
    caplog.clear()
    run(bottlenecks, own_loss, n_epochs, every=1, n_steps=2)
    return [record.getMessage() for record in caplog.records if "instance identification" in record.getMessage()]


def test_instance_identification_is_named_once(caplog):
    """From the third epoch in a row on; not at a loss that is not low, nor where crops find others."""
    apart, low = torch.eye(4).expand(3, 4, 4), 0.1 * math.log(100)
    together = torch.ones(3, 4, 4) / 2
    said = warnings(caplog, lambda epoch, step: (apart, apart[:2]), low, 6)
    assert len(said) == 1 and "for 3 epochs 100.0 % of crops" in said[0] and "token_shift region" in said[0]
    assert warnings(caplog, lambda epoch, step: (apart, apart[:2]), low, 2) == []
    assert warnings(caplog, lambda epoch, step: (apart, apart[:2]), 0.25 * math.log(100), 6) == []
    assert warnings(caplog, lambda epoch, step: (together, together[:2]), low, 6) == []
    now_and_then = [apart, apart, together]
    assert warnings(caplog, lambda epoch, step: (now_and_then[epoch % 3], now_and_then[epoch % 3][:2]), low, 7) == []

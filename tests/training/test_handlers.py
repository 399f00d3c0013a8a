"""Handlers in a real engine; what they do to a step is compared in ``test_ten_steps.py``."""

import math

import pytest
import torch
from cohorts import write_cohort
from engines import make_engine
from ignite.engine import Engine, Events
from torch import nn

from bundle.core import BundleError
from bundle.storage import TokenDataset
from bundle.training import (
    CheckpointHandler,
    DivergenceHandler,
    EpochRecordHandler,
    ExportHandler,
    HistoryHandler,
    ResumeHandler,
    RunState,
    TensorBoardHandler,
)
from bundle.training.handlers.gradients import clip_each_


def test_each_gradient_is_clipped_alone_whatever_its_size_and_layout(monkeypatch):
    """Small ones at once, large ones and transposed ones by themselves: bit for bit g * min(1, 1 / (|g| + 1e-6))."""
    monkeypatch.setattr("bundle.training.handlers.gradients._SMALL", 20)
    shapes = [(3,), (), (4, 5), (5, 5), (30,)]
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes] + [nn.Parameter(torch.zeros(2))]
    gradients = [torch.randn(shape) * scale for shape, scale in zip(shapes, (0.1, 4.0, 3.0, 0.01, 9.0), strict=True)]
    gradients[2] = gradients[2].reshape(5, 4).T
    for parameter, gradient in zip(parameters, gradients, strict=False):
        parameter.grad = gradient.clone()
    clip_each_(parameters, 1.0)
    assert parameters[-1].grad is None
    for parameter, gradient in zip(parameters, gradients, strict=False):
        expected = gradient * (1.0 / (gradient.norm() + 1e-6)).clamp(max=1.0)
        assert torch.equal(parameter.grad, expected)


def outputs(loss=1.0, entropy=2.0, spread=0.5):
    """A trainer's output."""
    return {k: torch.tensor(v) for k, v in {"loss": loss, "teacher_entropy": entropy, "teacher_spread": spread}.items()}


def test_the_record_is_the_mean_of_the_epoch():
    """Means over the epoch's iterations, not over the run's."""
    losses = iter([1.0, 3.0, 10.0, 20.0])
    engine = make_engine(lambda e, b: outputs(next(losses)), [EpochRecordHandler()])
    records = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: records.append(e.state.record))
    engine.run(range(2), max_epochs=2)
    assert [record["loss"] for record in records] == [2.0, 15.0]
    assert [record["epoch"] for record in records] == [1, 2]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (outputs(loss=float("nan")), "the loss is nan at iteration 1"),
        (outputs(spread=1e-9), "collapsed for 3 epochs: spread 1.0e-09"),
        (outputs(entropy=1e-6), "entropy 0.00% of a uniform teacher's"),
        (outputs(entropy=math.log(100)), "entropy 100.00% of a uniform teacher's"),
    ],
)
def test_a_run_that_went_wrong_stops_and_says_what_to_try(output, message):
    """NaN at once, collapse after the third epoch in a row."""
    engine = make_engine(lambda e, b: output, [EpochRecordHandler(), DivergenceHandler(out_dim=100)])
    with pytest.raises(BundleError, match=message) as error:
        engine.run([0], max_epochs=5)
    assert "Try a lower --lr" in str(error.value)


def test_a_loss_that_is_nan_names_the_regions_of_its_batch(tmp_path):
    """What was in it is where to look first."""
    dataset = TokenDataset(write_cohort(tmp_path, (2, 3)), cache="none")
    handlers = [EpochRecordHandler(), DivergenceHandler(out_dim=100, dataset=dataset)]
    engine = make_engine(lambda e, b: outputs(loss=float("nan")), handlers)
    with pytest.raises(BundleError, match=r"noticed with the batch of slide_1 region 2, slide_0 region 1\. Try"):
        engine.run([{"region_id": torch.tensor([4, 1])}])


def test_a_healthy_run_is_left_alone():
    """Two collapsed epochs followed by a good one are no reason to stop."""
    spreads = iter([1e-9, 1e-9, 0.5, 1e-9, 1e-9])
    engine = make_engine(
        lambda e, b: outputs(spread=next(spreads)), [EpochRecordHandler(), DivergenceHandler(out_dim=100)]
    )
    assert engine.run([0], max_epochs=5).epoch == 5


def run_with_checkpoints(folder, network, epochs, resume=False, identity=None):
    """A run that adds 1 to a weight in every iteration."""

    def step(engine, batch):
        with torch.no_grad():
            network.weight.add_(1.0)
        return outputs()

    run_state = RunState(folder, {"student": network}, identity or {"seed": 0})
    saver = CheckpointHandler(run_state, every=2)
    handlers = [ResumeHandler(run_state, resume), EpochRecordHandler(), HistoryHandler(folder), saver]
    engine = make_engine(step, handlers)
    return engine.run(range(3), max_epochs=epochs)


def fresh():
    network = nn.Linear(2, 2)
    nn.init.zeros_(network.weight)
    return network


def test_a_resumed_run_goes_on_where_the_first_one_stopped(tmp_path):
    """Weights, epoch, iteration and the history are those of an unbroken run."""
    run_with_checkpoints(tmp_path, fresh(), 2)
    network = fresh()
    state = run_with_checkpoints(tmp_path, network, 5, resume="true")
    assert (state.epoch, state.iteration) == (5, 15)
    assert float(network.weight[0, 0]) == 15.0
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2", "3", "4", "5"]
    assert sorted(p.name for p in tmp_path.glob("*.pt")) == ["epoch_0002.pt", "epoch_0004.pt", "last.pt"]
    assert (tmp_path / "training.png").stat().st_size > 1000


def test_a_finished_run_resumed_does_nothing(tmp_path):
    """No epoch is trained twice."""
    run_with_checkpoints(tmp_path, fresh(), 2)
    network = fresh()
    run_with_checkpoints(tmp_path, network, 2, resume=True)
    assert float(network.weight[0, 0]) == 6.0


def test_a_run_is_not_written_over(tmp_path):
    """Starting again in the same folder used to be the way to lose a week."""
    run_with_checkpoints(tmp_path, fresh(), 1)
    with pytest.raises(BundleError, match="holds a run: pass --resume true"):
        run_with_checkpoints(tmp_path, fresh(), 2)


def test_a_changed_run_is_not_resumed(tmp_path):
    """The message names what has changed."""
    run_with_checkpoints(tmp_path, fresh(), 1)
    with pytest.raises(BundleError, match="seed: 0 then, 1 now"):
        run_with_checkpoints(tmp_path, fresh(), 2, resume=True, identity={"seed": 1})


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    """One message with file and shapes, and no traceback of torch's."""
    run_with_checkpoints(tmp_path, fresh(), 1)
    with pytest.raises(BundleError, match=r"last.pt is of another architecture: student does not fit .*size mismatch"):
        run_with_checkpoints(tmp_path, nn.Linear(3, 2), 2, resume=True)


def test_weights_are_exported_at_the_end(tmp_path):
    """A bare state dict, or one in an envelope."""
    network = fresh()
    envelope = {"architecture": {"dim": 2}}
    handlers = [
        ExportHandler(network, tmp_path / "model.pt"),
        ExportHandler(network, tmp_path / "patch.pt", envelope),
        ExportHandler(network, None),
    ]
    make_engine(handlers=handlers).run([0], max_epochs=1)
    bare = torch.load(tmp_path / "model.pt", weights_only=True)
    wrapped = torch.load(tmp_path / "patch.pt", weights_only=True)
    assert set(bare) == set(wrapped["teacher"]) == {"weight", "bias"}
    assert wrapped["architecture"] == {"dim": 2}
    assert len(list(tmp_path.iterdir())) == 2


def test_tensorboard_gets_losses_records_and_pictures(tmp_path):
    """Read back with TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Pictures:
        def __call__(self):
            return {"prototypes/a": torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()}

        def save(self, path):
            path.write_bytes(b"png")

    board = TensorBoardHandler(tmp_path, Pictures(), every=1, pictures_every=1)
    make_engine(lambda e, b: outputs(), [EpochRecordHandler(), board]).run(range(3), max_epochs=2)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert len(events.Scalars("iteration/loss")) == 6
    assert len(events.Scalars("epoch/teacher_entropy")) == 2
    assert events.Tags()["images"] == ["prototypes/a"]
    assert (tmp_path / "prototypes.png").exists()


def test_an_epoch_has_only_the_metrics_of_its_own_validation():
    """The untrained encoder's kNN is epoch 0's; with an interval of 2 it used to stand in epoch 1's row, too."""
    values = iter([0.25, 0.5, 0.75])
    evaluator = Engine(lambda e, b: None)
    evaluator.state.best_metric, evaluator.state.best_metric_epoch = -1, -1

    def run(epoch=1):
        evaluator.state.metrics = {"loo_knn_accuracy": next(values)}
        evaluator.state.epoch = epoch

    evaluator.run = run
    engine = make_engine(lambda e, b: outputs(), [])
    records = []
    handler = EpochRecordHandler(evaluator)
    engine.add_event_handler(Events.EPOCH_COMPLETED(every=2), lambda e: run(e.state.epoch))
    handler.attach(engine)
    engine.add_event_handler(Events.STARTED, lambda e: records.append(e.state.record))
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: records.append(e.state.record))
    engine.run([0], max_epochs=3)
    assert [record.get("loo_knn_accuracy") for record in records] == [0.25, None, 0.5, None]


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """An infinite gradient in an epoch's last step leaves the losses finite and the weights NaN."""
    network = fresh()

    def step(engine, batch):
        network.weight.data[0, 0] = float("nan")
        return outputs()

    run_state = RunState(tmp_path, {"student": network}, {})
    handlers = [EpochRecordHandler(), DivergenceHandler(out_dim=100, network=network), CheckpointHandler(run_state)]
    with pytest.raises(BundleError, match="the weights are not finite after epoch 1"):
        make_engine(step, handlers).run([0], max_epochs=1)
    assert list(tmp_path.iterdir()) == []

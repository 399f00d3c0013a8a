"""A run that is told to stop, or killed, within an epoch: what it was is what it becomes."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
from cohorts import write_cohort
from engines import make_engine
from ignite.engine import Events
from tiny_training import differences, history_of, tiny_run

from bundle.core import ENDING, BundleError, as_number
from bundle.core.lock import writer_lock
from bundle.storage import RegionBatchSampler
from bundle.training import RunState, StopHandler

N_STEPS = 3  # an epoch: 15 regions in batches of 5


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("tokens"), regions=(4, 3, 5, 3))


def train(tokens, output, event=Events.ITERATION_STARTED, at=None, do=None, **ids):
    """Train to the end, or to where ``do`` is done: at an event the ``at``-th time, or each time."""
    sizes = {"n_local": 1, "batch_size": 5, "max_epochs": 2, "checkpoint_interval": 0}
    workflow = tiny_run(tokens, output, **{**sizes, **ids})
    workflow.parser.get_parsed_content("begin")  # seeds, before there are weights
    trainer = workflow.parser.get_parsed_content("train#trainer")
    if do is not None:
        trainer.add_event_handler(event(once=at) if at else event, do)
    trainer.run()


def end_of(output):
    """What the run left, but for clocks."""
    return torch.load(output / "last.pt", weights_only=True), history_of(output)


@pytest.fixture(autouse=True)
def listeners():
    """Of before and afterwards; in between nobody listens, as when a run begins."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    yield
    for number, listener in before.items():
        signal.signal(number, listener)


@pytest.fixture(scope="module")
def unbroken(tokens, tmp_path_factory):
    output = tmp_path_factory.mktemp("unbroken")
    train(tokens, output)
    return end_of(output)


def told(number):
    """What a handler does to tell its own process."""
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "at", "n_epochs"),
    [(signal.SIGTERM, 2, 0), (signal.SIGUSR1, 3, 1), (signal.SIGTERM, 4, 1)],
    ids=["first epoch", "last step of an epoch", "first step with prototypes"],
)
def test_a_stopped_run_goes_on_as_if_nothing_had_been(tokens, unbroken, tmp_path, number, at, n_epochs, caplog):
    """Weights, optimizer, centers, prototypes and every row of the history are the same to the bit; the process ends
    with the signal's status, and the signal is the process's own again."""
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        train(tokens, tmp_path, at=at, do=told(number))
    assert stop.value.code == 128 + number
    assert signal.getsignal(number) == before
    assert not (tmp_path / "model.pt").exists()
    assert f"stopped by {number.name} after iteration {at - n_epochs * N_STEPS or N_STEPS} of 3" in caplog.text
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert saved["trainer"] == {"epoch": n_epochs, "iteration": at}
    train(tokens, tmp_path, resume=True)
    assert differences(end_of(tmp_path), unbroken) == []
    assert (tmp_path / "model.pt").exists()


def test_reading_processes_are_told_too_and_stay(tokens, unbroken, tmp_path):
    """Slurm tells every process of a job, in the middle of a step as well; workers that end would end the run."""
    started = []

    def tell_all(engine):
        started.extend(multiprocessing.active_children())
        for process in started:
            os.kill(process.pid, signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)  # they would be gone by now

    with pytest.raises(SystemExit):
        train(tokens, tmp_path, at=2, do=tell_all, num_workers=2)
    assert len(started) == 2
    assert torch.load(tmp_path / "last.pt", weights_only=True)["trainer"]["iteration"] == 2
    for process in started:  # the run wants them no more
        process.terminate()
        process.join(10)
        assert process.exitcode is not None
    train(tokens, tmp_path, resume=True)
    assert differences(end_of(tmp_path), unbroken) == []


def test_what_is_not_finite_is_not_written(tokens, tmp_path):
    """The file of before stays: from a checkpoint of NaN no run could go on."""

    def spoil(engine):
        with torch.no_grad():
            next(engine.network.parameters()).fill_(torch.nan)

    with pytest.raises(Exception, match="loss is nan"):
        train(tokens, tmp_path, at=5, do=spoil, checkpoint_minutes=1e-9)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert saved["trainer"]["iteration"] == 4
    assert all(bool(value.isfinite().all()) for value in saved["student"].values())


def test_a_run_told_in_its_last_step_is_complete(tokens, unbroken, tmp_path):
    """It has nothing to go on with, so its weights are exported first; whoever listened before is told then."""
    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append((number, (tmp_path / "model.pt").exists())))
    train(tokens, tmp_path, at=6, do=told(signal.SIGTERM))
    assert heard == [(signal.SIGTERM, True)]
    assert (tmp_path / "model.pt").exists()
    assert differences(end_of(tmp_path), unbroken) == []


def test_minutes_write_a_run_down_within_an_epoch(tokens, unbroken, tmp_path):
    """A failure in the second epoch costs the steps since then, not the epoch."""

    def fail():
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(tokens, tmp_path, at=6, do=fail, checkpoint_minutes=1e-9)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["trainer"]["iteration"] == 5
    train(tokens, tmp_path, resume=True)
    assert differences(end_of(tmp_path), unbroken) == []


def test_a_second_run_in_the_folder_is_refused_while_the_first_one_runs(tokens, tmp_path):
    """It is told who writes there; afterwards the folder is free, after a failure, too."""
    said = []

    def intrude():
        with pytest.raises(BundleError) as error:
            train(tokens, tmp_path, resume=True)
        said.append(str(error.value))
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        train(tokens, tmp_path, at=4, do=intrude)
    assert f"the run {tmp_path} is being written by process {os.getpid()} on " in said[0]
    with writer_lock(tmp_path, "run", "output_dir"):
        pass
    train(tokens, tmp_path, resume=True)


def test_without_minutes_nothing_is_written_within_an_epoch(tmp_path):
    """0 is for those who do not want it."""
    state = RunState(tmp_path, {}, {})
    make_engine(handlers=[StopHandler(state, as_number(0, "checkpoint_minutes"))]).run([1, 2], max_epochs=1)
    assert not state.last.exists()


def poisoned(iteration, regions=frozenset()):
    """From then on, wherever these regions are a batch: its tokens make the loss NaN; none given: any regions do."""

    def spoil(engine):
        batch = engine.state.batch
        if engine.state.iteration >= iteration and regions in (frozenset(), frozenset(batch["region_id"].tolist())):
            batch["features"] = torch.full_like(batch["features"], torch.nan)

    return lambda engine: engine.add_event_handler(Events.ITERATION_STARTED, spoil)


def test_a_run_goes_back_once_and_on_without_the_batch(tokens, unbroken, tmp_path):
    """What follows is, to the bit, the run that had these other regions from the start; it was NaN for ever."""
    sampler = RegionBatchSampler(15, 5)
    sampler.set_epoch(2)
    bad = frozenset(list(sampler)[1])
    out, spoiled = tmp_path / "run", {"event": Events.STARTED, "do": poisoned(1, bad)}
    with pytest.raises(Exception, match="loss is nan at iteration 5 .*resume true goes .*last.pt.* iterations 4 to 5"):
        train(tokens, out, **spoiled)
    train(tokens, out, **spoiled, resume=True)

    def leave_out(engine):
        engine.data_loader.batch_sampler.left_out = {4, 5}

    train(tokens, tmp_path / "other", Events.STARTED, do=leave_out)
    assert differences(end_of(out), end_of(tmp_path / "other")) == []
    assert differences(end_of(out), unbroken) != []


def test_the_second_time_it_stops(tokens, tmp_path):
    """Nothing more is left out, or nothing at all where that was asked for; a damaged list is named."""
    spoiled = {"event": Events.STARTED, "do": poisoned(5)}
    with pytest.raises(Exception, match=r"loss is nan at iteration 5 .*slide_\d region \d\. Try"):
        train(tokens, tmp_path, **spoiled, nan_retries=0)
    for message in ("takes other regions in place of those of iterations 4 to 5", "It has gone back 1 times before"):
        with pytest.raises(Exception, match=message):
            train(tokens, tmp_path, **spoiled, resume=True)
    (tmp_path / "left_out.json").write_text("[")
    with pytest.raises(Exception, match="left_out.json is damaged .* Remove it to go on"):
        train(tokens, tmp_path, resume=True)


def test_a_run_that_begins_anew_does_not_know_what_the_one_before_has_noted(tokens, tmp_path):
    """Where only its checkpoints were removed: iterations were left out, and its weights written over, of which nobody
    had said anything to this run."""
    (tmp_path / "left_out.json").write_text('{"iterations": [[4, 5]]}')
    train(tokens, tmp_path)
    assert not (tmp_path / "left_out.json").exists()
    first = (tmp_path / "model.pt").read_bytes()
    for path in tmp_path.glob("*.pt"):
        if path.name != "model.pt":
            path.unlink()
    train(tokens, tmp_path, lr=0.02)
    (kept,) = tmp_path.glob("model.2*.pt")
    assert kept.read_bytes() == first != (tmp_path / "model.pt").read_bytes()

"""The order of ``handlers`` in a training config cannot matter: each one has its turn."""

import random
from types import SimpleNamespace

import torch
from cohorts import write_cohort
from tiny_training import differences, history_of, tiny_run

from bundle.training import CheckpointHandler, slpd_trainer
from bundle.training.handlers.turn import Turn, in_turn


def handlers_of(tokens, output):
    """The handlers that a run of the config has, as it lists them, groups taken apart."""
    made = tiny_run(tokens, output, max_epochs=3, checkpoint_interval=2).parser.get_parsed_content("train#handlers")
    return [one for handler in made if handler for one in (handler if isinstance(handler, list) else [handler])]


def test_every_order_is_put_right(tmp_path):
    """All swaps of two handlers, and some shuffles: only those that share a turn may change places."""
    handlers = handlers_of(write_cohort(tmp_path / "tokens", regions=(3, 4, 1, 5, 4, 4)), tmp_path / "out")
    assert len(handlers) > 15 and len({type(handler) for handler in handlers}) > 12
    orders = []
    for first in range(len(handlers)):
        for second in range(first):
            order = list(handlers)
            order[first], order[second] = order[second], order[first]
            orders.append(order)
    orders += [random.Random(seed).sample(handlers, len(handlers)) for seed in range(100)]
    by_turn = {turn: {id(h) for h in handlers if getattr(h, "turn", Turn.MEASURE) == turn} for turn in Turn}
    for order in orders:
        put = in_turn(order)
        for turn in Turn:
            assert {id(handler) for handler in put[: len(by_turn[turn])]} == by_turn[turn]
            put = put[len(by_turn[turn]) :]


def test_lists_of_handlers_are_taken_apart():
    """A group that a config asks for at once is put where each of its handlers belongs."""
    first, last, between = (SimpleNamespace(turn=turn) for turn in (Turn.RESUME, Turn.STOP, Turn.SAVE))
    assert in_turn([[last, first], between]) == [first, between, last]


def trained(tokens, output, order, monkeypatch):
    """Weights, checkpoints, best checkpoint and history of a run whose handlers are listed in another order."""
    monkeypatch.setattr(slpd_trainer, "in_turn", lambda handlers: in_turn(order(in_turn(handlers))))
    run = tiny_run(tokens, output, max_epochs=3, checkpoint_interval=2)
    torch.manual_seed(0)
    run.parser.get_parsed_content("train#trainer").run()
    return history_of(output), {path.name: torch.load(path, weights_only=True) for path in output.glob("*.pt")}


def checkpoint_second(handlers):
    """What used to lose ``best.pt``, with exit code 0."""
    saver = next(i for i, handler in enumerate(handlers) if isinstance(handler, CheckpointHandler))
    return [handlers[0], handlers[saver], *handlers[1:saver], *handlers[saver + 1 :]]


def reverse(handlers):
    return handlers[::-1]


def shuffle(handlers):
    return random.Random(1).sample(handlers, len(handlers))


def test_a_run_is_the_same_in_any_order(tmp_path, monkeypatch):
    """History, checkpoints (``best.pt`` used to be missing), exported weights: all equal to the bit."""
    monkeypatch.setattr("bundle.training.handlers.history.plot_training", lambda rows, path: None)  # most of the time
    tokens = write_cohort(tmp_path / "tokens", regions=(3, 4, 1, 5, 4, 4))
    rows, files = trained(tokens, tmp_path / "right", list, monkeypatch)
    assert set(files) == {"last.pt", "best.pt", "epoch_0002.pt", "model.pt", "model_head.pt"} and len(rows) == 4
    for order in (checkpoint_second, reverse, shuffle):
        other = trained(tokens, tmp_path / order.__name__, order, monkeypatch)
        assert differences(other, (rows, files)) == [], order.__name__

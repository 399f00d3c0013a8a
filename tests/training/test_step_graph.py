"""A step as a CUDA graph, which here is pretended, is the step as it is; where there can be none it says why."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import small_training
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from pretend_gpu.pretend_graph import PretendGraph, graphs_are_pretended
from reference_training import Recipe
from small_training import cohort, make_trainer

from bundle.training import make_optimizer, step_graph
from bundle.training.step_graph import StepGraph

RECIPE = Recipe(max_epochs=4, steps_per_epoch=7, temperature_warmup=4)


@pytest.fixture(autouse=True)
def pretended(monkeypatch):
    """Graphs of the CPU."""
    cuda = SimpleNamespace(current_stream=lambda *_: SimpleNamespace(wait_stream=lambda _: None))
    cuda.Stream = cuda.current_stream
    graphs_are_pretended(cuda)
    for name, value in vars(cuda).items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(small_training, "BATCH_SIZE", 3)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def run(monkeypatch, graphed, masks=False, recorders=False):
    """28 steps: 7 with a frozen last layer, 7 without prototypes, 14 with them. What each left, and its graph."""
    tokens, slides = cohort(RECIPE.seed)
    present = torch.rand(tokens.shape[:3], generator=torch.Generator().manual_seed(1)) > 0.3 if masks else None
    trainer, raw, clipped, state = make_trainer(RECIPE, tokens, slides, [], present)
    if not recorders:
        for handler in (raw, clipped):
            trainer.remove_event_handler(handler, IterationEvents.BACKWARD_COMPLETED)
    graphs = []
    if graphed:
        with monkeypatch.context() as patch:
            patch.setattr(step_graph, "_obstacle", lambda *_: "")
            trainer._graph = StepGraph(trainer._step, trainer.optimizer, "cpu")
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: graphs.append(trainer._graph._graph))
    trainer.run()
    for step in state.steps:
        step.terms = {name: value.clone() for name, value in step.terms.items()}
    return trainer, state.steps, graphs


def close(got, wanted, what):
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6, msg=lambda text: f"{what}: {text}")


@pytest.mark.parametrize("masks", [False, True])
def test_graphs_are_the_steps_as_they_are(monkeypatch, masks):
    """Weights, teacher and centers after each step; learning rate, decay and temperature move all the while."""
    _, plain, _ = run(monkeypatch, False, masks)
    trainer, graphed, graphs = run(monkeypatch, True, masks)
    kinds = dict.fromkeys(graph for graph in graphs if graph is not None)
    assert [graph.n_replays for graph in kinds] == [4, 4, 11]  # of 7, 7 and 14 steps the first three run as they are
    for i, (ours, truth) in enumerate(zip(graphed, plain, strict=True), 1):
        for part in ("student", "teacher"):
            for name, value in getattr(truth, part).items():
                close(getattr(ours, part)[name], value, f"step {i}, {part}, {name}")
        close(ours.centers, truth.centers, f"step {i}, centers")
        assert ours.groups == truth.groups and ours.schedules == truth.schedules
    assert set(graphed[-1].terms) == set(plain[-1].terms)
    for name, value in plain[-1].terms.items():
        close(graphed[-1].terms[name], value, name)
    assert not any(group["capturable"] for group in trainer.optimizer.param_groups)


def test_a_handler_that_does_not_say_what_it_does_keeps_the_steps_as_they_are(monkeypatch, caplog):
    """Within a graph it would not be called; that is said once."""
    _, plain, _ = run(monkeypatch, False)
    _, steps, graphs = run(monkeypatch, True, recorders=True)
    assert set(graphs) == {None} and caplog.text.count("because a handler that works within the step") == 1
    assert all(torch.equal(steps[-1].student[name], value) for name, value in plain[-1].student.items())


def counting(monkeypatch, step):
    """A graph of that step of one weight, which says what there was to capture."""
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = make_optimizer(torch.nn.ParameterList([weight]))
    monkeypatch.setattr(step_graph, "_obstacle", lambda *_: "")
    return StepGraph(lambda inputs, temperature: step(inputs[0]), optimizer, "cpu")


def test_a_step_that_cannot_be_captured_goes_on_as_it_is(monkeypatch, caplog):
    """One that waits for the device; it is tried once."""
    calls = []

    def step(x):
        calls.append(float(x.sum()))
        return x * 2

    graph = counting(monkeypatch, step)
    for i in range(8):
        assert torch.equal(graph((torch.full((2,), float(i)),), 0.1, 0), torch.full((2,), 2.0 * i))
    assert calls == [2.0 * i for i in range(8)] and graph._graph is None
    assert caplog.text.count("because it cannot be captured (RuntimeError: operation not permitted") == 1


def test_an_odd_batch_leaves_the_graph_alone_and_changing_ones_have_none(monkeypatch, caplog):
    """One odd batch an epoch does not cost a capture; where all are odd, that is said after 50."""
    graph = counting(monkeypatch, lambda x: x + 1)
    for _ in range(3):
        for n in (2, 2, 2, 2, 2, 3):
            x = torch.rand(n)
            assert torch.equal(graph((x,), 0.1, 0), x + 1)
    assert isinstance(graph._graph, PretendGraph) and graph._graph.n_replays == 2 + 5 * 2
    for n in range(120):
        graph((torch.zeros(5 + n % 2),), 0.1, 0)
    assert caplog.text.count("because 50 steps came without 3 alike in a row") == 1


@pytest.mark.parametrize(
    ("device", "optimizer", "reason"),
    [("cpu", torch.optim.AdamW, "it computes on cpu"), ("cuda", torch.optim.SGD, "the optimizer is SGD")],
)
def test_where_there_can_be_no_graph_it_is_said(caplog, device, optimizer, reason):
    """Once, and the step is the step."""
    graph = StepGraph(lambda inputs, _: inputs + 1, optimizer([torch.nn.Parameter(torch.ones(1))]), device)
    assert [graph(i, 0.1, 0) for i in range(6)] == [1, 2, 3, 4, 5, 6] and caplog.text.count(reason) == 1

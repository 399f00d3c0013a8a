"""The loss's rivals do the same work, and their page says what was measured."""

import pytest
import torch

from scripts.bench import rivals
from scripts.bench.rivals import Rivals, plain_loss, table


def test_plain_torch_gives_the_loss_and_its_gradients():
    """Centers that are not zero, a view that is left out: to 1e-12 in float64."""
    problem = Rivals(3, 50)
    for name in ("student", "teacher"):
        setattr(problem, name, getattr(problem, name).detach().double())
    problem.student.requires_grad_()
    problem.prototypes = problem.prototypes._replace(vectors=problem.prototypes.vectors.double())
    problem.loss.double()
    for layer in problem.layers:
        layer.double()
    for center in (problem.loss.dino.center, problem.loss.prototype.center):
        center.value.copy_(torch.randn(50, generator=torch.Generator().manual_seed(2)))
    for ours, theirs in zip(problem.by_us(), problem.by(plain_loss), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_way_that_does_not_work_or_gives_another_loss_has_no_row(monkeypatch, capsys):
    """The first is left out and named; the second is no way to do it."""

    def no_compiler(*_, **__):
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: no_compiler)
    rows = rivals.compare("cpu", 2, 64, 1)
    assert [row.way for row in rows] == ["plain", "plain, logits made again", "ours"]
    assert "plain, compiled failed: RuntimeError: no compiler\n" in capsys.readouterr().out
    assert table(rows).count("| 2 | 64 | ") == 3
    monkeypatch.setattr(rivals, "_made_again", lambda *tensors: 2 * plain_loss(*tensors))
    with pytest.raises(ValueError, match="logits made again gives another loss"):
        rivals.compare("cpu", 2, 64, 1)

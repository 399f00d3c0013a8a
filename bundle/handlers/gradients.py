"""What happens to gradients between backward and step."""

from collections.abc import Iterable

import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from torch import nn


class FreezeHandler:
    """Keeps parameters as they are during the first epochs: their gradient becomes None, so nothing decays either.

    Args:
        parameters: what to keep (a module; DINO freezes the last layer).
        epochs: number of first epochs.
    """

    def __init__(self, parameters: nn.Module, epochs: int = 1) -> None:
        self.module = parameters
        self.epochs = int(epochs)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if engine.state.epoch <= self.epochs:
            self.module.zero_grad(set_to_none=True)


class GradientClipHandler:
    """Scales every parameter tensor's gradient to a norm of at most ``max_norm``, each by itself as DINO does.

    Args:
        network: whose gradients.
        max_norm: largest L2 norm of one tensor's gradient; 0 turns clipping off.
    """

    def __init__(self, network: nn.Module, max_norm: float = 3.0) -> None:
        self.network = network
        self.max_norm = float(max_norm)

    def attach(self, engine: Engine) -> None:
        if self.max_norm > 0:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        clip_each_(self.network.parameters(), self.max_norm)


def clip_each_(parameters: Iterable[nn.Parameter], max_norm: float) -> None:
    """In place: ``g <- g * min(1, max_norm / |g|)`` for every gradient tensor, without a host synchronization."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    norms = torch.stack([norm.float() for norm in torch._foreach_norm(gradients)])
    factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, [factor.to(g.dtype) for factor, g in zip(factors, gradients, strict=True)])

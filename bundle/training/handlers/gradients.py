"""What happens to gradients between backward and step."""

from collections.abc import Hashable, Iterable

import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from torch import Tensor, nn

from .turn import Turn

_SMALL = 1 << 20  # elements


class FreezeHandler:
    """Keeps parameters as they are during the first epochs: their gradient becomes None, so nothing decays either.

    Args:
        parameters: what to keep (a module; DINO freezes the last layer).
        epochs: number of first epochs.
    """

    turn = Turn.GRADIENTS

    def __init__(self, parameters: nn.Module, epochs: int = 1) -> None:
        self.module = parameters
        self.epochs = int(epochs)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if self.graph_choice(engine):
            self.module.zero_grad(set_to_none=True)

    def graph_choice(self, engine: Engine) -> Hashable:
        """Whether they are kept, which a CUDA graph of the step would go on with."""
        return engine.state.epoch <= self.epochs


class GradientClipHandler:
    """Scales every parameter tensor's gradient to a norm of at most ``max_norm``, each by itself as DINO does.

    Args:
        network: whose gradients.
        max_norm: largest L2 norm of one tensor's gradient; 0 turns clipping off.
    """

    turn = Turn.GRADIENTS

    def __init__(self, network: nn.Module, max_norm: float = 3.0) -> None:
        self.network = network
        self.max_norm = float(max_norm)

    def attach(self, engine: Engine) -> None:
        if self.max_norm > 0:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        clip_each_(self.network.parameters(), self.max_norm)

    def graph_choice(self, engine: Engine) -> Hashable:
        """What a CUDA graph of the step would go on with."""
        return self.max_norm


def clip_each_(parameters: Iterable[nn.Parameter], max_norm: float) -> None:
    """In place: ``g <- g * min(1, max_norm / |g|)`` for every gradient tensor, without a host synchronization."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    norms = torch.stack([norm.float() for norm in torch._foreach_norm(gradients)])
    factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    _scale_each_(gradients, factors)


def _scale_each_(gradients: list[Tensor], factors: Tensor) -> None:
    """Multiply every tensor by its own factor.

    A GPU multiplies many tensors in one launch by tensors of their own shape only: factors of small ones are repeated
    to that. The large ones, few, take a launch each.
    """
    pairs = list(zip(gradients, factors.unbind(), strict=True))
    for gradient, factor in pairs:
        if not _is_small(gradient):
            gradient.mul_(factor.to(gradient.dtype))
    small = [(gradient, factor) for gradient, factor in pairs if _is_small(gradient)]
    if small:
        repeated = torch.cat([factor.expand(gradient.numel()) for gradient, factor in small])
        parts = repeated.split([gradient.numel() for gradient, _ in small])
        own = [part.view(gradient.shape).to(gradient.dtype) for part, (gradient, _) in zip(parts, small, strict=True)]
        torch._foreach_mul_([gradient for gradient, _ in small], own)


def _is_small(tensor: Tensor) -> bool:
    return tensor.numel() <= _SMALL and tensor.is_contiguous()

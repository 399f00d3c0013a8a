"""The training step as one CUDA graph: launched at once, where a host would launch one kernel after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

_log = logging.getLogger(__name__)
_WARM_UP = 3  # steps of one kind, run as they are, before their graph: kernels are chosen, the optimizer has its state
_PATIENCE = 50  # steps without a graph before it is said

Step = Callable[[Any, float | Tensor], Any]


class StepGraph:
    """Runs a step; one that has come some times in a row as a CUDA graph, which is captured then and launched again.

    Kinds of steps (the last layer frozen or not, with prototypes or without, shapes) have each their own graph, of
    which the newest is kept: its memory belongs to it. What a step is given is copied into fixed places, and the
    numbers of schedules lie in scalar tensors. AdamW's kernel takes the weight decay as a number of Python's alone, so
    that within a graph weights are decayed before it, by ``1 - lr * weight_decay`` as AdamW has it.

    Where there cannot be a graph the step runs as it is, and the reason is said once. No number depends on it beyond
    rounding. What a step returns is overwritten by the next.

    Args:
        step: takes inputs (tensors on the device, in tuples and lists) and the teacher's temperature; waits for
            nothing, copies nothing from the host, steps the optimizer once.
        optimizer: of the step; its groups are as they were after each step.
        device: where it computes.
    """

    def __init__(self, step: Step, optimizer: torch.optim.Optimizer, device: torch.device | str) -> None:
        self._step, self._optimizer, self._device = step, optimizer, torch.device(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._kind: Hashable = None  # of the graph
        self._last_kind: Hashable = None
        self._n_alike = self._n_eager = 0
        self._has_said = False
        self._why_not = _obstacle(optimizer, self._device)
        if self._why_not:
            self._say(self._why_not)
            return
        self._side = torch.cuda.Stream(self._device)
        n_groups = len(optimizer.param_groups)
        self._temperature = torch.zeros((), dtype=torch.float64, device=self._device)
        self._lrs = [torch.zeros((), device=self._device) for _ in range(n_groups)]
        self._decays = [torch.zeros((), dtype=_dtype(g), device=self._device) for g in optimizer.param_groups]
        self._places: list[Tensor | None] = []
        self._found: Any = None

    def __call__(self, inputs: Any, temperature: float, choices: Hashable | None) -> Any:
        """What the step returns.

        Args:
            inputs: of the step.
            temperature: of the teacher.
            choices: all that Python decides within the step, which a graph would keep; None: that is not known.
        """
        if self._why_not:
            return self._step(inputs, temperature)
        leaves, structure = tree_flatten(inputs)
        kind = self._kind_of(leaves, str(structure), choices)
        if self._graph is None or kind != self._kind:
            if self._may_capture(kind) and self._capture(leaves, structure, temperature):
                self._kind = kind
            elif self._why_not:
                return self._step(inputs, temperature)
            else:
                return self._aside(inputs, temperature)
        self._last_kind, self._n_eager = kind, 0
        for place, leaf in zip(self._places, leaves, strict=True):
            if place is not None:
                place.copy_(leaf, non_blocking=True)
        self._fill(temperature)
        assert self._graph is not None
        self._graph.replay()
        return self._found

    def _kind_of(self, leaves: Sequence[Any], structure: str, choices: Hashable | None) -> Hashable | None:
        if choices is None:
            self._say("a handler that works within the step does not say what it decides there (graph_choice)")
            return None
        tensors = [leaf for leaf in leaves if leaf is not None]
        if not all(isinstance(leaf, Tensor) and leaf.device.type == self._device.type for leaf in tensors):
            self._say("some of its input is not on the device")
            return None
        return choices, structure, tuple((leaf.shape, leaf.stride(), leaf.dtype) for leaf in tensors)

    def _may_capture(self, kind: Hashable | None) -> bool:
        """Whether steps of that kind have come often enough in a row; the graph of another goes when one returns."""
        self._n_alike = self._n_alike + 1 if kind == self._last_kind else 1
        self._last_kind = kind
        if self._n_alike == 2 and self._graph is not None:
            self._forget()
        self._n_eager += 1
        if self._n_eager == _PATIENCE:
            self._say(f"{_PATIENCE} steps came without {_WARM_UP} alike in a row: shapes or weights of terms change")
        return kind is not None and self._n_alike > _WARM_UP

    def _forget(self) -> None:
        self._graph, self._kind, self._found, self._places = None, None, None, []

    def _aside(self, inputs: Any, temperature: float) -> Any:
        """The step as it is, on the stream of the capture, which does not wait for others then."""
        current = torch.cuda.current_stream(self._device)
        self._side.wait_stream(current)
        with torch.cuda.stream(self._side):
            found = self._step(inputs, temperature)
        current.wait_stream(self._side)
        return found

    def _capture(self, leaves: Sequence[Tensor | None], structure: Any, temperature: float) -> bool:
        """Record the step, which computes nothing yet; False, and no further tries, where it cannot be recorded."""
        self._forget()
        self._places = [None if leaf is None else leaf.clone() for leaf in leaves]
        self._fill(temperature)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(self._side), self._numbers_as_tensors():  # which stream it was is put right by both
                with torch.cuda.graph(graph, stream=self._side, capture_error_mode="thread_local"):
                    self._found = self._step(tree_unflatten(self._places, structure), self._temperature)
        except Exception as error:  # whatever a capture does not allow; the step then fails by itself, or goes well
            self._why_not = f"it cannot be captured ({type(error).__name__}: {_first_line(error)})"
            self._say(self._why_not)
            self._forget()
            return False
        self._graph = graph
        _log.info("steps are launched as one CUDA graph")
        return True

    def _fill(self, temperature: float) -> None:
        """Numbers of this step to where the graph reads them; a launch each, and no wait."""
        self._temperature.fill_(temperature)
        groups = self._optimizer.param_groups
        for group, lr, decay in zip(groups, self._lrs, self._decays, strict=True):
            lr.fill_(group["lr"])
            decay.fill_(1.0 - group["lr"] * group["weight_decay"])

    @contextmanager
    def _numbers_as_tensors(self) -> Iterator[None]:
        """The optimizer reads its numbers from tensors."""
        groups = self._optimizer.param_groups
        before = [{name: group[name] for name in ("lr", "weight_decay", "capturable")} for group in groups]
        hook = self._optimizer.register_step_pre_hook(self._decay)
        try:
            for group, lr in zip(groups, self._lrs, strict=True):
                group.update(lr=lr, weight_decay=0.0, capturable=True)
            yield
        finally:
            hook.remove()
            for group, own in zip(groups, before, strict=True):
                group.update(own)

    @torch.no_grad()
    def _decay(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group, decay in zip(optimizer.param_groups, self._decays, strict=True):
            own = [parameter for parameter in group["params"] if parameter.grad is not None]
            if own:
                torch._foreach_mul_(own, decay)

    def _say(self, reason: str) -> None:
        if not self._has_said:
            _log.warning("cuda_graph: steps are launched kernel by kernel, because %s.", reason.rstrip("."))
        self._has_said = True


def _obstacle(optimizer: torch.optim.Optimizer, device: torch.device) -> str:
    """Why no step of a run can be a graph; empty: nothing known."""
    if device.type != "cuda":
        return f"it computes on {device.type}, and graphs are of GPUs"
    if idist.get_world_size() > 1:
        return "several processes put gradients together"
    if not isinstance(optimizer, torch.optim.AdamW):
        return f"the optimizer is {type(optimizer).__name__}, and AdamW's numbers alone are known"
    return ""


def _dtype(group: dict[str, Any]) -> torch.dtype:
    return next((parameter.dtype for parameter in group["params"]), torch.float32)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")

"""The training engine of both stages: a student learns from its teacher's view of the same images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from ignite.engine import Events
from monai.engines import Trainer
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..core import as_amp, as_bool
from ..networks import TokenChoice
from ..parallel import hand_over, keyed_uniforms, sum_over_ranks
from ..prototypes import PrototypeBank, PrototypeTargets
from .handlers.turn import in_turn
from .losses.masked_tokens import MaskedTokens
from .step_graph import StepGraph

_ON_HOST = {"region_id", "present"}  # what crops are chosen by: many small operations, each a launch on a GPU
_DEPTH_STREAM = 1 << 20  # far from the streams that view makers draw from


class SlpdTrainer(Trainer):
    """DINO self-distillation plus, where there are prototypes, distillation to them.

    One iteration: make views, teacher on the first group of views, student on all, loss, backward, step, centers.
    When things happen around it (schedules, teacher EMA, clipping, clustering) is the handlers' business.

    A batch is a dictionary with ``region_id`` (LongTensor [B], the keys of all random numbers) and what the view maker
    reads; of token grids with gaps also ``present``. ``engine.state.output`` is the loss function's dictionary of
    detached scalars plus ``teacher_spread``, ``1 - |mean bottleneck|^2`` in [0, 1]: 0 means that every region looks the
    same.

    Args:
        device: where to compute.
        max_epochs: number of epochs.
        train_data_loader: yields batches; its batch sampler's ``set_epoch`` is called at every epoch's start.
        network: the student (a :class:`~bundle.networks.Distiller`, perhaps in ``DistributedDataParallel``).
        teacher: same architecture, without gradients.
        optimizer: over the student's parameters.
        loss_function: a :class:`~bundle.training.SLPDLoss`.
        view_maker: dictionary transform that adds ``views``, a list of [v, B, C, H, W]; the first group is for both;
            where tokens are missing also ``masks``, a list of [v, B, H, W]; where tokens of the first group are to be
            hidden from the student also ``hidden``, bool [v, B, H, W] on the host.
        inferer: runs the student on the views.
        prototypes: a prototype bank that handlers fill, or None for plain DINO.
        seed: key of the stochastic-depth draws.
        amp: bfloat16 autocast on the device.
        cuda_graph: launch the step, from the views to the centers, as one CUDA graph where that can be
            (:class:`~.step_graph.StepGraph`); ``state.output`` and ``state.bottlenecks`` are then overwritten by the
            next step. Handlers of events within the step (MONAI's ``IterationEvents``) say by ``graph_choice(engine)``,
            hashable and not None, what they decide there; with one that does not there is no graph.
        train_handlers: Ignite handlers and lists of them, in any order: they are attached by their
            :class:`~.handlers.turn.Turn`.

    Source: method.md of DINO (Caron et al., ICCV 2021) and SLPD (Yu et al., MICCAI 2023).
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: DataLoader,
        network: nn.Module,
        teacher: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_function: nn.Module,
        view_maker: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        inferer: Inferer | None = None,
        prototypes: PrototypeBank | None = None,
        seed: int = 0,
        amp: bool = False,
        cuda_graph: bool = False,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        self.network = network
        self.teacher = teacher.to(device)
        self.optimizer = optimizer
        self.loss_function = loss_function.to(device)
        self.view_maker = view_maker
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.prototypes = prototypes
        self.seed = int(seed)
        self.uses_bf16 = as_amp(amp)
        super().__init__(
            device=device, max_epochs=int(max_epochs), data_loader=train_data_loader, decollate=False, handlers=()
        )
        self.state.seed = self.seed
        self.add_event_handler(Events.EPOCH_STARTED, _start_epoch)
        self._register_handlers(in_turn(train_handlers or ()))
        self._graph = StepGraph(self._step, optimizer, device) if as_bool(cuda_graph) else None

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> dict[str, Tensor]:
        self.network.train()
        inputs, temperature = self._inputs(batchdata), engine.state.teacher_temperature
        if self._graph is None:
            found = self._step(inputs, temperature)
        else:
            found = self._graph(inputs, temperature, self._choices())
        engine.state.bottlenecks = found.bottlenecks
        return found.output

    def _inputs(self, batchdata: Mapping[str, Any]) -> _Inputs:
        """All that comes from the host or is drawn, on the device."""
        device = self.state.device
        region_ids = batchdata["region_id"]
        batch = {
            name: value.to(device, non_blocking=True) if torch.is_tensor(value) and name not in _ON_HOST else value
            for name, value in batchdata.items()
        }
        targets: PrototypeTargets | None = None
        if self.prototypes is not None and self.prototypes.is_fitted:
            targets = self.prototypes.targets(region_ids, device)
        made = self.view_maker(batch | {"epoch": self.state.epoch})
        views, masks = made["views"], made.get("masks")
        draws = self._depth_draws(views, region_ids)
        return _Inputs(views, masks, draws, _Hidden.of(made.get("hidden"), views[0].device), targets)

    def _step(self, inputs: _Inputs, temperature: float | Tensor) -> _Found:
        """From the views to the centers: all on the device."""
        views, masks, draws, hidden, targets = inputs
        with torch.autocast(views[0].device.type, torch.bfloat16, enabled=self.uses_bf16):
            with torch.no_grad():
                teacher, teacher_weight, *seen = self.teacher(views[:1], masks and masks[:1], None, hidden.shown)
            student, student_weight, *told = self.inferer(views, self.network, masks, draws, hidden.choice)
            tokens = MaskedTokens(told[0], seen[0], hidden.share) if told else None
            self.state.bottlenecks = student.detach(), teacher  # for handlers that look at them
            self.fire_event(IterationEvents.FORWARD_COMPLETED)
            terms = self.loss_function(student, student_weight, teacher, teacher_weight, temperature, targets, tokens)
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        self.optimizer.step()
        self.loss_function.update_centers(teacher, teacher_weight, targets, tokens)  # type: ignore[operator]
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        watched = {**terms, **self.loss_function.center_norms(), "teacher_spread": _spread(teacher)}  # type: ignore[operator]
        return _Found({name: value.detach() for name, value in watched.items()}, self.state.bottlenecks)

    def _choices(self) -> Hashable | None:
        """What Python decides within a step, by the loss and by handlers; None if one of these does not say."""
        within = [handler for event in IterationEvents for handler, *_ in self._event_handlers[event]]
        if not all(hasattr(handler, "graph_choice") for handler in within):
            return None
        share = getattr(self.loss_function, "prototype_share", None)
        return share, *(handler.graph_choice(self) for handler in within)

    def _depth_draws(self, views: Sequence[Tensor], region_ids: Tensor) -> list[Tensor]:
        """Uniforms [v, B, n] a group of views, keyed so that neither workers nor ranks change them."""
        n_draws: int = self.teacher.encoder.backbone.n_draws  # type: ignore[assignment,union-attr]
        n_views = [len(group) for group in views]
        draws = keyed_uniforms(self.seed, self.state.epoch, region_ids, _DEPTH_STREAM, sum(n_views), n_draws)
        return list(hand_over(draws, views[0].device).split(n_views))


class _Inputs(NamedTuple):
    """What a step is made of; see :class:`SlpdTrainer`."""

    views: list[Tensor]
    masks: list[Tensor] | None
    draws: list[Tensor]
    hidden: _Hidden
    targets: PrototypeTargets | None


class _Found(NamedTuple):
    """What a step gives: scalars; bottlenecks of student [S, B, d] and teacher [T, B, d]."""

    output: dict[str, Tensor]
    bottlenecks: tuple[Tensor, Tensor]


class _Hidden(NamedTuple):
    """Tokens of the first group that the student is not to see: for it, for the teacher, share in their view's mean."""

    choice: TokenChoice | None
    shown: TokenChoice | None
    share: Tensor

    @classmethod
    def of(cls, hidden: Tensor | None, device: torch.device) -> _Hidden:
        """Places are counted on the host, which then waits for no device."""
        if hidden is None:
            return cls(None, None, torch.empty(0, device=device))
        cells = hidden.flatten(0, 1)
        counts = cells.flatten(1).sum(1)
        places = hand_over(cells.flatten().nonzero()[:, 0], device)
        share = hand_over((1.0 / counts.double()).repeat_interleave(counts), device)
        return cls(TokenChoice(places, hand_over(cells, device)), TokenChoice(places, None), share)


def _start_epoch(engine: SlpdTrainer) -> None:
    """Hand the epoch to the sampler, and where in it: its order is a function of seed and epoch alone."""
    set_epoch = getattr(getattr(engine.data_loader, "batch_sampler", None), "set_epoch", None)
    if set_epoch is not None:
        set_epoch(engine.state.epoch, engine.state.iteration % engine.state.epoch_length)


def _spread(bottlenecks: Tensor) -> Tensor:
    """``1 - |mean|^2`` over the unit vectors [T, B, d] of all ranks."""
    rows = bottlenecks.detach().float().flatten(0, 1)
    total = sum_over_ranks(torch.cat([rows.sum(0), rows.new_full((1,), len(rows))]))  # filled there: no copy
    return 1 - (total[:-1] / total[-1]).square().sum()

"""What a run is about to do: when SLPD begins and for whom, and the room that it needs."""

import logging
import shutil
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from ...prototypes import PLAIN_DINO, Outlook, PrototypeBank, never_begins
from .run_state import RunState
from .turn import Turn

_log = logging.getLogger(__name__)
_MOMENTS = 2  # of the optimizer, for each weight of the student


class PlanHandler:
    """Says before the first epoch in which one SLPD begins, and warns where it never does.

    Args:
        prototypes: the bank that will be filled.
        dataset: has the slide of each region, ``slide_index`` [N], and ``slide_ids``; where it has ``resident``, that
            tells what its tokens take of which memory.
        loss_function: with ``intra_weight`` and ``inter_weight``.
        run_state: what checkpoints hold, and where they go.
        prototype_warmup_epochs: epochs of plain DINO before the first clustering; 1,000,000 or more: plain DINO is
            what is wanted.
        checkpoint_interval: epochs between checkpoints that are kept.
        bottleneck_dim: length of a prototype.
    """

    turn = Turn.CLUSTER

    def __init__(
        self,
        prototypes: PrototypeBank,
        dataset: Any,
        loss_function: Any,
        run_state: RunState,
        prototype_warmup_epochs: float = 20,
        checkpoint_interval: int = 0,
        bottleneck_dim: int = 0,
    ) -> None:
        self.outlook = Outlook.of(prototypes, dataset.slide_index, len(dataset.slide_ids))
        self.prototypes, self.loss_function, self.run_state = prototypes, loss_function, run_state
        self.warmup_epochs, self.checkpoint_interval = int(prototype_warmup_epochs), int(checkpoint_interval)
        self.dataset, self.prototype_dim = dataset, int(bottleneck_dim)

    def attach(self, engine: Engine) -> None:
        """Fire before the first epoch."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        if idist.get_rank() > 0:
            return
        max_epochs = int(engine.state.max_epochs or 0)
        mistake = self.mistake(max_epochs)
        if mistake:
            _log.warning("%s", mistake)
        else:
            _log.info("%s", self.plan(max_epochs))
        folder = self.run_state.output_dir.absolute()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        needed, free = self.disk_bytes(max_epochs), shutil.disk_usage(there).free
        say = _log.warning if needed > free else _log.info
        said = (needed / 1e9, self.run_state.output_dir, free / 1e9)
        say("checkpoints will take up to %.2f GB in %s, where %.1f GB are free", *said)
        if hasattr(self.dataset, "resident"):
            _log.info("%s", self.memory(engine.state.device))

    @property
    def is_wanted(self) -> bool:
        """Whether prototypes are asked for at all."""
        loss = self.loss_function
        return self.warmup_epochs < PLAIN_DINO and (loss.intra_weight > 0 or loss.inter_weight > 0)

    def mistake(self, max_epochs: int) -> str:
        """Why the run will be without SLPD although it is asked for; empty: it will not be, or is not asked for."""
        if not self.is_wanted:
            return ""
        found, least = self.outlook, self.prototypes.min_regions
        if found.slides == 0:
            return (
                f"SLPD never begins in this run: none of {found.all_slides} slides has the {least} regions of "
                f"min_regions, the largest has {found.most_regions}. Lower min_regions; all else is plain DINO."
            )
        return never_begins(max_epochs, self.warmup_epochs)

    def plan(self, max_epochs: int) -> str:
        """When SLPD begins, for how many slides and regions, with how many prototypes."""
        if not self.is_wanted:
            return f"{max_epochs} epochs of plain DINO, as it was asked for: no prototypes"
        found = self.outlook
        alone = "; a slide alone has no neighbors, so that inter stays 0" if found.slides == 1 else ""
        return (
            f"SLPD begins in epoch {self.warmup_epochs + 1} of {max_epochs}, for {found.slides:,} of "
            f"{found.all_slides:,} slides ({found.regions:,} of {found.all_regions:,} regions), with up to "
            f"{found.prototypes:,} prototypes{alone}"
        )

    def memory(self, device: torch.device | str) -> str:
        """What stays in memory for the whole run, in words; what a step takes beside comes and goes."""
        where, tokens = self.dataset.resident
        sizes = {name: _bytes_of(thing.state_dict()) for name, thing in self.run_state.objects.items()}
        networks = (2 + _MOMENTS) * sizes.get("student", 0) + sizes.get("teacher", 0)  # weights, gradients, moments
        found = self.outlook
        bank = 4 * self.prototype_dim * (found.prototypes + found.regions) * self.is_wanted
        kept = f"tokens {tokens / 1e9:.2f} GB in {where}" if where else "tokens are read from their files"
        return (
            f"memory for the whole run: {kept}; networks and optimizer {networks / 1e9:.2f} GB on {device}; "
            f"prototypes, with the features that they are found in, {bank / 1e9:.2f} GB; each step takes more"
        )

    def disk_bytes(self, max_epochs: int) -> int:
        """Of all checkpoints of the whole run, and of the one that is being written."""
        sizes = {name: _bytes_of(thing.state_dict()) for name, thing in self.run_state.objects.items()}
        one = sum(sizes.values()) + _MOMENTS * sizes.get("student", 0) + 8 * self.outlook.all_regions
        kept = max_epochs // self.checkpoint_interval if self.checkpoint_interval else 0
        return one * (kept + 2 + (self.run_state.evaluator is not None))


def _bytes_of(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(_bytes_of(item) for item in items)

"""Which regions make a batch, as a function of seed and epoch alone."""

import logging
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from ..core import BundleError, as_whole

logger = logging.getLogger(__name__)


class RegionBatchSampler(Sampler[list[int]]):
    """Global batches, each dealt out to the ranks: batch i of an epoch is the same set for any number of ranks.

    Call :meth:`set_epoch` before each epoch; the order depends on nothing else, so a resumed run repeats it. A last,
    smaller batch is left out; with fewer items than one batch there is one partial batch, and a warning.

    Args:
        n_items: items in the data set.
        batch_size: items of a batch over all ranks.
        seed: key of the order.
        rank, world_size: which share is ours.
        chosen: the items that are dealt out, in the data set's order; None: all ``n_items``.
        slide_index: slide of each item, shape (n_items,); of use to ``slides_per_batch`` only.
        slides_per_batch: slides that a batch takes its items from, as near as their counts allow: each slide's items
            are cut into runs of ``batch_size / slides_per_batch`` at random, and the runs shuffled. 0: items are drawn
            without a look at their slides. Either way each item comes once an epoch.

    Attributes:
        left_out: iterations of the run, from 1, whose batches are those of another order, by seed and epoch as well.

    Raises:
        BundleError: no items, a batch does not give every rank an item, or more slides in a batch than items.
    """

    def __init__(
        self,
        n_items: int,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        chosen: Tensor | None = None,
        slide_index: Tensor | None = None,
        slides_per_batch: int = 0,
    ) -> None:
        self.items = np.arange(int(n_items)) if chosen is None else chosen.cpu().numpy()
        self.n_items, self.batch_size = len(self.items), as_whole(batch_size, "batch_size", 1)
        self.seed, self.rank, self.world_size = int(seed), int(rank), int(world_size)
        self.epoch = self.n_done = 0
        self.left_out: set[int] = set()
        self.slides_per_batch = as_whole(slides_per_batch, "slides_per_batch")
        if self.slides_per_batch > self.batch_size or (self.slides_per_batch and slide_index is None):
            raise BundleError(
                f"batches of {self.batch_size} items cannot take them from {self.slides_per_batch} slides"
                f"{' without a slide_index' if slide_index is None else ''}; lower slides_per_batch, or set it to 0."
            )
        self._slides = None if slide_index is None else slide_index.numpy()
        smallest = min(self.n_items, self.batch_size)
        if smallest < self.world_size:
            raise BundleError(
                f"batches of {self.batch_size} out of {self.n_items} items do not give each of {self.world_size} "
                "processes an item; add slides, raise batch_size, or start fewer processes."
            )
        if self.n_items < self.batch_size:
            logger.warning(
                "there are only %d items for a batch of %d: every epoch is one partial batch. "
                "Lower batch_size, or add slides.",
                self.n_items,
                self.batch_size,
            )

    def set_epoch(self, epoch: int, n_done: int = 0) -> None:
        """Choose the epoch whose order comes next, and how many of its batches have been trained on before."""
        self.epoch, self.n_done = int(epoch), int(n_done)

    def __len__(self) -> int:
        return len(self._bounds())

    def __iter__(self) -> Iterator[list[int]]:
        bounds = self._bounds()
        first = (self.epoch - 1) * len(bounds) + 1
        numbers = range(first, first + len(bounds))
        order = self._order(self.seed, self.epoch)
        other = order if self.left_out.isdisjoint(numbers) else self._order(self.seed, self.epoch, 1)
        for number, (start, stop) in list(zip(numbers, bounds, strict=True))[self.n_done :]:
            chosen = other if number in self.left_out else order
            yield chosen[start + self.rank : stop : self.world_size].tolist()

    def _order(self, *key: int) -> NDArray[np.int64]:
        draws = np.random.default_rng(key)
        order = self.items[draws.permutation(self.n_items)]
        if self.slides_per_batch and self._slides is not None:
            order = _in_runs(order, self._slides, -(-self.batch_size // self.slides_per_batch), draws)
        return order

    def _bounds(self) -> list[tuple[int, int]]:
        """First and last item of each global batch."""
        size = min(self.batch_size, self.n_items)
        return [(start, start + size) for start in range(0, self.n_items - size + 1, size)]


def _in_runs(
    order: NDArray[np.int64], slides: NDArray[np.int64], length: int, draws: np.random.Generator
) -> NDArray[np.int64]:
    """Items in runs of up to ``length`` of one slide, the runs shuffled; within a slide as in ``order``."""
    order = order[np.argsort(slides[order], kind="stable")]
    first = np.searchsorted(slides[order], slides[order])  # where the own slide begins
    run = (np.arange(len(order)) - first) // length
    starts = np.flatnonzero(np.diff(slides[order], prepend=-1) | np.diff(run, prepend=-1))
    place = np.empty(len(starts), np.int64)
    place[draws.permutation(len(starts))] = np.arange(len(starts))
    return order[np.argsort(np.repeat(place, np.diff(starts, append=len(order))), kind="stable")]

"""What every way of pooling regions to a vector gives, and where it may look."""

from __future__ import annotations

from typing import Any, Protocol

from ..protocols.inputs import Bags, Inputs, Vectors


class Pooling(Protocol):
    """From bags to a vector a patient; ``name`` is that of the features."""

    name: str

    @property
    def settings(self) -> tuple[Any, ...]:
        """All that the vectors depend on, but for the regions."""

    def fit(self, train: Bags) -> Pooling:
        """Learn from the regions of the training patients."""

    def transform(self, bags: Bags) -> Vectors:
        """A vector for each patient."""


def pooled(train: Inputs, test: Inputs, pooling: Pooling | None) -> tuple[Inputs, Inputs]:
    """What a protocol gets: how to pool is learned from the training patients alone. None: nothing is pooled."""
    if pooling is None:
        return train, test
    assert isinstance(train, Bags) and isinstance(test, Bags), "only bags are pooled"
    fitted = pooling.fit(train)
    return fitted.transform(train), fitted.transform(test)

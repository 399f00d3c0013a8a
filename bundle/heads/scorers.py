"""From vectors of regions to outputs, by plain arrays: what is left of a fitted model when its library is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .gated_attention import GatedAttention

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
Tensors = dict[str, NDArray[Any]]
_NETWORK = "network."
_BAGS = 256  # of a pass through the network


def means_of(values: Rows, sizes: NDArray[np.int64]) -> Floats:
    """Means [n, d] of rows [M, d] that are grouped by patient, of n patients with so many rows."""
    sums = np.add.reduceat(values.astype(np.float64), np.cumsum(sizes) - sizes, axis=0)
    return sums / sizes[:, None]


class RowScorer:
    """Outputs of the mean of a bag, in float64: linear ones, or those of a network with one hidden layer of ReLUs.

    ``outputs = (x - mean) @ weight.T + bias``; with a hidden layer its ReLUs stand between the two. Scales and axes of
    what was fitted are multiplied into the weights.

    Args:
        tensors: ``mean`` [d], ``weight`` [C, d], ``bias`` [C], where -inf is a class that was not learned; or
            ``hidden_weight`` [h, d] and ``hidden_bias`` [h] with ``weight`` [C, h].
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self.tensors: Tensors = {name: np.asarray(values, np.float64) for name, values in tensors.items()}
        self.dim, self.n_outputs = len(self.tensors["mean"]), len(self.tensors["bias"])
        width = self.dim
        if "hidden_weight" in self.tensors:
            width = len(self.tensors["hidden_bias"])
            _insist(self.tensors, "hidden_weight", (width, self.dim))
        _insist(self.tensors, "weight", (self.n_outputs, width))

    def __call__(self, rows: Rows) -> Floats:
        """Outputs [m, C] of rows [m, d]."""
        found = np.asarray(rows, np.float64) - self.tensors["mean"]
        if "hidden_weight" in self.tensors:
            found = np.maximum(found @ self.tensors["hidden_weight"].T + self.tensors["hidden_bias"], 0)
        return found @ self.tensors["weight"].T + self.tensors["bias"]

    def of_bags(self, values: Rows, sizes: NDArray[np.int64]) -> Floats:
        """Outputs [n, C] of n bags of regions [M, d]."""
        return self(means_of(values, sizes).astype(np.float32))

    def of_regions(self, values: Rows) -> tuple[Floats, Floats]:
        """Outputs [m, C] of the regions of one bag, and what each counts, [m], 1 in sum."""
        return self(values), np.full(len(values), 1 / max(1, len(values)))


class AttentionScorer:
    """Outputs of a bag under gated attention, in float32 as it was trained.

    Args:
        tensors: ``mean`` and ``spread`` [d] of regions, and ``network.<name>``, the state of :class:`GatedAttention`.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self.tensors: Tensors = {name: np.asarray(values, np.float32) for name, values in tensors.items()}
        self.dim, self.n_outputs = len(self.tensors["mean"]), len(self.tensors[f"{_NETWORK}classify.weight"])
        _insist(self.tensors, "spread", (self.dim,))
        hidden = len(self.tensors[f"{_NETWORK}embed.0.weight"])
        state = {
            name.removeprefix(_NETWORK): torch.from_numpy(np.array(values))
            for name, values in self.tensors.items()
            if name.startswith(_NETWORK)
        }
        self.network = GatedAttention(self.dim, self.n_outputs, hidden).eval()
        try:
            self.network.load_state_dict(state)
        except RuntimeError as error:  # of a missing name, or another shape
            raise ValueError(" ".join(str(error).split())) from error

    @classmethod
    def tensors_of(cls, mean: Rows, spread: Rows, network: GatedAttention) -> Tensors:
        """What a trained network and the scale of its regions are kept as."""
        state = {f"{_NETWORK}{name}": values.cpu().numpy() for name, values in network.state_dict().items()}
        return {"mean": mean, "spread": spread, **state}

    def of_bags(self, values: Rows, sizes: NDArray[np.int64]) -> Floats:
        """Outputs [n, C] of n bags of regions [M, d]."""
        parts = np.array_split(np.arange(len(sizes)), 1 + len(sizes) // _BAGS)
        starts = np.cumsum(sizes) - sizes
        found = [
            self._run(values[starts[part[0]] : starts[part[-1]] + sizes[part[-1]]], sizes[part])[0] for part in parts
        ]
        return np.concatenate(found)

    def of_regions(self, values: Rows) -> tuple[Floats, Floats]:
        """Outputs [m, C] of the regions of one bag, and their attention [m], 1 in sum.

        The outputs of the bag are those of its regions, weighted by attention: the last layer is linear.
        """
        alone = np.ones(len(values), np.int64)
        return self._run(values, alone)[0], self._run(values, np.array([len(values)], np.int64))[1]

    @torch.inference_mode()
    def _run(self, values: Rows, sizes: NDArray[np.int64]) -> tuple[Floats, Floats]:
        scaled = (np.asarray(values, np.float32) - self.tensors["mean"]) / self.tensors["spread"]
        owner = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
        outputs, attention = self.network(torch.from_numpy(scaled), owner, len(sizes))
        return outputs.double().numpy(), attention.double().numpy()


def _insist(tensors: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> None:
    if tensors[name].shape != shape:
        raise ValueError(f"{name} is {list(tensors[name].shape)} where {list(shape)} is needed")

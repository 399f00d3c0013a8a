"""A small network on frozen features."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from ...core import as_number, as_whole
from ...heads import Tensors
from .inputs import Vectors
from .standard import ClassProbe


class MLPProbe(ClassProbe):
    """scikit-learn's network of one hidden layer on standardized features, for a fixed number of epochs of Adam.

    Stopping early, or choosing a setting, would need patients set aside, which small cohorts do not have.

    Args:
        n_hidden: units of the hidden layer, at least 1.
        n_epochs: passes over the training patients, at least 1.
        penalty: strength of the L2 penalty, at least 0.
        batch_size: patients in a step; all of them where there are fewer.
    """

    name: ClassVar[str] = "mlp"
    is_random: ClassVar[bool] = True

    def __init__(self, n_hidden: int = 64, n_epochs: int = 100, penalty: float = 0.01, batch_size: int = 32) -> None:
        self.n_hidden, self.n_epochs = as_whole(n_hidden, "n_hidden", 1), as_whole(n_epochs, "n_epochs", 1)
        self.penalty, self.batch_size = as_number(penalty, "penalty", 0), as_whole(batch_size, "batch_size", 1)

    def learn(self, train: Vectors, targets: NDArray[np.int64], n_classes: int, seed: int) -> Tensors:
        """What a head keeps of a network fitted on these patients; arguments as for a call."""
        model = self._fitted(train.values, np.asarray(targets, np.int64), seed)
        _, standard, network = (step for _, step in model.steps)
        (hidden, last), (hidden_bias, last_bias) = network.coefs_, network.intercepts_
        if len(network.classes_) == 2:  # the one output is the second class's log odds
            last, last_bias = np.hstack([np.zeros_like(last), last]), np.append(0.0, last_bias)
        weight, bias = np.zeros((n_classes, self.n_hidden)), np.full(n_classes, -np.inf)
        weight[network.classes_], bias[network.classes_] = last.T, last_bias
        scaled = {"mean": standard.mean_, "hidden_weight": hidden.T / standard.scale_, "hidden_bias": hidden_bias}
        return {**scaled, "weight": weight, "bias": bias}

    def _fitted(self, values: NDArray[np.float32], targets: NDArray[np.int64], seed: int) -> Any:
        network = MLPClassifier(
            (self.n_hidden,),
            alpha=self.penalty,
            batch_size=min(self.batch_size, len(values)),
            max_iter=self.n_epochs,
            n_iter_no_change=self.n_epochs + 1,  # never stops before the last epoch
            random_state=seed,
        )
        model = make_pipeline(FunctionTransformer(np.float64), StandardScaler(), network)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is what was asked for
            return model.fit(values, targets)

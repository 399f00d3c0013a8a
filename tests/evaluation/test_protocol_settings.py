"""What all protocols, and all ways of pooling, refuse or leave out."""

import numpy as np
import pytest

from bundle.core import BundleError
from bundle.evaluation import (
    CohortPrototypes,
    CoxRegression,
    LinearProbe,
    Mixture,
    MLPProbe,
    NearestNeighbors,
    SurvivalMIL,
    Transport,
)
from bundle.evaluation.protocols.inputs import Bags, Vectors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NearestNeighbors(0), "k_neighbors is 0"),
        (lambda: LinearProbe(()), "above 0"),
        (lambda: LinearProbe((0.1, 0.0)), "above 0"),
        (lambda: MLPProbe(n_hidden=0), "n_hidden is 0"),
        (lambda: MLPProbe(n_epochs=0), "n_epochs is 0"),
        (lambda: MLPProbe(penalty=-1), "penalty is -1"),
        (lambda: MLPProbe(batch_size=0), "batch_size is 0"),
        (lambda: CoxRegression(n_components=0), "Cox"),
        (lambda: CoxRegression(penalties=()), "Cox"),
        (lambda: CoxRegression(penalties=(1.0, 0.0)), "Cox"),
        (lambda: CohortPrototypes(0), "n_cohort_prototypes is 0"),
        (lambda: Mixture(CohortPrototypes(), 0), "n_steps is 0"),
        (lambda: Mixture(CohortPrototypes(), 1, -1), "prior_regions is -1"),
        (lambda: Transport(CohortPrototypes(), 0), "entropy of the transport is 0"),
    ],
)
def test_settings_outside_their_range_are_refused(make, message):
    """At once, under the names that users know."""
    with pytest.raises(BundleError, match=message):
        make()


@pytest.mark.parametrize("probe", [LinearProbe(), MLPProbe(n_epochs=2)], ids=lambda probe: probe.name)
def test_classes_that_nobody_has_get_probability_0(probe):
    """Four classes, of which the training patients have 0 and 2: two columns are 0, the others sum to 1."""
    inputs = Vectors(np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32))
    scores = probe(inputs, np.arange(20) % 2 * 2, inputs, 4, 0)
    np.testing.assert_array_equal(scores[:, [1, 3]], 0)
    np.testing.assert_allclose(scores.sum(1), 1)


@pytest.mark.parametrize("last_event", [0, 1])
@pytest.mark.parametrize("protocol", [CoxRegression(), SurvivalMIL()], ids=lambda protocol: protocol.name)
def test_without_an_order_there_is_nothing_to_learn(protocol, last_event):
    """No event, or only one when nobody else was watched any more: an error that says what to do."""
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    inputs = Vectors(values) if Vectors.kind in protocol.takes else Bags(values, np.ones(4, np.int64))
    targets = np.array([[1, 0], [2, 0], [3, 0], [4, last_event]], float)
    with pytest.raises(BundleError, match="(Cox regression|MIL for survival).*train_fractions"):
        protocol(inputs, targets, inputs, 0, 0)

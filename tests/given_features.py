"""Features of patients that a test makes up, without token files and encoders."""

import numpy as np

from bundle.evaluation.features.pooled_features import PooledFeatures, RegionVectors


class GivenFeatures(PooledFeatures):
    """Region vectors by encoder; ``sizes`` are the regions of each slide."""

    def __init__(self, vectors, sizes, n_prototypes=2):
        super().__init__([f"s{i}" for i in range(len(sizes))], np.repeat(np.arange(len(sizes)), sizes), n_prototypes)
        self.vectors = vectors

    @property
    def names(self):
        return list(self.vectors)

    @property
    def pretraining(self):
        return {}

    def regions(self, encoder):
        values = np.asarray(self.vectors[encoder], np.float32)
        return RegionVectors(values, values / np.linalg.norm(values, axis=1, keepdims=True))

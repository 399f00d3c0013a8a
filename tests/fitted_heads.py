"""Small heads that were fitted on made-up cohorts, for tests of what saves and applies them."""

import numpy as np

from bundle.evaluation import AttentionMIL, CoxRegression, LinearProbe, MLPProbe, SurvivalMIL
from bundle.evaluation.protocols.inputs import Bags, Vectors
from bundle.heads import HeadRecord, means_of

DIM = 6
PROTOCOLS = [LinearProbe(), MLPProbe(n_epochs=20), CoxRegression(), AttentionMIL(n_epochs=3), SurvivalMIL(n_epochs=3)]
ENCODER = {"region_encoder": "r sha256:1", "encoder": "p sha256:0", "mpp": 0.5, "region_size_px": 4096}


def cohort(n_classes, n_train=24, n_test=9, dim=DIM):
    """Bags of training and test patients, and class, time and event of the former; class 2 of four has nobody."""
    rng = np.random.default_rng(n_classes)
    classes = np.array([0, 1, 3])[np.arange(n_train) % 3] if n_classes == 4 else np.arange(n_train) % 2
    means = rng.normal(size=(n_train + n_test, dim)) + np.append(classes, rng.integers(0, 2, n_test))[:, None] * 0.8
    means[:, -1] = 7.0  # a value that is the same everywhere
    sizes = rng.integers(2, 8, n_train + n_test)
    noise = rng.normal(size=(sizes.sum(), dim)) * (np.arange(dim) < dim - 1)
    values = (np.repeat(means, sizes, 0) + noise).astype(np.float32)
    survival = np.stack([rng.exponential(np.exp(-means[:n_train, 0])), rng.random(n_train) < 0.7], 1)
    n = int(sizes[:n_train].sum())
    return Bags(values[:n], sizes[:n_train]), Bags(values[n:], sizes[n_train:]), classes, survival


def made_up_record(protocol, classes, dim=DIM, **options):
    """A head's record, of an encoder as `made_up_slide` has it."""
    is_survival = not classes
    given = {
        "protocol": protocol,
        "task": "survival" if is_survival else "classification",
        "label": "months / died" if is_survival else "label",
        "classes": classes,
        "features": "regions" if "mil" in protocol else "region_embedding",
        "dim": dim,
        "harmonize": None,
        "encoder": ENCODER,
        "threshold": 0.0 if is_survival else None,
        "temperature": None,
        "held_out": 0,
        "patients": [],
        "slides": [],
    }
    return HeadRecord(**{**given, **options})


def fitted_head(protocol, bags, targets, n_classes):
    """Record and numbers of a protocol that was fitted on all patients."""
    taken = bags if Bags.kind in protocol.takes else Vectors(means_of(bags.values, bags.sizes).astype(np.float32))
    classes = [] if "survival" in protocol.tasks else [f"class {i}" for i in range(n_classes)]
    dim = bags.values.shape[1]
    return made_up_record(protocol.name, classes, dim), protocol.learn(taken, targets, n_classes, 0)

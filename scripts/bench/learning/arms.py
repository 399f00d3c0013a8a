"""What is compared: each arm is a handful of ids of ``configs/train.yaml``."""

from __future__ import annotations

from typing import Any, NamedTuple

_BANKS = "scripts.bench.learning.banks"
_NEVER = 10**6

# Chosen on seeds from 100 on by what DINO alone makes of the medium level; those that are reported are 0 to 4.
SETTINGS: dict[str, Any] = {
    "max_epochs": 20,
    "batch_size": 32,
    "embed_dim": 64,
    "depth": 2,
    "n_heads": 4,
    "hidden_dim": 128,
    "bottleneck_dim": 64,
    "out_dim": 512,
    "global_size": 6,
    "local_size": 4,
    "n_local": 4,
    "lr": 0.004,
    "lr_warmup_epochs": 3,
    "teacher_momentum": 0.98,
    "prototype_warmup_epochs": 6,
}


class Arm(NamedTuple):
    """One way to train.

    Attributes:
        name: of its row.
        ids: what it changes of the settings.
        parent: the arm from whose warm-up it goes on; None: from its initialization.
        bank: class of the prototype bank, where it is not the paper's.
    """

    name: str
    ids: dict[str, Any]
    parent: str | None = None
    bank: str | None = None


def _family(suffix: str, ids: dict[str, Any]) -> list[Arm]:
    dino = f"DINO{suffix}"
    return [
        Arm(dino, {**ids, "prototype_warmup_epochs": _NEVER}),
        Arm(f"DINO + intra{suffix}", {**ids, "inter_weight": 0.0, "n_neighbors": 0}, dino),
        Arm(f"DINO + inter{suffix}", {**ids, "intra_weight": 0.0}, dino),
        Arm(f"SLPD{suffix}", ids, dino),
    ]


PLAIN = _family("", {})
SHIFTED = _family(", token shift", {"token_shift": "covariance"})


def _ablations(suffix: str, ids: dict[str, Any]) -> list[Arm]:
    dino = f"DINO{suffix}"
    changes: dict[str, dict[str, Any]] = {
        "K = 2": {"n_prototypes": 2},
        "K = 8": {"n_prototypes": 8},
        "R = 2": {"n_neighbors": 2},
        "R = 4": {"n_neighbors": 4},
        "nearest partner": {"prototype_match": "nearest"},
        "weights 0.3": {"intra_weight": 0.3, "inter_weight": 0.3},
        "teacher temperature 0.02": {"teacher_temperature": 0.02, "warmup_teacher_temperature": 0.02},
        "center momentum 0.99": {"center_momentum": 0.99},
        "warm-up of 13 epochs": {"prototype_warmup_epochs": 13},
    }
    arms = [Arm(f"SLPD{suffix}, {name}", {**ids, **change}, dino) for name, change in changes.items()]
    arms.append(Arm(f"SLPD{suffix}, neighbors by mean vector", ids, dino, f"{_BANKS}.MeanVectorBank"))
    for k in (4, 16):
        one_set = {**ids, "n_prototypes": k, "n_neighbors": 0}
        arms.append(Arm(f"DINO + {k} prototypes of all slides{suffix}", one_set, dino, f"{_BANKS}.GlobalBank"))
    return arms


ABLATIONS = _ablations("", {})
SHIFTED_ABLATIONS = [
    *_ablations(", token shift", {"token_shift": "covariance"}),
    *_family(", token swap", {"token_shift": "swap"}),
]

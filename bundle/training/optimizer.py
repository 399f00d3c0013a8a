"""The optimizer of the recipe: AdamW, with weight decay where DINO decays and nowhere else."""

import torch
from torch import nn


def make_optimizer(network: nn.Module, lr: float = 5e-4, weight_decay: float = 0.04) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, in two groups: decayed, and not decayed (biases, norms).

    ``cls_token`` and ``pos_embed`` are decayed, as DINO does it: only names that end in ``bias`` and
    one-dimensional parameters are exempt. The groups carry ``decays``, by which a schedule finds the first.

    Args:
        network: the student.
        lr: learning rate of the first step; schedules change it afterwards.
        weight_decay: of the decayed group.
    """
    named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    exempt = [p for name, p in named if name.endswith("bias") or p.ndim <= 1]
    ids = {id(p) for p in exempt}
    groups = [
        {"params": [p for _, p in named if id(p) not in ids], "weight_decay": weight_decay, "decays": True},
        {"params": exempt, "weight_decay": 0.0, "decays": False},
    ]
    return torch.optim.AdamW(groups, lr=lr, fused=True)

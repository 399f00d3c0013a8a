"""Files of patch encoders, small: somebody's program, and what stage one writes."""

import torch
from torch import nn

from bundle.core import save_atomically
from bundle.networks import PatchViT

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


class Quarters(nn.Module):
    """Somebody's encoder: mean colors of the quarters of a patch, D = 12; ``trouble`` is what else it does."""

    def __init__(self, trouble: str = ""):
        super().__init__()
        self.trouble = trouble

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)
        if self.trouble == "one size of batch":
            tokens = tokens.reshape(2, 12)
        if self.trouble == "nan":
            tokens = tokens / (tokens - tokens)
        if self.trouble == "gpu":
            tokens = tokens.to(torch.device("cuda"))
        return tokens


def program(path, trouble=""):
    """A TorchScript file."""
    torch.jit.save(torch.jit.script(Quarters(trouble)), path)
    return path


def own_file(path, **contract):
    """What stage one writes; without ``contract`` as older ones are."""
    net = PatchViT(image_size=16, patch_size=8, dim=12, depth=1, n_heads=2)
    contents = {"teacher": net.state_dict(), "architecture": net.architecture}
    contents |= {"normalization": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    save_atomically(contents | ({"contract": contract} if contract else {}), path)
    return path

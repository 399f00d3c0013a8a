"""From 8-bit patches to tokens, with the pixels that the encoder was trained with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..core import SettingError
from .contracts import EncoderContract
from .onnx_encoder import OnnxEncoder
from .scaling import middle, scaled

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PatchTokenizer(nn.Module):
    """A frozen patch encoder that knows its name, its width and how its pixels are prepared.

    Args:
        backbone: normalized images (B, 3, p, p) -> tokens (B, D).
        dim: D.
        mean, std: of the three channels, pixels in [0, 1].
        name: what token files call it.
        sha256: of its weights' file, 64 hexadecimal digits; empty for weights that come from no file.
        amp: run in bfloat16 (autocast): about twice as fast where the processor has it, cosine above 0.9998.
        contract: what the encoder was trained on, in place of ``mean`` and ``std``; patches of another size than its
            ``input_px`` are scaled.
    """

    mean_255: Tensor
    std_255: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        dim: int,
        *,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        name: str = "patch_encoder",
        sha256: str = "",
        amp: bool = False,
        contract: EncoderContract | None = None,
    ) -> None:
        super().__init__()
        if contract is not None and contract.mean is not None and contract.std is not None:
            mean, std = contract.mean, contract.std
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise SettingError(
                f"mean and std must be three numbers each, std above 0: got {list(mean)} and {list(std)}."
            )
        self.backbone = backbone.eval()
        for parameter in self.backbone.parameters():  # TorchScript modules have no requires_grad_
            parameter.requires_grad_(False)
        self.dim = dim
        self.mean = tuple(float(value) for value in mean)
        self.std = tuple(float(value) for value in std)
        numbers = {"mean": self.mean, "std": self.std, "dim": dim, "output": "class"}
        self.contract = EncoderContract.read(name, numbers, "the encoder") if contract is None else contract
        self.name = name
        self.sha256 = sha256
        self.amp = amp
        self.register_buffer("mean_255", torch.tensor(self.mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std_255", torch.tensor(self.std).view(3, 1, 1) * 255, persistent=False)

    def compiled(self) -> PatchTokenizer:
        """Itself, its backbone compiled at the first batch, for that batch's shape and with weights as constants.

        Raises:
            SettingError: the backbone is a program already.
        """
        if isinstance(self.backbone, torch.jit.ScriptModule | OnnxEncoder):
            raise SettingError(
                f"compile is true, but {self.name} is a program (TorchScript or ONNX), which is run as it is; leave "
                "compile false."
            )
        self.backbone.compile(dynamic=False, options={"freezing": True})
        return self

    @torch.inference_mode()
    def forward(self, image: Tensor) -> Tensor:
        """Pixels in [0, 255], uint8 (B, 3, p, p), -> tokens, float32 (B, D), on the encoder's device."""
        image = image.to(self.mean_255.device, non_blocking=True)
        pixels = (self._as_trained(image.float()) - self.mean_255) / self.std_255
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.amp):
            tokens = self.backbone(pixels)
        return tokens.float()

    def _as_trained(self, image: Tensor) -> Tensor:
        """Patches at the size that the contract asks for, if any."""
        own = self.contract.at(image.shape[-1])
        if own.interpolation is not None:
            image = scaled(image, own.resize_px or own.input_px or image.shape[-1], own.interpolation)
        return image if own.resize_px is None or own.input_px is None else middle(image, own.input_px)

    def train(self, mode: bool = True) -> PatchTokenizer:
        """Stays in evaluation mode: it is frozen."""
        return super().train(False)

"""Views of patches for stage one: DINO's augmentation, for a whole batch at once.

MONAI has a random resized crop in none of its versions up to 1.6, no color jitter, no solarization and, for stains,
only H&E extraction and normalization in ``monai.apps.pathology``; its random intensity and smoothing transforms take
one sample a call. So what is needed is written here as batched tensor operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import Transform
from torch import Tensor

from ...core import SettingError
from ...pages import LUMA
from ...parallel import hand_over, keyed_uniforms
from .color import apply_color, gray_matrix, jitter_matrices
from .keyed import KeyedRandomizable, RandViewsd
from .resample import apply_separable, blur, resize_matrix

_TRIES = 10  # boxes drawn until one fits into the image
_N_DRAWS = 2 * _TRIES + 2 + 1 + 1 + 4 + 1 + 2 + 1
_LOG_ASPECT = math.log(4 / 3)
_NO_BLUR = 0.05  # px: a Gaussian this narrow changes nothing
_CHUNK = 64  # samples at a time on a CPU, which bounds the memory of intermediate results


class RandImageCrops(KeyedRandomizable, Transform):
    """Random resized crops with flips, color jitter, gray, blur and solarization.

    The same (seed, epoch, id, view) gives the same view in every batch. View v draws from stream v. Probabilities
    that are tuples are for the first global view, the other global views and the local views.

    Args:
        n_global, n_local: number of views; the global group is what the teacher sees.
        global_size, local_size: px on a side of a view.
        global_scale, local_scale: share of the image's area in a crop, (from, to); aspect 3:4 to 4:3.
        flip_prob: probability of a left-right flip.
        jitter: brightness, contrast, saturation as +- shares, hue as +- turns of the color circle.
        jitter_prob, gray_prob: probabilities.
        blur_prob: probabilities of a Gaussian blur.
        blur_sigma: px of the view, (from, to).
        solarize_prob: probabilities of inverting the upper half of the values.
        mean, std: normalization of values in [0, 1].
        seed: first part of the key.
        multiple_of: px; sizes must be multiples of what the network calls a patch.

    References:
        Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021; Grill et al., "Bootstrap
        your own latent", NeurIPS 2020, appendix B, for the probabilities.
    """

    def __init__(
        self,
        n_global: int = 2,
        global_size: int = 224,
        global_scale: Sequence[float] = (0.4, 1.0),
        n_local: int = 8,
        local_size: int = 96,
        local_scale: Sequence[float] = (0.05, 0.4),
        flip_prob: float = 0.5,
        jitter: Sequence[float] = (0.4, 0.4, 0.2, 0.1),
        jitter_prob: float = 0.8,
        gray_prob: float = 0.2,
        blur_prob: Sequence[float] = (1.0, 0.1, 0.5),
        blur_sigma: Sequence[float] = (0.1, 2.0),
        solarize_prob: Sequence[float] = (0.0, 0.2, 0.0),
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        seed: int = 0,
        multiple_of: int = 1,
    ) -> None:
        super().__init__(seed)
        self.groups = [(int(n_global), int(global_size), global_scale), (int(n_local), int(local_size), local_scale)]
        self._check(jitter, blur_prob, solarize_prob, blur_sigma)
        _check_channels(mean, std)
        if int(global_size) % int(multiple_of) or int(local_size) % int(multiple_of):
            raise SettingError(
                f"global_size and local_size must be multiples of the network's patches (vit_patch_size, {multiple_of} "
                f"px): got {global_size} and {local_size}."
            )
        self.flip_prob = float(flip_prob)
        self.jitter = (float(jitter[0]), float(jitter[1]), float(jitter[2]), float(jitter[3]))
        self.jitter_prob = float(jitter_prob)
        self.gray_prob = float(gray_prob)
        self.blur_prob = tuple(blur_prob)
        self.blur_sigma = tuple(blur_sigma)
        self.solarize_prob = tuple(solarize_prob)
        self.mean = torch.tensor(list(mean)).view(3, 1, 1)
        self.std = torch.tensor(list(std)).view(3, 1, 1)

    def _check(
        self, jitter: Sequence[float], blur: Sequence[float], solarize: Sequence[float], sigma: Sequence[float]
    ) -> None:
        for n_views, size, scale in self.groups:
            is_pair = isinstance(scale, Sequence) and len(scale) == 2
            if n_views < 0 or size < 1 or not is_pair or not 0 < scale[0] <= scale[1] <= 1:
                raise SettingError(
                    "a group of views needs a number >= 0, a size >= 1 px and a scale (from, to) with 0 < from <= to "
                    f"<= 1: got {n_views}, {size}, {scale}."
                )
        if self.groups[0][0] < 1:
            raise SettingError("n_global must be at least 1: the teacher sees the global views.")
        if len(jitter) != 4 or len(blur) != 3 or len(solarize) != 3 or len(sigma) != 2 or sigma[0] <= 0:
            raise SettingError(
                "jitter takes 4 numbers, blur_prob and solarize_prob 3 (first global, other global, local), blur_sigma "
                f"2 above 0: got {tuple(jitter)}, {tuple(blur)}, {tuple(solarize)}, {tuple(sigma)}."
            )

    def __call__(self, image: Tensor, ids: Tensor, epoch: int) -> list[Tensor]:
        """Patches, uint8 (B, 3, H, W), -> groups of normalized float32 views (v, B, 3, s, s), on the same device.

        Args:
            image: pixels in [0, 255].
            ids: integers [B].
            epoch: second part of the key.
        """
        draws = keyed_uniforms(self.seed, int(epoch), ids, 0, sum(n_views for n_views, _, _ in self.groups), _N_DRAWS)
        draws = hand_over(draws, image.device)
        out: list[Tensor] = [
            torch.empty(n_views, len(image), 3, size, size, device=image.device)
            for n_views, size, _ in self.groups
            if n_views
        ]
        chunk = _CHUNK if image.device.type == "cpu" else max(len(image), 1)
        for first in range(0, len(image), chunk):
            part = slice(first, first + chunk)
            pixels = image[part].float() / 255
            view = 0
            for group, views in enumerate(out):
                for v in range(len(views)):
                    kind = 2 if group else min(v, 1)
                    views[v, part] = self._view(pixels, draws[view, part], group, kind)
                    view += 1
        return out

    def _view(self, pixels: Tensor, draws: Tensor, group: int, kind: int) -> Tensor:
        """One view of every image; ``kind``: 0 first global, 1 other global, 2 local."""
        _, size, scale = self.groups[group]
        box, flip, shift, color, gray, soft, solar = draws.split([2 * _TRIES + 2, 1, 1, 4, 1, 2, 1], 1)
        top, left, height, width = draw_boxes(box, pixels.shape[-2], pixels.shape[-1], scale)
        rows = resize_matrix(top, height, pixels.shape[-2], size)
        columns = resize_matrix(left, width, pixels.shape[-1], size, flip[:, 0] < self.flip_prob)
        view = apply_separable(pixels, rows, columns)
        view = apply_color(view, self._color_maps(view, shift[:, 0] < self.jitter_prob, color, gray[:, 0]))
        view = self._blur(view, soft, kind)
        if self.solarize_prob[kind] > 0:
            inverted = (solar < self.solarize_prob[kind])[:, :, None, None] & (view >= 0.5)
            view = torch.where(inverted, 1 - view, view)
        return (view - self.mean.to(view.device)) / self.std.to(view.device)

    def _color_maps(self, view: Tensor, is_jittered: Tensor, color: Tensor, gray: Tensor) -> Tensor:
        mean_luma = view.mean((2, 3)) @ torch.tensor(LUMA, device=view.device)
        maps = jitter_matrices(color, self.jitter, mean_luma)
        identity = torch.eye(3, 4, device=view.device)
        maps = torch.where(is_jittered[:, None, None], maps, identity)
        to_gray = gray_matrix(view.device)[:, :3] @ maps
        return torch.where((gray < self.gray_prob)[:, None, None], to_gray, maps)

    def _blur(self, view: Tensor, draws: Tensor, kind: int) -> Tensor:
        if self.blur_prob[kind] <= 0:
            return view
        low, high = self.blur_sigma
        sigma = low + (high - low) * draws[:, 1]
        radius = math.ceil(3 * high)
        is_blurred = draws[:, 0] < self.blur_prob[kind]
        if view.device.type != "cpu":  # looking for the samples would wait for the device
            return blur(view, torch.where(is_blurred, sigma, torch.full_like(sigma, _NO_BLUR)), radius)
        rows = is_blurred.nonzero().squeeze(1)
        view[rows] = blur(view[rows], sigma[rows], radius)
        return view


class RandImageCropsd(RandViewsd):
    """Dictionary twin of :class:`RandImageCrops`: reads ``image``, ``region_id``, ``epoch``; adds ``views``.

    Args:
        keys: the key of the patches, uint8 [B, 3, H, W].
        options: arguments of :class:`RandImageCrops`, by name.
    """

    def __init__(self, keys: KeysCollection = "image", **options: Any) -> None:
        super().__init__(keys, RandImageCrops(**options))


def _check_channels(mean: Sequence[float], std: Sequence[float]) -> None:
    is_three = all(isinstance(values, Sequence) and len(values) == 3 for values in (mean, std))
    if not is_three or min(std) <= 0:
        raise SettingError(f"mean and std must be three numbers each, std above 0: got {mean} and {std}.")


def draw_boxes(draws: Tensor, height: int, width: int, scale: Sequence[float]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes whose area is uniform and whose log aspect is uniform in +-log(4/3); the first that fits is taken.

    Args:
        draws: uniforms [B, 2 * tries + 2].
        height, width: px of the image.
        scale: share of the image's area, (from, to).

    Returns:
        top, left, height, width of each box, whole px, float [B].
    """
    tries = (draws.shape[1] - 2) // 2
    area = (scale[0] + (scale[1] - scale[0]) * draws[:, :tries]) * (height * width)
    aspect = torch.exp((draws[:, tries : 2 * tries] * 2 - 1) * _LOG_ASPECT)
    box_width, box_height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (box_width <= width) & (box_height <= height)
    chosen = fits.to(torch.uint8).argmax(1, keepdim=True)  # the first that fits; the first of all if none does
    box_width = box_width.gather(1, chosen).squeeze(1).clamp(1, width)
    box_height = box_height.gather(1, chosen).squeeze(1).clamp(1, height)
    top = (draws[:, -2] * (height - box_height + 1)).floor()
    left = (draws[:, -1] * (width - box_width + 1)).floor()
    return top, left, box_height, box_width
